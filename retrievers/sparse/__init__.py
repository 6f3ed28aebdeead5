"""Weights of words, for passages and queries: made by a model, or in a file that somebody else made."""
