"""Tasks, actors and object refs: one scheduling core under a simulated and a real cluster."""
