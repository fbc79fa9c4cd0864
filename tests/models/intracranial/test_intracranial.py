"""Intracranial volume: when it is not available, and what it is in a head of shells however it is stored."""

import doctest
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from brainseg.models.errors import UsageError
from brainseg.models.geometry.volume import Grid, Volume, coordinate_channels, resample
from brainseg.models.intracranial import intracranial
from brainseg.models.localization import head, place
from brainseg.models.networks import purpose, zoo
from brainseg.models.networks.stem_unet import StemUNet
from brainseg.models.population import populations
from brainseg.training.kinds import registry

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


def test_brain_clearly_outside_the_cavity_is_counted():
    """The surfaces may cross by 2 mm, whatever the voxels of the image."""
    cavity = _ball(40.0)
    for size in ((1.0, 1.0, 1.0), (2.5, 1.0, 0.7)):
        affine = np.diag([*size, 1.0])
        affine[:3, 3] = -10
        grid = Grid(tuple(int(120 / s) for s in size), affine)
        shares = {39.0: 0.0, 41.0: 0.0, 44.0: 1 - (42 / 44) ** 3, 48.0: 1 - (42 / 48) ** 3}
        for radius, wanted in shares.items():
            brain = resample(_ball(radius), grid, outside=-50.0)
            brain = brain.with_data(brain.data > 0)
            assert intracranial.brain_outside(brain, cavity) == pytest.approx(wanted, abs=0.03)
    assert intracranial.brain_outside(brain.with_data(brain.data & False), cavity) == 0.0


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
def test_a_brain_that_was_found_before_is_not_searched_again(found, ball, monkeypatch, tmp_path):
    scan, brain = found
    wanted = intracranial.measure(scan, ADULT)
    known = place.read(place.write(tmp_path / "place.npz", place.Place(brain.distance, brain.to_atlas)))
    monkeypatch.setattr(intracranial.head, "find", lambda *_args, **_more: pytest.fail("searched again"))
    result = intracranial.measure(scan, ADULT, place=known)
    assert result.volume == wanted.volume and torch.equal(result.mask.data, wanted.mask.data)


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


def test_a_network_of_an_earlier_version_is_refused(tmp_path):
    made = StemUNet(7, [4, 4], {"mask": {"outputs": 1}}, stem=1)
    arguments = {"inputs": 7, "channels": [4, 4], "tasks": {"mask": {"outputs": 1}}, "stem": 1}
    card = {"name": "old", "kind": "cavity", "label_table": "adult", "finder": "skullstrip"}
    card |= {"architecture": {"class": "StemUNet", "arguments": arguments}}
    path = zoo.save(tmp_path, made.state_dict(), card)
    with pytest.raises(UsageError, match="of an earlier version") as caught:
        purpose.check(str(path), "intracranial")
    assert "recipe intracranial" in caught.value.remedy
    with pytest.raises(UsageError, match="unknown keys finder") as caught:
        registry.read("intracranial", {"finder": "skullstrip"})
    assert "begin with the recipe intracranial" in caught.value.remedy


@pytest.mark.parametrize("changes", [{"coarse": None}, {"context": "structure"}, {"offset": [0.0, 0.0, 5.0]}])
def test_recipes_that_the_chain_could_not_use_are_refused(changes):
    with pytest.raises(UsageError, match="the kind cavity has a coarse network"):
        registry.read("intracranial", changes)
