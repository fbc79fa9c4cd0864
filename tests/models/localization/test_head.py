"""Partial heads: recognized, continued beyond their ends, and refused for the right reason."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Volume
from brainseg.models.localization import head, upright
from brainseg.models.segmentation import masks

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def ball(shape=(60, 66, 60), radius=75.0, middle=(90.0, 99.0, 90.0)) -> Volume:
    """A bright ball in the dark; voxels of 3 mm."""
    x, y, z = np.meshgrid(*[3.0 * np.arange(n) for n in shape], indexing="ij")
    inside = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 + (z - middle[2]) ** 2 < radius**2
    return Volume(torch.from_numpy(np.where(inside, 100.0, 0.0).astype(np.float32)), AFFINE)


def slab(axis: int, mm: float = 60.0) -> Volume:
    whole = ball()
    start, shape = [0, 0, 0], list(whole.grid.shape)
    start[axis], shape[axis] = 20, round(mm / 3)
    return whole.crop(tuple(start), tuple(shape))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slab_is_a_partial_head(axis):
    assert head.cut_axes(slab(axis)) == [axis] and head.is_partial(slab(axis))


def test_whole_heads_and_tight_crops_are_not_partial():
    assert not head.is_partial(ball())
    small = ball((36, 36, 36), radius=48.0, middle=(52.5, 52.5, 52.5))
    assert head.field_of_view(small).max() < head.WHOLE_MM and not head.is_partial(small)
    torch.testing.assert_close(head.continued(small).data, small.data)


def test_a_slab_is_continued_and_fades():
    part = slab(2)
    wide = head.continued(part)
    count = round(head.FADE_MM / 3)
    assert wide.grid.shape == (60, 66, 20 + 2 * count)
    torch.testing.assert_close(wide.data[..., count : count + 20], part.data)
    np.testing.assert_allclose(wide.affine[:3, 3], part.affine[:3, 3] - [0, 0, 60])
    column = wide.data[30, 33]
    assert column[count - 1] < 100 and column[0] == 0 and bool((column.diff()[:count] >= 0).all())
    assert column[-1] == 0 and bool((column.diff()[count + 19 :] <= 0).all())


def test_a_refused_slab_is_told_to_be_too_small():
    error = head.no_brain(slab(2))
    assert "field of view (180x198x60 mm) is too small" in error.reason and "fetus" not in error.remedy
    assert "too small" not in head.no_brain(ball()).reason


def test_the_orientation_of_a_slab_is_not_judged(monkeypatch):
    monkeypatch.setattr(upright, "scores_of", lambda *_: pytest.fail("judged"))
    assert upright.check(slab(2)) is None


def test_what_lies_outside_the_field_of_view_is_no_sign_of_a_stripped_brain():
    # A thin slab of a head with a thin scalp: nearly all of the surroundings are outside the image.
    part = ball(radius=72.0).crop((0, 0, 28), (60, 66, 4))
    brain = ball(radius=60.0)
    distance = brain.with_data(torch.where(brain.data > 0, 10.0, -10.0))
    assert not masks.is_stripped(part, distance)
    alone = ball(radius=60.0).crop((0, 0, 28), (60, 66, 4))
    assert masks.is_stripped(alone, distance)


@pytest.mark.parametrize("roughness", [0.0, 1.5, 3.0])
def test_noise_is_no_brain(roughness):
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 72, 64)), roughness)
    data = (100 + 30 * noise / noise.std()).clip(0).astype(np.float32)
    with pytest.raises(InputError, match="no brain"):
        head.find(Volume(torch.from_numpy(data), AFFINE))


def test_passes_end_where_the_window_stays(monkeypatch):
    windows, real = [], head._window

    def window(*given):
        windows.append(real(*given))
        return windows[-1]

    monkeypatch.setattr(head, "_window", window)
    maps, spacing, _ = upright._mean_head()
    image = (maps * torch.tensor([0, 250, 180, 60, 170, 90, 120, 220, 20, 40.0]).view(-1, 1, 1, 1)).sum(0)
    volume = Volume(image, np.diag([spacing, spacing, spacing, 1.0]))
    passes, once = [], head._pass
    monkeypatch.setattr(head, "_pass", lambda *given: passes.append(given) or once(*given))
    found = head.find(volume)
    assert len(passes) < head.PASSES  # the head is whole and well framed
    np.testing.assert_array_equal(windows[-1].affine, windows[-2].affine)
    monkeypatch.setattr(head, "_window", lambda whole, center, spacing: real(whole, center + 1e-9, spacing))
    monkeypatch.setattr(np, "array_equal", lambda *given: False)
    again = head.find(volume)
    torch.testing.assert_close(found.structures.data, again.structures.data, rtol=0, atol=0)
