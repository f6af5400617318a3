"""Tests; a helper module is imported as `tests.<folder>.<module>`."""
