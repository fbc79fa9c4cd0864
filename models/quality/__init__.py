"""Image quality metrics and QC ratings."""
