"""What studies a model: dictionaries of directions. This floor knows nothing of models."""
