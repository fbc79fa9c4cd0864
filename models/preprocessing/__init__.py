"""Bias correction and thick slices."""
