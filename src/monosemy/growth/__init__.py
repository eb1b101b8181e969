"""Making a model larger without changing what it computes."""
