"""Records: what a system scored on a dataset, as a typed value; read, verified, stored and submitted."""
