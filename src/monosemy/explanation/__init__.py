"""What a feature seems to mean: where it fires, what it raises, which features to look at first."""
