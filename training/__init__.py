"""Generator, losses, recipes and metrics behind the networks; imports models only."""
