"""A structure stays at its place, whatever else has its intensity."""

import numpy as np
import torch

from brainseg.models.segmentation.intensity import gaussian_mixture, places

STRUCTURES = (0, 2, 3, 13, 24)
SHAPE = (64, 64, 64)


def brain() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return maps, mask, image and pallidum of a ball with cortex, and a rim as dark as the pallidum."""
    lines = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in SHAPE]
    x, y, z = torch.meshgrid(*lines, indexing="ij")
    radius = (x * x + y * y + z * z).sqrt()
    inside = radius < 29
    pallidum = ((x - 6) ** 2 + y * y + z * z).sqrt() < 6
    cortex = (radius > 22) & inside
    maps = torch.full((len(STRUCTURES), *SHAPE), 0.002)
    for row, place in ((1, inside & ~cortex & ~pallidum), (2, cortex), (3, pallidum)):
        maps[row][place] = 0.95
    maps[0][~inside] = 1.0
    image = torch.where(cortex, 0.9, 0.5)
    image[pallidum | (radius > 28.3)] = 0.1
    image += 0.02 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    return maps / maps.sum(0), inside, image, pallidum


def test_a_structure_is_not_far_from_its_place():
    maps, inside, _, pallidum = brain()
    far = places.far_off(maps, inside, STRUCTURES, np.ones(3))
    assert not far[[0, 1, 2, 4]].any(), "white matter, cortex and CSF are everywhere"
    where = torch.zeros(SHAPE, dtype=torch.bool)
    where[inside] = far[3]
    assert not where[pallidum].any()
    assert where[:15].any() and not where[26:46, 26:38, 26:38].any(), "8 mm beside its place are near"


def test_a_rim_as_dark_as_the_pallidum_is_no_pallidum():
    maps, inside, image, pallidum = brain()
    far = places.far_off(maps, inside, STRUCTURES, np.ones(3))
    for method in (gaussian_mixture.fit, gaussian_mixture.fit_with_partial_volume):
        strays, kept = [], []
        for excluded in (None, far):
            fit = method(image[inside], maps[:, inside].clone(), STRUCTURES, far=excluded)
            found = torch.zeros(SHAPE, dtype=torch.bool)
            found[inside] = fit.posteriors.argmax(0) == 3
            strays.append(int((found & ~pallidum).sum()))
            kept.append(int((found & pallidum).sum()))
        assert strays[0] > 1000, "the rim is the fault that the place mends"
        assert strays[1] < 50, "none but at the corners of the box"
        assert kept[1] > 0.98 * int(pallidum.sum())


def test_wide_ventricles_may_reach_far_beyond_their_place():
    """Fluid has the intensity of all other fluid: the prior alone decides which it is, without a limit."""
    maps, inside, _, _ = brain()
    for ventricle in (4, 5, 14, 15):
        assert not places.far_off(maps, inside, (0, 2, 3, ventricle, 24), np.ones(3)).any()


def test_a_structure_that_is_nowhere_probable_has_no_place():
    maps = torch.full((2, 8, 8, 8), 0.5)
    maps[1] = 0.0
    inside = torch.ones(8, 8, 8, dtype=torch.bool)
    assert not places.far_off(maps, inside, (2, 13), np.ones(3)).any()
