"""Text to token vectors: checkpoints, their tokens, and the encoders that run them."""
