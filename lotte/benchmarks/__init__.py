"""One file, one benchmark: its names, a loader, and the layout its authors publish."""
