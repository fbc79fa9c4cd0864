"""Agreement of two segmentations."""

from __future__ import annotations

import torch
from torch import Tensor


def dice_by_class(predicted: Tensor, reference: Tensor, least: int = 1) -> dict[int, float]:
    """Dice of every class but 0 that has ``least`` voxels in the reference.

    Parameters
    ----------
    predicted, reference : Tensor of int
        Classes, same shape.

    Examples
    --------
    >>> dice_by_class(torch.tensor([1, 1, 2, 0]), torch.tensor([1, 2, 2, 0]))
    {1: 0.6666666865348816, 2: 0.6666666865348816}
    """
    predicted, reference = predicted.reshape(-1).long(), reference.reshape(-1).long()
    count = int(max(predicted.max(), reference.max())) + 1
    size = torch.bincount(predicted, minlength=count) + torch.bincount(reference, minlength=count)
    same = torch.bincount(reference[predicted == reference], minlength=count)
    present = torch.bincount(reference, minlength=count)
    scores = 2 * same / size.clamp(min=1)
    return {k: float(scores[k]) for k in range(1, count) if present[k] >= least}
