"""Contrasts of the optional stages, as suffixes of BIDS names."""

LESION = ("FLAIR", "T2w")
"""Contrasts with bright lesions, in order of preference."""

DARK_CSF = ("FLAIR",)
"""Contrasts of ``LESION`` with dark CSF, in which lesions are segmented without ``--force``."""

HIPPOCAMPUS = ("T1w",)
"""Contrasts in the training data of the hippocampus network."""
