"""An index on disk: built as a stream, opened by mapping, changed without harm to who has it open."""
