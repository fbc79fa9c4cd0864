"""What fMRIPrep and NiBabies find in the derivatives."""
