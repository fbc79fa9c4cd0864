"""Which images of a dataset are processed, and what is known of the participants."""
