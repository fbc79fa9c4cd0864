"""Ratings by readers: the files that the reports save, agreement of the raters, and decisions."""
