"""Concepts of tokens with exact truth: many to a token, with parents; from the text alone."""
