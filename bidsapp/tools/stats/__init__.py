"""Volumes in FreeSurfer's text format."""
