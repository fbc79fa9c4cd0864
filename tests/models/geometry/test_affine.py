"""Closed-form alignment of points: exact where it can be, robust where points are wrong."""

import doctest

import numpy as np
import pytest

from brainseg.models.geometry import affine
from brainseg.models.geometry.affine import fit_affine


@pytest.fixture
def points():
    return np.random.default_rng(1).normal(size=(20, 3)) * [50, 60, 40]


def _moved(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _rotation(seed=0):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def test_examples():
    assert doctest.testmod(affine, extraglobs={"np": np}).failed == 0


def _matrix(kind):
    out = np.eye(4)
    out[:3, :3] = {
        "rigid": _rotation(),
        "similarity": 1.2 * _rotation(),
        "affine": _rotation() @ np.diag([0.9, 1.1, 1.3]) + 0.05,
    }[kind]
    out[:3, 3] = [12, -30, 7]
    return out


@pytest.mark.parametrize("iterations", [0, 10])
@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine"])
def test_exact_points_give_the_exact_matrix(points, kind, iterations):
    wanted = _matrix(kind)
    found = fit_affine(points, _moved(wanted, points), kind=kind, iterations=iterations)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine"])
def test_wrong_points_do_not_pull(points, kind):
    wanted = _matrix(kind)
    fixed = _moved(wanted, points) + np.random.default_rng(2).normal(size=points.shape) * 0.3
    fixed[:3] += [40, -30, 25]
    robust = fit_affine(points, fixed, kind=kind)
    plain = fit_affine(points, fixed, kind=kind, iterations=0)
    error = [
        np.linalg.norm(_moved(m, points)[3:] - _moved(wanted, points)[3:], axis=1).max()
        for m in (robust, plain)
    ]
    assert error[0] < 1.5 < error[1]


def test_weights_count(points):
    fixed = points.copy()
    fixed[0] += 30
    weights = np.ones(len(points))
    weights[0] = 1e-9
    np.testing.assert_allclose(fit_affine(points, fixed, weights, iterations=0), np.eye(4), atol=1e-5)


@pytest.mark.parametrize("kind", ["rigid", "similarity"])
def test_mirrored_points_give_a_rotation_never_a_reflection(points, kind):
    found = fit_affine(points, points * [-1, 1, 1], kind=kind)
    assert np.linalg.det(found[:3, :3]) > 0


def test_refusals(points):
    with pytest.raises(ValueError, match="needs 4"):
        fit_affine(points[:3], points[:3])
    with pytest.raises(ValueError, match="needs 3"):
        fit_affine(points[:2], points[:2], kind="rigid")
    flat = points * [1, 1, 0]
    with pytest.raises(ValueError, match="in one plane"):
        fit_affine(flat, flat)
