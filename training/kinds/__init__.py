"""Kinds of training, by the name a recipe gives."""
