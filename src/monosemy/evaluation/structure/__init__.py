"""Absorption and splitting: how the latents of a dictionary share out a labelled hierarchy."""
