"""Label transfer by smoothed maps: volumes, smooth borders, values and empty images."""

import numpy as np
import pytest
import torch

from brainseg.models.deformation.warp import Warp
from brainseg.models.geometry.volume import Grid, Volume
from brainseg.models.registration.label_transfer import smoothed, transfer


def ball(radius: float, spacing: float, n: int = 24) -> Volume:
    """A ball in two halves, 7 and 12."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -(n - 1) * spacing / 2
    x, y, z = torch.meshgrid(*[torch.arange(n) * spacing - (n - 1) * spacing / 2] * 3, indexing="ij")
    data = torch.where(x > 0, 12, 7) * ((x**2 + y**2 + z**2).sqrt() < radius)
    return Volume(data.to(torch.uint8), affine)


def dice(a: torch.Tensor, b: torch.Tensor) -> float:
    return 2 * int((a & b).sum()) / int(a.sum() + b.sum())


def test_in_place_every_label_keeps_its_volume():
    labels = ball(7.3, 1.0)
    labels.data[12, 12, 20:24] = 9  # thin, and at the edge of the image
    found = transfer(Warp((np.eye(4),)), labels, labels.grid, 1.0)
    assert found.data.dtype == torch.uint8
    for value in (7, 9, 12):
        assert int((found.data == value).sum()) == pytest.approx(int((labels.data == value).sum()), abs=4)


def test_steps_of_coarse_labels_are_gone_on_a_finer_grid():
    coarse, fine = ball(8.0, 2.0, 12), ball(8.0, 0.5, 48)
    nearest = Warp((np.eye(4),)).resample(coarse, fine.grid, "nearest").data
    found = transfer(Warp((np.eye(4),)), coarse, fine.grid, 1.5).data
    for value in (7, 12):
        truth = fine.data == value
        assert dice(found == value, truth) > max(0.96, dice(nearest == value, truth) + 0.01)


def test_without_smoothing_labels_are_as_by_their_maps():
    labels, shift = ball(6.0, 1.0), np.eye(4)
    shift[:3, 3] = 0.3, -0.2, 0.4
    grid = Grid((20, 20, 20), labels.affine)
    found = transfer(Warp((shift,)), labels, grid, 0.0).data
    assert float((found == Warp((shift,)).resample(labels, grid, "label").data).float().mean()) > 0.999


def test_an_image_without_labels_stays_without():
    empty = Volume(torch.zeros(5, 5, 5, dtype=torch.int16), np.eye(4))
    assert smoothed(empty, 1.0)[0] == []
    found = transfer(Warp((np.eye(4),)), empty, empty.grid, 1.0)
    assert found.data.dtype == torch.int16 and not found.data.any()
