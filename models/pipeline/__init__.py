"""The processing chain on arrays, and the text of its methods."""
