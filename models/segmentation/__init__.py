"""Skull-stripping and segmentation of the brain and of lesions."""
