"""Training of the registration networks."""
