"""How good a dictionary is: numbers with intervals, beside their controls."""
