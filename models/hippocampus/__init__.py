"""Parts of the hippocampus and their registration."""
