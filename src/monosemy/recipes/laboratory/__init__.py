"""Experiments of the laboratory, each with its settings: one module an instrument."""
