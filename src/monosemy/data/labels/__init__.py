"""Labels of tokens: which word class, which keyword, which letter; from text alone or a file."""
