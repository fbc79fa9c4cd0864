"""Training of the fetal networks, templates and growth curves."""
