"""One file for each `data=NAME`."""
