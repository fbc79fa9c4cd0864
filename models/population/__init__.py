"""Populations, label tables, ages and growth."""
