"""How much of a dataset a model saw in training: a fingerprint of its training texts, and the comparison with it."""
