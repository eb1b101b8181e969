"""Where activations come from: text, tokens, capture, shards, streams."""
