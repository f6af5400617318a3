"""The shell, written once: interprets the effects of the core through the ports of a backend."""
