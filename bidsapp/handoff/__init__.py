"""Derivatives in fMRIPrep and NiBabies."""
