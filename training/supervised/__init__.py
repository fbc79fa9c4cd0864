"""Training on images with labels: any labels, one or several contrasts, NIfTI or slices as TIFF."""
