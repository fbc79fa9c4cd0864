"""Recipes, data loading and the training loop, whatever is trained."""
