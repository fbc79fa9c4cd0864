"""Training of the lesion networks."""
