"""Training data and validation of the segmentation and skull-strip networks."""
