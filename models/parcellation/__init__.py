"""Parcels of atlases in a participant's own gray matter."""
