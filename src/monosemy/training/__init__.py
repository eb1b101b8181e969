"""How a dictionary (or the specimen) is learned: one loop, many programs."""
