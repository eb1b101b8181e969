"""The laboratory of superposition: how features lie in activations, in toys and in real models."""
