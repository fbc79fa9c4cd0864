"""Intracranial volume: when it is not available, and what it is in a head of shells however it is stored."""

import doctest
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Volume, coordinate_channels
from brainseg.models.intracranial import intracranial
from brainseg.models.localization import head
from brainseg.models.networks import zoo
from brainseg.models.networks.stem_unet import StemUNet
from brainseg.models.population import populations

ADULT = replace(populations.load("adult"), intracranial="ball")


def _ball(radius: float, spacing: float = 2.5, n: int = 41) -> Volume:
    """Signed distance (mm) to the surface of a ball."""
    line = (torch.arange(n) - (n - 1) / 2) * spacing
    x, y, z = torch.meshgrid(line, line, line, indexing="ij")
    return Volume(radius - torch.sqrt(x**2 + y**2 + z**2), np.diag([spacing, spacing, spacing, 1.0]))


def test_examples_in_the_documentation():
    assert doctest.testmod(intracranial).failed == 0


@pytest.mark.parametrize("radius", [20.3, 31.7])
def test_filling_adds_up_to_the_volume(radius):
    distance = _ball(radius)
    found = float(intracranial.filling(distance).sum()) * distance.grid.voxel_volume
    assert found == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.003)


def test_brain_outside_the_cavity_is_counted():
    brain, cavity = torch.zeros(10, 10, 10), torch.zeros(10, 10, 10)
    brain[2:6] = 1
    cavity[3:9] = 1
    on_grid = [Volume(data, np.eye(4)) for data in (brain, cavity)]
    assert intracranial.brain_outside(*on_grid, reach=0.0) == 0.25
    assert intracranial.brain_outside(*on_grid) == 0.0, "a surface within 2 mm is no error"
    coarse = [Volume(data, np.diag([3.0, 1.0, 1.0, 1.0])) for data in (brain, cavity)]
    assert intracranial.brain_outside(*coarse) == 0.25
    assert intracranial.brain_outside(on_grid[0].with_data(brain * 0), on_grid[1]) == 0.0


@pytest.mark.parametrize(
    "changes, stripped, size, reason",
    [
        ({}, True, 200, "there is no skull in the image"),
        ({}, False, 60, "the field of view does not cover the head"),
        ({"intracranial": "", "name": "fetal"}, False, 200, "there is no network .* for this population"),
    ],
)
def test_what_is_not_available_has_a_reason(changes, stripped, size, reason):
    scan = Volume(torch.rand(100, 100, size // 2) + 1, np.diag([2.0, 2.0, 2.0, 1.0]))
    found = intracranial.measure(scan, replace(ADULT, **changes), stripped=stripped)
    assert found.mask is None and found.volume is None
    assert re.search(reason, found.reason)
    # A population without the measure is no news for each of its participants.
    told = [] if changes else [f"The intracranial volume is not available: {found.reason}."]
    assert found.notes == told


CARD = {"spacing": 1.8, "shape": [96, 112, 96]}
"""Card of that network."""

RADIUS = 70.0
"""Radius (mm of the atlas frame) of the cavity that the network of these tests finds in every head."""


@pytest.fixture
def ball(monkeypatch):
    """A network that finds a ball around the center of the atlas frame."""

    loaded = zoo.Model(StemUNet(4, [4, 4], {"mask": {"outputs": 1}}), CARD)

    def look(_volume, coarse, network, grid, _device, _notes):
        assert network is loaded and grid.shape == tuple(CARD["shape"])
        coordinates = coordinate_channels(grid, coarse.to_atlas, 1.0)
        distance = RADIUS - torch.sqrt((coordinates**2).sum(0))
        return {"mask": distance[None] / intracranial.DISTANCE_SCALE}

    load = zoo.load_once
    monkeypatch.setattr(
        intracranial.zoo, "load_once", lambda name, device: loaded if name == "ball" else load(name, device)
    )
    monkeypatch.setattr(intracranial, "look", look)


@pytest.fixture(scope="module")
def found(scans):
    """The head of shells, and its brain."""
    scan = scans.headed(scans.template()).canonical()
    return scan, head.find(scan)


@pytest.fixture
def measure(ball, monkeypatch):
    """Measure a scan whose brain is known."""

    def measured(scan, brain):
        monkeypatch.setattr(intracranial.head, "find", lambda *_args, **_more: brain)
        return intracranial.measure(scan, ADULT)

    return measured


def _size(brain):
    return abs(np.linalg.det(brain.to_atlas[:3, :3])) ** (-1 / 3)


@pytest.mark.slow
def test_volume_and_mask_are_those_of_the_scan(found, measure):
    scan, brain = found
    result = measure(scan, brain)
    assert result.reason == "" and result.notes == []
    # The frame is that of the mean head: the ball has the size of the scan.
    assert result.volume == pytest.approx(4 / 3 * math.pi * (RADIUS * _size(brain)) ** 3, rel=0.005)
    assert result.mask.data.dtype == torch.uint8 and result.mask.grid.shape == scan.grid.shape
    np.testing.assert_array_equal(result.mask.affine, scan.affine)
    assert float(result.mask.data.sum()) * scan.grid.voxel_volume == pytest.approx(result.volume, rel=0.005)
    middle = (result.mask.data > 0).nonzero().double().numpy().mean(0)
    center = np.linalg.inv(brain.to_atlas)[:3, 3]
    assert np.linalg.norm(scan.affine[:3, :3] @ middle + scan.affine[:3, 3] - center) < 1.0


@pytest.mark.slow
def test_volume_does_not_depend_on_how_the_head_is_stored(found, measure, scans):
    scan, brain = found
    copy = scans.padded(scans.reoriented(scans.resampled(scan)))
    first, again = measure(scan, brain), measure(copy, brain)
    assert again.mask.grid.shape == copy.grid.shape
    assert again.volume == pytest.approx(first.volume, rel=1e-4)
    sizes = [float(one.mask.data.sum()) * one.mask.grid.voxel_volume for one in (first, again)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["top", "bottom"])
def test_a_cavity_that_the_field_of_view_cuts_has_no_volume(found, measure, end):
    scan, brain = found
    inside = (measure(scan, brain).mask.data > 0).nonzero()[:, 2]
    start, stop = (int(inside.min()) + 15, scan.grid.shape[2])
    if end == "top":
        start, stop = 0, int(inside.max()) - 15
    x, y, _ = scan.grid.shape
    part = scan.crop((0, 0, start), (x, y, stop - start))
    result = measure(part, brain)
    assert result.volume is None and result.mask is None and result.reason == intracranial.PARTIAL
    assert result.notes == [f"The intracranial volume is not available: {intracranial.PARTIAL}."]
