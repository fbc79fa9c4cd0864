"""Contrasts that a stage is meant for, as suffixes of BIDS names."""

LESION = ("FLAIR", "T2w")
"""Images in which lesions are bright, the better one first."""

HIPPOCAMPUS = ("T1w",)
"""Images that the network for the parts of the hippocampus is trained on."""
