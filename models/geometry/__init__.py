"""Volumes, affines, cropping and distances."""
