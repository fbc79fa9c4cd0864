"""Stages that take precomputed results instead of computing them."""
