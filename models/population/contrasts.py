"""Contrasts of the optional stages, as suffixes of BIDS names."""

LESION = ("FLAIR", "T2w")
"""Contrasts with bright lesions, in order of preference."""

HIPPOCAMPUS = ("T1w",)
"""Contrasts in the training data of the hippocampus network."""
