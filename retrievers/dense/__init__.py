"""One vector for each passage: how texts become vectors, how these are kept, and how the nearest are found."""
