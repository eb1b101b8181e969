"""Worlds whose features are known: what fires, how strongly, along which direction, and why."""
