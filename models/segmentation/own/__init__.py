"""Networks that were trained on images with labels of a user."""
