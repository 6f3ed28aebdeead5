"""An index on disk: built as a stream, opened by memory-mapping, changed without disturbing its readers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrievers.colbert.index.folder import ColbertIndex


def open_index(path: Path | str, meta: Mapping[str, Any] | None = None) -> "ColbertIndex":
    """Open an index, as `retrievers.colbert.open_index` does.

    meta  for scripts that were written before an index of vectors had a meta.json: which segments there are,
          {"segments": [{"number": 0}]}. Nothing is then held to what was written
    """
    from retrievers.colbert.index import codec, folder, segment

    if meta is None:
        return folder.open_index(path)
    found = codec.load(Path(path))
    parts = tuple(segment.open_segment(Path(path), part["number"], found) for part in meta["segments"])
    return folder.ColbertIndex(found, parts, None)
