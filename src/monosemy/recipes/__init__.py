"""Complete configurations, as functions that return them, and the roads that run them."""
