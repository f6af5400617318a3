"""The pure state machines: an event and the time in, effects out; no touch of the world."""
