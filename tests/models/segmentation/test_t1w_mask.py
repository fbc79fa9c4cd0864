"""The mask for T1-weighted scans: used for their contrast alone, in any position, if it fits the brain."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Grid, Volume, resample
from brainseg.models.localization.head import Coarse
from brainseg.models.networks import zoo
from brainseg.models.population import labels, populations
from brainseg.models.segmentation import signed_distance, skullstrip, t1w_mask

TABLE = labels.load("adult").unsided
SPACING = 3.0


def coarse_of(turn: float = 0.0, fluid: float = 15) -> Coarse:
    """A ball of white matter in a shell of gray matter with fluid in its middle, turned."""
    shape, affine = (64, 80, 64), np.diag([SPACING] * 3 + [1.0])
    affine[:3, 3] = -SPACING * (np.array(shape) - 1) / 2
    axes = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    radius = SPACING * (axes[0] ** 2 + (axes[1] / 1.2) ** 2 + axes[2] ** 2).sqrt()
    structures = torch.zeros(len(TABLE), *shape)
    for index, low, high in ((4, 0, fluid), (2, fluid, 50), (3, 50, 65)):
        structures[TABLE.index(index)] = ((radius >= low) & (radius < high)).float()
    structures[0] = 1 - structures.sum(0)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    to_atlas = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    distance = Volume(65 - radius, affine)
    return Coarse(distance, Volume(structures, affine), Volume(radius * 0, affine), to_atlas, 1.0, 1.0)


def image_of(coarse: Coarse, white: float, gray: float, fluid: float) -> Volume:
    """An image of the ball with an intensity for every tissue."""
    levels = torch.zeros(len(TABLE))
    for index, level in ((4, fluid), (2, white), (3, gray)):
        levels[TABLE.index(index)] = level
    data = torch.einsum("cxyz,c->xyz", coarse.structures.data, levels)
    return Volume(data, coarse.distance.affine)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((900, 600, 200), "as it is"),  # T1w
        ((300, 450, 900), "inverted"),  # T2w
        ((500, 600, 150), None),  # FLAIR
        ((600, 700, 800), None),  # PDw
        ((500, 505, 200), None),  # no contrast
    ],
)
def test_contrast_is_recognized_by_intensities(levels, expected):
    coarse = coarse_of(fluid=30)
    image = image_of(coarse, *levels)
    found = t1w_mask.as_t1w(image, coarse, TABLE)
    if expected != "inverted":
        assert found is (image if expected else None)
        return
    white, gray, fluid, around = (
        float(found.data[coarse.structures.data[TABLE.index(k)] > 0].median()) for k in (2, 3, 4, 0)
    )
    assert white > gray >= fluid and around == 0


@pytest.mark.parametrize("bone", [0, 60, 130])
def test_bone_of_a_t2w_scan_stays_dark_when_it_is_inverted(bone):
    coarse = coarse_of(fluid=30)
    image = image_of(coarse, 300, 450, 900)
    outside = coarse.distance.data < 0
    far = coarse.distance.data < -15
    image = image.with_data(torch.where(outside & ~far, float(bone), image.data))
    found = t1w_mask.as_t1w(image, coarse, TABLE)
    assert float(found.data[outside].max()) == 0
    assert float(found.data[coarse.structures.data[TABLE.index(2)] > 0].min()) > 0


@pytest.mark.parametrize("turn", [0.0, 30.0, 90.0])
def test_network_sees_an_upright_box_in_any_position(turn, monkeypatch):
    """Stand-in network: whatever is bright. Its mask comes back to where the brain is."""
    seen = []

    class Bright(torch.nn.Module):
        stride = 32

        def forward(self, x, prior=None):
            seen.append(x)
            logits = 9 * torch.cat([0.449 - x, x - 0.449], 1)
            return {"mask": (logits, logits)}

    monkeypatch.setattr(t1w_mask, "SIDE", 64)
    monkeypatch.setattr(zoo, "load_once", lambda *_: zoo.Model(Bright(), {}))
    coarse = coarse_of(turn)
    image = image_of(coarse, 900, 700, 500)
    found = t1w_mask.probability(image, coarse, "stand-in", "cpu")
    assert seen[0].shape == (1, 1, 64, 64, 64)
    assert t1w_mask.agrees(found, coarse)
    mask = resample(found, coarse.distance.grid).data > 0.5
    truth = coarse.distance.data > 0
    assert 2 * float((mask & truth).sum()) / float(mask.sum() + truth.sum()) > 0.95
    # the box is upright in the atlas frame: its axes are those of the atlas
    axes = found.affine[:3, :3] / np.linalg.norm(found.affine[:3, :3], axis=0)
    np.testing.assert_allclose(coarse.to_atlas[:3, :3] @ axes, np.eye(3), atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "t1w", "expected"),
    [("force", True, "deepbet"), ("force", False, "skullstrip"), ("skip", True, "extent")],
)
def test_a_mask_says_what_made_it(mode, t1w, expected, monkeypatch):
    coarse = coarse_of()
    image = image_of(coarse, 900, 600, 200)
    monkeypatch.setattr(signed_distance.head, "find", lambda *_, **__: coarse)
    monkeypatch.setattr(signed_distance.upright, "check", lambda *_, **__: None)
    monkeypatch.setattr(signed_distance, "_t1w", lambda *_: [coarse.distance] if t1w else [])
    monkeypatch.setattr(signed_distance, "refine", lambda *_: coarse.distance)
    assert skullstrip.skullstrip(image, mode=mode).source == expected


def test_fluid_around_the_mask_is_kept_for_the_segmentation(monkeypatch):
    coarse = coarse_of()
    wide = coarse.distance.with_data(coarse.distance.data + SPACING)
    monkeypatch.setattr(signed_distance.head, "find", lambda *_, **__: coarse)
    monkeypatch.setattr(signed_distance.upright, "check", lambda *_, **__: None)
    monkeypatch.setattr(signed_distance, "_t1w", lambda *_: [coarse.distance, wide])
    found = skullstrip.skullstrip(image_of(coarse, 900, 600, 200), mode="force")
    assert ((found.mask.data > 0) == (coarse.distance.data > 0)).all()
    assert ((found.region.data > 0) == (wide.data > 0)).all()
    monkeypatch.setattr(signed_distance, "_t1w", lambda *_: [coarse.distance])
    assert skullstrip.skullstrip(image_of(coarse, 900, 600, 200), mode="force").region is None


def test_a_mask_made_elsewhere_has_the_same_fluid_around_it(monkeypatch):
    coarse = coarse_of()
    image = image_of(coarse, 900, 600, 200)
    image = image.with_data(image.data + 500 * ((coarse.distance.data < -12) & (coarse.distance.data > -22)))
    inside = (coarse.distance.data > 0).to(torch.uint8)
    given = image.with_data(inside.roll(1, 0))
    wide = coarse.distance.with_data(coarse.distance.data + SPACING)
    monkeypatch.setattr(signed_distance.head, "find", lambda *_, **__: coarse)
    monkeypatch.setattr(signed_distance.upright, "check", lambda *_, **__: None)
    monkeypatch.setattr(signed_distance, "_t1w", lambda *_: [coarse.distance, wide])
    found = skullstrip.around(image, given)
    assert ((found.data > 0) == ((wide.data > 0) | (given.data > 0))).all()
    assert skullstrip.around(image_of(coarse, 900, 600, 200), given) is None, "no skull"
    assert skullstrip.around(image, given, "fetal") is None

    def no_brain(*_, **__):
        raise InputError(None, "no brain found in the image", "Check the image")

    notes: list[str] = []
    monkeypatch.setattr(signed_distance.head, "find", no_brain)
    assert skullstrip.around(image, given, notes=notes) is None
    assert len(notes) == 1 and "no fluid" in notes[0] and "no brain found" in notes[0]


def test_a_mask_elsewhere_is_not_taken():
    coarse = coarse_of()
    grid = Grid(coarse.distance.grid.shape, coarse.distance.affine)
    moved = Volume((coarse.distance.data.roll(8, 0) > 0).float(), grid.affine)
    assert not t1w_mask.agrees(moved, coarse)
    assert t1w_mask.agrees(Volume((coarse.distance.data > 0).float(), grid.affine), coarse)


def ball(radius, center=(0.0, 0.0, 0.0), size=72):
    """Distance (mm) inside of a ball, on a grid of 2 mm."""
    axes = np.meshgrid(*[2.0 * (np.arange(size) - (size - 1) / 2)] * 3, indexing="ij")
    return radius - np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, center, strict=True)))


@pytest.fixture
def head():
    """A brain with a bias field in 3 mm of fluid, marrow behind it, and a mask that takes both in."""
    depth = ball(60)
    field = 1 + 0.3 * np.linspace(-1, 1, 72)[:, None, None]
    image = np.where(depth > 0, 100.0, np.where(depth > -3, 35.0, 95.0)) * field
    return depth, image, ball(64) > 0


def test_fluid_and_marrow_are_removed_and_no_tissue_is_lost(head):
    depth, image, mask = head
    kept = t1w_mask.continuous(mask, image, depth > 3, depth - 5, 2.0)
    assert not kept[depth < -2.5].any()
    assert kept[depth > 0].all()


def test_the_pole_of_a_lobe_that_our_own_mask_lost_comes_back(head):
    depth, image, mask = head
    pole = ball(10, (60, 0, 0)) > 0  # no fluid between
    own = (depth > 3) & (ball(12, (68, 0, 0)) <= 0)
    bright = np.where(pole, 100.0, image)
    coarse = np.maximum(depth - 1, ball(9, (60, 0, 0)))
    kept = t1w_mask.continuous(mask | pole, bright, own, np.minimum(coarse, 5), 2.0)
    assert kept[pole & (ball(66) > 0)].mean() > 0.98
    # The same far from the coarse brain, or as bright as fat, is not brain.
    far = t1w_mask.continuous(mask | pole, bright, depth > 3, depth - 1, 2.0)
    assert far[pole & (depth < -6)].mean() < 0.5
    fat = t1w_mask.continuous(
        mask | pole, np.where(pole & (depth < 0), 190.0, image), depth > 3, depth - 1, 2.0
    )
    assert fat[pole & (depth < -3)].mean() < 0.1


def test_bridges_to_other_tissue_are_cut(head):
    depth, image, mask = head
    x, y, z = np.indices(depth.shape)
    image = np.where((abs(y - 35) < 1) & (abs(z - 35) < 1) & (x > 35), 100.0, image)
    mask = mask | (ball(65) > 0)
    kept = t1w_mask.continuous(mask, image, depth > 3, depth, 2.0)
    assert kept[depth < -3.5].sum() == 0


@pytest.mark.parametrize("ratio", [0.45, 0.55, 0.7])
def test_cortex_far_darker_than_white_matter_is_kept(ratio):
    coarse = coarse_of()
    image = image_of(coarse, 900, 900 * ratio, 100)
    least = t1w_mask.darkest(image, coarse, TABLE)
    assert least < ratio and least <= t1w_mask.DARKER
    depth = ball(60)
    tissue = np.where(
        depth > 3.5, 100.0, np.where(depth > 0, 100.0 * ratio, np.where(depth > -4, 15.0, 95.0))
    )
    kept = t1w_mask.continuous(ball(64) > 0, tissue, depth > 3, depth - 5, 2.0, least)
    assert kept[depth > 0].mean() > 0.999 and not kept[depth < -2.5].any()


def test_a_mask_that_does_not_fit_our_own_stays_as_it_is(head):
    depth, image, mask = head
    assert t1w_mask.continuous(mask, image, depth > 20, depth - 25, 2.0) is None


def test_a_user_is_told_that_the_mask_was_not_trimmed():
    coarse = coarse_of()
    grid, notes = coarse.distance.grid, []
    mask = coarse.distance.data.numpy() > 0
    image = image_of(coarse, 900, 600, 200)
    poor = coarse.distance.with_data(coarse.distance.data - 30)
    coarse = replace(coarse, distance=poor)
    assert signed_distance._trimmed(mask, image, grid, coarse, TABLE, poor, notes) is None
    assert "check it" in notes[0]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_a_surface_is_the_same_mask_on_a_grid_in_any_order_of_the_axes(order, signs, shift):
    mask = ball(20, size=30) > 0
    grid = Grid((30, 30, 30), np.diag([2.0, 2.0, 2.0, 1.0]))
    affine = np.eye(4)
    affine[:3, :3] = (grid.affine[:3, :3] * signs)[:, order]
    affine[:3, 3] = [0 if s > 0 else 58 for s in signs]
    affine[:3, 3] += shift
    onto = Grid((30, 30, 30), affine)
    found = resample(signed_distance._surface(mask, grid, onto), onto, outside=-1.0).data.numpy() > 0
    back = np.flip(mask, [a for a in range(3) if signs[a] < 0]).transpose(order)
    assert (found == back).mean() > (0.98 if shift else 0.99999)


@pytest.mark.parametrize(
    ("levels", "dark"), [((500, 600, 150), True), ((600, 700, 800), False), ((500, 500, 480), False)]
)
def test_dark_fluid_is_recognized(levels, dark):
    coarse = coarse_of(fluid=30)
    assert t1w_mask.has_dark_fluid(image_of(coarse, *levels), coarse, TABLE) == dark


def test_our_own_mask_is_extended_to_cortex_beside_dark_fluid():
    """As in FLAIR: the network ends in the cortex, bone is as dark as fluid."""
    coarse = coarse_of()
    image, record = image_of(coarse, 500, 600, 100), populations.load("adult")
    own = coarse.distance.with_data(coarse.distance.data - 3)
    found = signed_distance._widened(image, coarse, own, record)
    mask = resample(found, image.grid, outside=-1.0).data > 0
    truth = coarse.distance.data > 0
    assert float(mask[truth].float().mean()) > 0.97 > float((own.data > 0)[truth].float().mean())
    assert float(mask[coarse.distance.data < -SPACING].float().mean()) < 1e-3
    bright = image_of(coarse, 600, 700, 800)
    assert signed_distance._widened(bright, coarse, own, record) is own
