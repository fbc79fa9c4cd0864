"""Metrics, tables and plots of segmentations and registrations."""
