"""Reading and writing files: images, derivatives, sidecars, precomputed inputs and spaces."""
