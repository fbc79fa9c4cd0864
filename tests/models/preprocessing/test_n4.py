"""N4 of our own: the field that ITK finds, on the grid that is asked for."""

import numpy as np
import pytest

from brainseg.models.preprocessing import n4

SHAPE = (36, 44, 40)
SPACING = (4.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def head():
    """Two tissues in a ball with noise and a smooth field: image, ball and field."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    r = np.sqrt(x**2 + y**2 + z**2)
    field = np.exp(0.25 * x - 0.2 * y * z + 0.1 * z)
    image = np.where(r < 0.55, 160.0, 110.0) + np.random.default_rng(0).normal(0, 4, SHAPE)
    return np.maximum(image * field, 1.0), r < 0.85, field


def whole(image, inside, **options):
    return n4.estimate(image, inside, SPACING, [np.arange(n) for n in SHAPE], **options)


def spread(ratio):
    return float(ratio.std() / ratio.mean())


def test_the_field_is_found(head):
    image, inside, field = head
    assert spread((whole(image, inside) / field)[inside]) < 0.3 * spread(field[inside])


@pytest.mark.slow
@pytest.mark.parametrize(("iterations", "least"), [([1], 2e-5), ([40], 5e-4), ([40, 40, 30], 2e-3)])
def test_it_is_that_of_itk(head, iterations, least):
    import ants

    image, inside, _ = head
    images = [ants.from_numpy(one.astype(np.float32), spacing=SPACING) for one in (image, inside)]
    theirs = ants.n4_bias_field_correction(
        images[0],
        mask=images[1],
        shrink_factor=1,
        convergence={"iters": iterations, "tol": 1e-4},
        spline_param=200,
        return_bias_field=True,
    ).numpy()
    ours = whole(image, inside, iterations=iterations)
    assert spread((ours / theirs)[inside]) < least


def test_it_is_returned_between_the_voxels_and_goes_on_flat_beyond_the_mesh(head):
    image, inside, _ = head
    given = whole(image, inside)
    where = [np.r_[-400.0, np.arange(n - 1) + 0.5, 400.0] for n in SHAPE]
    between = n4.estimate(image, inside, SPACING, where)
    assert between.shape == tuple(n + 1 for n in SHAPE)
    assert np.isfinite(between).all() and between.min() > 0
    middle = (given[1:, 1:, 1:] + given[:-1, :-1, :-1]) / 2
    np.testing.assert_allclose(between[1:-1, 1:-1, 1:-1], middle, rtol=0.02)


def test_a_flat_image_has_a_flat_field():
    flat = np.full(SHAPE, 50.0)
    np.testing.assert_allclose(whole(flat, np.ones(SHAPE, bool)), 1.0)
