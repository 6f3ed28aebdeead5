"""One vector for each passage: how texts become vectors, how these are stored, and how the nearest are found."""
