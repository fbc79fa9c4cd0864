"""The science on arrays: geometry, networks, weights and inference."""
