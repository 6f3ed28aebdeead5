"""Word weights of passages and queries: computed by a model, or read from a file."""
