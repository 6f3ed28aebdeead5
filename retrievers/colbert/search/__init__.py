"""Three ways to ask an index, on a CPU or a GPU."""
