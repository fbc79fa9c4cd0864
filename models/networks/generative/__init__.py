"""Networks that draw images."""
