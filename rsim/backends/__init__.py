"""The backends on real processes; each only implements the ports of the runtime."""
