"""Figures and self-contained pages, from results; nothing is computed again here."""
