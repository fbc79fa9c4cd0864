"""Preparation of label maps."""
