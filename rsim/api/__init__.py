"""What users call: init, get, put, wait, remote and the rest; reaches a backend by name only."""
