"""Contrasts of the optional stages, as suffixes of BIDS names."""

LESION = ("FLAIR", "T2w")
"""Contrasts with bright lesions, in order of preference."""

DARK_CSF = ("FLAIR",)
"""Contrasts of ``LESION`` with dark CSF, in which lesions are segmented without ``--force``."""

HIPPOCAMPUS = ("T1w",)
"""Contrasts in the training data of the hippocampus network."""


def hippocampus_skipped(contrast: str, model: str) -> str:
    """Return the reason why the hippocampus is not divided.

    Parameters
    ----------
    contrast : str
        Suffix of the image.
    model : str
        Weights of the network; empty if the population has none.

    Returns
    -------
    str
        The reason, as a note; empty if the stage runs.

    Examples
    --------
    >>> hippocampus_skipped("T1w", "hippocampus")
    ''
    """
    if not model:
        return "The step hippocampus was left out: no network for this population."
    if contrast not in HIPPOCAMPUS:
        known = " and ".join(HIPPOCAMPUS)
        return (
            f"The step hippocampus was left out: its network supports {known} images only, "
            f"and this one is {contrast}."
        )
    return ""
