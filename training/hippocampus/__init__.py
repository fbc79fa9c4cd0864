"""Training of the hippocampus networks."""
