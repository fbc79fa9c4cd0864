"""Parcels carried into a small brain: on their side, in their structures, without gaps, and measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainseg.models.deformation.warp import Warp
from brainseg.models.geometry.volume import Volume
from brainseg.models.parcellation import carry
from brainseg.models.parcellation.atlas import Atlas, places
from brainseg.models.parcellation.names import AtlasName
from brainseg.models.parcellation.tables import Parcel
from brainseg.models.population import labels

SHAPE = (30, 24, 10)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
STILL = Warp((np.eye(4),))
TABLE = labels.load("adult")


def volume(data: np.ndarray) -> Volume:
    return Volume(torch.from_numpy(np.ascontiguousarray(data)), AFFINE)


@pytest.fixture
def brain() -> Volume:
    """Cortex around white matter on both sides, the left thalamus, CSF between."""
    data = np.zeros(SHAPE, np.int16)
    for low, cortex, white in ((2, 3, 2), (16, 42, 41)):
        data[low : low + 12, 2:22, 1:9] = cortex
        data[low + 3 : low + 9, 5:19, 1:9] = white
    data[6:9, 10:14, 3:7] = 10
    data[14:16, 2:22, 1:9] = 24
    return volume(data)


def atlas_of(data: np.ndarray) -> Atlas:
    parcels = tuple(Parcel(int(k), f"parcel {k}", "#ff0000") for k in np.unique(data) if k)
    return Atlas(AtlasName("Toy", "Space"), volume(data.astype(np.int32)), parcels, {})


def halves(brain: Volume) -> np.ndarray:
    """Two cortical parcels on each side that overlap the white matter, one of the thalamus, one of CSF."""
    found, out = brain.data.numpy(), np.zeros(SHAPE, np.int32)
    front = np.arange(SHAPE[1])[None, :, None] >= 12
    for cortex, first in ((3, 1), (42, 3)):
        inside = found == cortex
        out[inside & ~front], out[inside & front] = first, first + 1
    out[found == 10], out[found == 24] = 5, 6
    out[3:5, 8:10], out[25:27, 8:10] = 0, 0  # gaps of 4 mm
    return out


def test_parcels_know_their_structures(brain):
    found = places(atlas_of(halves(brain)), brain, TABLE)
    assert found.structures == {3: (1, 2), 42: (3, 4), 10: (5,)}
    assert found.dense == {3, 42, 10}
    assert found.elsewhere == (6,)


def test_parcels_stay_in_the_gray_matter_of_their_side(brain):
    atlas = atlas_of(halves(brain))
    found = carry.carry(atlas, places(atlas, brain, TABLE), STILL, brain)
    data, own = found.labels.data.numpy(), brain.data.numpy()
    for cortex, parcels in ((3, {1, 2}), (42, {3, 4}), (10, {5}), (24, {6}), (2, {0}), (41, {0}), (0, {0})):
        assert set(np.unique(data[own == cortex])) == parcels
    assert found.filled == np.count_nonzero((halves(brain) == 0) & np.isin(own, (3, 42)))
    assert (found.left, found.lost) == (0, ())


def test_a_shifted_brain_gets_the_parcels_of_its_own_cortex(brain):
    """The cortex moved by one voxel: parcels follow the labels of the participant."""
    moved = volume(np.roll(brain.data.numpy(), 1, 1))
    atlas = atlas_of(halves(brain))
    found = carry.carry(atlas, places(atlas, brain, TABLE), STILL, moved)
    own = moved.data.numpy()
    labeled = found.labels.data.numpy() > 0
    assert labeled[np.isin(own, (3, 42, 10))].all()
    assert not labeled[np.isin(own, (0, 2, 41))].any()
    assert found.filled > 0


def test_small_regions_do_not_grow(brain):
    data = np.zeros(SHAPE, np.int32)
    data[3:5, 4:8, 3:6] = 7
    atlas = atlas_of(data)
    known = places(atlas, brain, TABLE)
    found = carry.carry(atlas, known, STILL, brain)
    assert known.structures == {3: (7,)} and not known.dense
    assert np.array_equal(found.labels.data.numpy(), np.where(brain.data.numpy() == 3, data, 0))
    assert found.filled == 0


def test_half_a_voxel_is_no_matter(brain):
    """Labels are interpolated as maps: a shift of a third of a voxel changes no label inside of a parcel."""
    shift = np.eye(4)
    shift[1, 3] = 0.66
    atlas = atlas_of(halves(brain))
    found = carry.carry(atlas, places(atlas, brain, TABLE), Warp((shift,)), brain).labels.data.numpy()
    still = carry.carry(atlas, places(atlas, brain, TABLE), STILL, brain).labels.data.numpy()
    assert np.count_nonzero(found != still) == 0


def test_what_is_not_there_is_told(brain):
    atlas = atlas_of(halves(brain))
    empty = volume(np.zeros(SHAPE, np.int16))
    found = carry.carry(atlas, places(atlas, brain, TABLE), STILL, empty)
    assert found.lost == (1, 2, 3, 4, 5, 6)
    assert not found.labels.data.any()


def test_measures_of_parcels(brain):
    atlas = atlas_of(halves(brain))
    found = carry.carry(atlas, places(atlas, brain, TABLE), STILL, brain).labels
    gray = volume(np.where(np.isin(brain.data.numpy(), (3, 42)), 0.5, 0).astype(np.float32))
    values = found.data.numpy() * 10.0 + np.arange(SHAPE[2]) % 2
    values[0:4] = np.nan
    rows = carry.measure(atlas, found, gray, {"T": volume(values.astype(np.float32))})
    for index, row in rows.items():
        count = np.count_nonzero(found.data.numpy() == index)
        assert row["volume_mm3"] == pytest.approx(8 * count)
        assert row["gm_volume_mm3"] == pytest.approx(8 * count * (0.5 if index < 5 else 0))
        own = values[(found.data.numpy() == index) & np.isfinite(values)]
        expected = (own.mean(), np.median(own), own.std())
        assert (row["T_mean"], row["T_median"], row["T_sd"]) == pytest.approx(expected)


def test_an_atlas_of_the_whole_cortex_fills_it(brain):
    """However far a voxel of the cortex is from the carried parcels, it gets one of its side."""
    data = halves(brain)
    data[:, 2:18] = np.where(np.isin(brain.data.numpy(), (3, 42)), 0, data)[:, 2:18]
    data[:, 18:][np.isin(brain.data.numpy()[:, 18:], (3, 42))] += 10
    far = replace(atlas_of(np.where(data > 10, data, 0)), whole=True)
    known = places(far, brain, TABLE)
    known = replace(known, dense=frozenset(known.structures))
    found = carry.carry(far, known, STILL, brain)
    labeled, own = found.labels.data.numpy(), brain.data.numpy()
    assert {int(k) for k in np.unique(labeled[own == 3])} == {12}
    assert {int(k) for k in np.unique(labeled[own == 42])} == {14}
    assert found.left == 0 and found.filled > 0
    part = carry.carry(replace(far, whole=False), known, STILL, brain)
    assert part.left > 0, "other atlases fill gaps only"
