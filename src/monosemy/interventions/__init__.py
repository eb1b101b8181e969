"""Changing a run: what is put in an activation's place, and what that does to the model."""
