"""Registration: known motions come back, both ways agree, contrasts do not matter, nothing folds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainseg.models.deformation.diffeomorphic import Level, Options, half_affine
from brainseg.models.deformation.velocity import (
    exponential,
    identity,
    inverse_consistent,
    jacobian,
    smooth,
    taper,
)
from brainseg.models.errors import InputError
from brainseg.models.geometry.trilinear import sample
from brainseg.models.geometry.volume import Volume, transform_points
from brainseg.models.registration import deep, features, linear, reference, registration, syn
from brainseg.models.registration.reference import centroids
from brainseg.models.registration.result import Anatomy
from brainseg.models.templates import bundled
from helpers import heads_of_balls as balls

QUICK = Options(spacing=3.0, levels=(Level(2, 20, 0.3, 3.0, 1.0), Level(1, 6, 0.3, 2.0, 1.0)))
POINTS = np.random.default_rng(0).uniform(-1, 1, (300, 3)) * [45, 60, 40]


def motion(degrees: float, shift, scale=(1.0, 1.0, 1.0)) -> np.ndarray:
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])
    out = np.eye(4)
    out[:3, :3] = turn @ np.diag(scale)
    out[:3, 3] = shift
    return out


@pytest.fixture(scope="module")
def fixed():
    return balls.brain()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, truth",
    [
        ("rigid", motion(25, (10, -20, 5))),
        ("similarity", motion(-140, (-30, 8, 12), (1.1, 1.1, 1.1))),
        ("affine", motion(15, (4, 2, -60), (0.9, 1.05, 1.12))),
    ],
)
def test_known_motions_come_back_whatever_the_orientation(fixed, kind, truth):
    axes = np.array([[0, 0, 1.0], [-1.0, 0, 0], [0, -1.0, 0]])
    moving = balls.brain(np.linalg.inv(truth), axes=axes)
    found = linear.affine(moving, fixed, kind)
    error = transform_points(found.matrix, transform_points(np.linalg.inv(truth), POINTS)) - POINTS
    assert np.linalg.norm(error, axis=1).max() < 2.0
    if kind == "rigid":
        assert np.linalg.det(found.matrix[:3, :3]) == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_a_head_cut_off_in_part_is_aligned_by_the_rest(fixed):
    truth = motion(10, (6, -4, 3))
    whole = balls.brain(np.linalg.inv(truth))
    kept = slice(20, None)  # without its lower third

    def cut(volume: Volume) -> Volume:
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, 2] * kept.start
        return Volume(volume.data[..., kept].contiguous(), affine)

    part = Anatomy(cut(whole.image), cut(whole.mask), cut(whole.structures), {}, {})
    part = replace(part, centroids=centroids(part.structures))
    found = linear.affine(part, fixed)
    seen = POINTS[POINTS[:, 2] > -10]
    error = transform_points(found.matrix, transform_points(np.linalg.inv(truth), seen)) - seen
    assert np.linalg.norm(error, axis=1).mean() < 2.0


def test_too_few_structures_are_told(fixed):
    few = replace(fixed, centroids={10: (0, 0, 0), 49: (1, 0, 0)})
    with pytest.raises(InputError, match=r"too few structures .*\(2\)"):
        linear.align(few.centroids, fixed.centroids)


@pytest.fixture(scope="module")
def both_ways(fixed):
    moving = balls.brain(motion(5, (4, -3, 6)), bend=5.0)
    return moving, [
        registration.register(*pair, options=QUICK) for pair in ((moving, fixed), (fixed, moving))
    ]


@pytest.mark.slow
def test_deformation_matches_structures_and_does_not_fold(fixed, both_ways):
    moving, (found, _) = both_ways
    aligned = linear.affine(moving, fixed).forward.resample(moving.structures, fixed.image.grid, "nearest")
    warped = found.forward.resample(moving.structures, fixed.image.grid, "nearest")
    before, after = (balls.dice(v.data, fixed.structures.data) for v in (aligned, warped))
    assert after > 0.88 and after > before + 0.05
    assert found.folds <= 1e-4 and found.engine == "deep"
    assert (found.forward.jacobian(fixed.image.grid).data <= 0).float().mean() <= 1e-4


@pytest.mark.slow
def test_changing_places_gives_the_inverse(both_ways):
    _, (there, back) = both_ways
    assert np.abs(there.matrix @ back.matrix - np.eye(4)).max() < 0.02
    assert np.linalg.norm(there.forward.points(POINTS) - back.inverse.points(POINTS), axis=1).max() < 0.1
    assert np.linalg.norm(there.inverse.points(there.forward.points(POINTS)) - POINTS, axis=1).mean() < 0.3


@pytest.mark.slow
def test_contrast_does_not_matter(fixed, both_ways):
    moving, (found, _) = both_ways
    other = balls.brain(motion(5, (4, -3, 6)), bend=5.0, contrast="T2w")
    assert not features.same_contrast(other, fixed)
    assert features.same_contrast(moving, fixed)
    result = registration.register(other, fixed, options=QUICK)
    error = result.forward.points(POINTS) - found.forward.points(POINTS)
    assert np.linalg.norm(error, axis=1).mean() < 1.0


@pytest.mark.slow
def test_more_steps_and_none(fixed):
    moving = balls.brain(bend=4.0)
    none = registration.register(moving, fixed, engine="none")
    assert none.engine == "none" and len(none.forward.steps) == 1
    coarse = registration.register(moving, fixed, refine=0, options=QUICK)
    assert 0 < np.linalg.norm(coarse.forward.points(POINTS) - none.forward.points(POINTS), axis=1).mean() < 8


def test_folds_are_smoothed_away():
    rough = torch.randn(3, 24, 24, 24, generator=torch.Generator().manual_seed(0))
    rough = smooth(rough, 1.0) * 9 * taper((24, 24, 24), 4)
    (there, back), folds = deep.without_folds(rough, rounds=12)
    assert folds <= 1e-4
    assert all(float((jacobian(flow) <= 0).float().mean()) <= folds for flow in (there, back))
    assert there.abs().mean() > 0.1 * rough.abs().mean()


def test_flows_of_a_velocity_are_brought_closer_to_each_others_inverses():
    torch.manual_seed(3)
    velocity = smooth(torch.randn(3, 20, 22, 18), 2.0) * 25 * taper((20, 22, 18), 4)
    index = identity((20, 22, 18), velocity)

    def left(there, back):
        return float((there + sample(back, index + there)).norm(dim=0).mean())

    rough = exponential(velocity), exponential(-velocity)
    better = inverse_consistent(*rough)
    assert left(*better) < 0.6 * left(*rough) and left(*better[::-1]) < 0.6 * left(*rough[::-1])
    assert torch.equal(better[0], inverse_consistent(*rough[::-1])[1])  # changing places changes nothing
    assert left(*inverse_consistent(*rough, rounds=3)) < left(*better)


def test_half_of_a_half_turn_is_all_or_nothing():
    turn = motion(180, (0, 0, 0))
    assert np.allclose(half_affine(turn), turn)
    small = motion(90, (3, 2, 1))
    assert np.allclose(half_affine(small) @ half_affine(small), small)


@pytest.mark.slow
@pytest.mark.parametrize("start", [True, False])
def test_syn_gives_the_same_kind_of_result(start):
    truth = motion(8, (4, -3, 6))
    fixed, moving = balls.of_template(np.eye(4)), balls.of_template(truth, bend=4.0)
    aligned = linear.affine(moving, fixed)
    found = syn.register(moving, fixed, aligned, start=start)
    warped = found.forward.resample(moving.structures, fixed.image.grid, "nearest")
    before = aligned.forward.resample(moving.structures, fixed.image.grid, "nearest")
    assert balls.dice(warped.data, fixed.structures.data) > balls.dice(before.data, fixed.structures.data)
    inside = POINTS * 0.8
    there = found.forward.points(inside)
    assert np.linalg.norm(found.inverse.points(there) - inside, axis=1).mean() < 0.5
    error = balls.bent(transform_points(np.linalg.inv(truth), there), 4.0) - inside
    assert np.linalg.norm(error, axis=1).mean() < 1.5
    assert found.engine == "ants" and found.folds < 1e-3
    # What ANTs leaves to the deformation differs a little, from one run to the next, too.
    assert abs(np.log(np.linalg.det(found.matrix) / np.linalg.det(aligned.matrix))) < 0.2
    assert np.linalg.norm((found.matrix @ np.linalg.inv(aligned.matrix))[:3, 3]) < 5


def test_tissue_maps_of_a_template_are_read_when_they_are_used(monkeypatch):
    calls = []
    read = bundled.tissue_maps
    monkeypatch.setattr(bundled, "tissue_maps", lambda name: calls.append(name) or read(name))
    found = reference.load.__wrapped__("MNI152NLin2009cAsym")
    assert not calls
    assert set(found.probabilities) == {"GM", "WM", "CSF"}
    assert found.probabilities["GM"].grid.shape == found.image.grid.shape
    assert calls == ["MNI152NLin2009cAsym"]


def test_tissue_maps_on_another_grid_are_left_out():
    image = Volume(torch.zeros(4, 4, 4), np.eye(4))
    assert not reference.TissueMaps("MNI152NLin2009cAsym", image)
