"""The command line: `rsim run` and the commands beside it."""
