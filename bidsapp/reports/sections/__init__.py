"""Sections of a participant's report, one module each."""
