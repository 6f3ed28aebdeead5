"""Late interaction: a vector for every token, and the best match of each query token in the document."""
