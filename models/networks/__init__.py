"""Network architectures, their weights and inference."""
