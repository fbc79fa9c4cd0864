"""Generator of synthetic images."""
