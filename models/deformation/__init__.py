"""Velocity fields, warps and the optimization of a diffeomorphism."""
