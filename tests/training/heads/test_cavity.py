"""The cranial cavity of label maps, and training examples of it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from brainseg.models.errors import InputError
from brainseg.training.data import cavity
from brainseg.training.data.arrays import DISTANCE_UNIT
from brainseg.training.data.sources import source_table
from brainseg.training.heads.cavity_examples import Cavity
from brainseg.training.heads.examples import WholeHead
from brainseg.training.synthesis import atrophy
from brainseg.training.synthesis.atrophy import Atrophy
from brainseg.training.synthesis.config import GeneratorConfig
from brainseg.training.synthesis.contrast import DARKEST, LEVELS, draw_contrast
from brainseg.training.synthesis.generator import HeadGenerator

TOY_MM3 = 4 / 3 * math.pi * 27 * 31 * 26 * 1.12**3
"""Volume inside the skull of a toy head (mm3)."""

SOURCE = source_table()
SHAPE, SPACING = (48, 48, 48), 1.5


def _positions(values):
    position = np.zeros(SOURCE.values.max() + 1, np.uint8)
    position[SOURCE.values] = np.arange(len(SOURCE.values))
    return position[values]


def _ball(radius, center=(0, 0, 0), n=121):
    x, y, z = np.ogrid[:n, :n, :n]
    away = [(v - n // 2 - c) ** 2 for v, c in zip((x, y, z), center, strict=True)]
    return sum(away) <= radius**2


def _found(values, up=0.0):
    """The cavity of labels around the origin of the atlas frame, ``up`` mm above it."""
    to_atlas = np.eye(4)
    to_atlas[:3, 3] = [-60, -60, -60 + up]
    return cavity.cavity(_positions(values), SOURCE, to_atlas)


@pytest.fixture(scope="module")
def head():
    values = np.zeros((121, 121, 121), np.int16)
    values[_ball(50)] = 515
    values[_ball(44)] = 24
    values[_ball(38)] = 3
    return values


def test_cavity_is_brain_and_fluid(head):
    found = _found(head)
    assert found.sum() == pytest.approx(_ball(44).sum(), rel=0.005)


def test_the_cord_ends_at_the_foramen(head):
    x, y = np.ogrid[:121, :121]
    canal = np.broadcast_to(((x - 60) ** 2 + (y - 60) ** 2 <= 64)[..., None], head.shape) & ~_ball(40)
    canal[:, :, 60:] = False
    values = head.copy()
    values[canal] = 512
    (front, top), (back, bottom) = cavity.FORAMEN
    slope = (top - bottom) / (front - back)
    found = _found(values, up=4.0)
    height = np.argwhere(found & canal)[:, 2] - 56
    behind = np.argwhere(found & canal)[:, 1] - 60
    plane = top + slope * behind
    assert (height > plane - 1).all() and (height - plane).min() < 1.5
    assert found.sum() > _ball(44).sum()


def test_veins_belong_to_the_cavity_only_beside_it(head):
    values = head.copy()
    sinus, vein = _ball(4, (46, 0, 0)), _ball(4, (0, 58, 0)) & (head == 0)
    values[sinus & (head == 515)] = 514
    values[vein] = 514
    found = _found(values)
    assert found[sinus].mean() > 0.9 and not found[vein].any()


def test_specks_of_bone_are_inside_and_fluid_in_the_orbit_is_not(head):
    values = head.copy()
    values[_ball(1, (41, 0, 0))] = 515
    orbit = _ball(5, (0, 55, 0)) & (head == 0)
    values[orbit] = 24
    found = _found(values)
    assert found[_ball(1, (41, 0, 0))].all() and not found[orbit].any()


def test_a_table_without_the_column_has_no_cavity(toy, tmp_path):
    from importlib.resources import files

    from brainseg.training.data import prepare

    rows = (files("brainseg.training") / "sources" / "headmaps.tsv").read_text().splitlines()
    before = rows[0].split("\t").index("cavity")
    table = tmp_path / "plain.tsv"
    table.write_text("\n".join("\t".join(row.split("\t")[:before]) for row in rows) + "\n")
    prepare.prepare(toy.write(tmp_path, 2), tmp_path / "heads.npz", str(table))
    generator = HeadGenerator(tmp_path / "heads.npz", GeneratorConfig(atrophy=1.0))
    assert generator.cavities == [None, None] and generator.draw(0).atrophy is None
    with pytest.raises(InputError, match=r"no cranial cavity.*train prepare"):
        Cavity(WholeHead(generator), None, (32, 32, 32), 3.0)


def test_prepared_distance_has_the_volume_of_the_cavity(toy_arrays):
    with np.load(toy_arrays) as found:
        assert json.loads(str(found["meta"]))["count"] == 2
        distance = found["cavity0"].astype(float) * DISTANCE_UNIT
    share = np.clip(distance / 2 + 0.5, 0, 1).sum() * 8
    assert share == pytest.approx(TOY_MM3, rel=0.01)


@pytest.fixture
def still(toy_arrays):
    names = ("rotation", "scaling", "shearing", "deformation", "detail", "mirror", "lesions", "deface")
    return HeadGenerator(
        toy_arrays, GeneratorConfig(**dict.fromkeys(names, 0.0), strip=0.0, crop=0.0, contrasts={"T1w": 1.0})
    )


def _tissue(generator, rendered):
    return float(generator.tissue[rendered.labels.int()].sum())


@pytest.mark.parametrize("scale", [0.9, 0.8])
def test_atrophy_shrinks_the_brain_and_not_its_skull(still, scale):
    torch.manual_seed(0)
    draw = still.draw(0)
    before = still.render(draw, (0, 0, 0), SHAPE, SPACING)
    after = still.render(replace(draw, atrophy=Atrophy(scale, False)), (0, 0, 0), SHAPE, SPACING)
    assert torch.equal(before.cavity, after.cavity)
    assert _tissue(still, after) / _tissue(still, before) == pytest.approx(scale**3, rel=0.05)
    outside = before.cavity < -1
    assert torch.equal(before.labels[outside], after.labels[outside])
    fluid = SOURCE.values[after.labels.numpy()] == 24
    gap = (before.distance > 1) & (after.distance < -1) & (before.cavity > 1)
    assert gap.any() and fluid[gap.numpy()].all()
    # the distance to the brain is that of the smaller brain
    assert float((after.distance > 0).sum()) < float((before.distance > 0).sum()) * (scale + 0.05)


def test_thinning_removes_a_shell_of_tissue(still):
    labels = still.maps[0]
    thin = atrophy.thinned(labels, still.tissue, still.fluid)
    changed = thin != labels
    assert still.tissue[labels[changed].int()].all() and (thin[changed] == still.fluid).all()
    lost = float(changed.sum()) / float(still.tissue[labels.int()].sum())
    assert lost == pytest.approx(1 - (26 * 30 * 25) / (27 * 31 * 26), abs=0.04)


def test_without_the_options_no_random_number_is_drawn():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert atrophy.draw_atrophy(GeneratorConfig()) is None
    assert torch.equal(before, torch.get_rng_state())


def test_bone_is_dark_in_every_contrast():
    torch.manual_seed(0)
    bone = int(np.flatnonzero(SOURCE.values == 515)[0])
    for kind in ("T1w", "T2w", "random"):
        config = GeneratorConfig(contrasts={kind: 1.0}, dark_bone=1.0, split=1.0)
        contrast = draw_contrast(SOURCE, config, torch.device("cpu"), seeded=False)
        assert contrast.means.view(-1, LEVELS)[bone].max() <= DARKEST


def test_tissue_outside_the_brain_looks_as_in_scanners_only_on_request():
    vein, white = (int(np.flatnonzero(SOURCE.values == k)[0]) for k in (514, 2))

    def drawn(known_outside, seed):
        torch.manual_seed(seed)
        config = GeneratorConfig(contrasts={"T2w": 1.0}, known_outside=known_outside, wide=0.0, invert=0.0)
        means = draw_contrast(SOURCE, config, torch.device("cpu"), seeded=False).means.view(-1, LEVELS)
        return float(means[vein].mean()), float(means[white].mean())

    known, anything = (np.array([drawn(share, seed) for seed in range(20)]) for share in (1.0, 0.0))
    assert known[:, 0].max() < 90 and anything[:, 0].max() > 120  # a flow void
    assert (known[:, 1] == anything[:, 1]).all()  # the option changes no other draw
    some = np.array([drawn(0.5, seed)[0] for seed in range(40)])
    assert 0.5 < (some < 90).mean() < 1


class _Nothing(torch.nn.Module):
    """A coarse network that finds no brain."""

    def forward(self, x, prior=None):
        return {"mask": (torch.full((1, 2, *x.shape[2:]), -5.0), None)}


def test_examples_are_those_of_the_brain_mask_with_the_cavity_as_target(still):
    torch.manual_seed(0)
    whole = WholeHead(still, (32, 32, 32), 5.0, 1)
    box = (whole, _Nothing(), (96, 96, 96), SPACING)
    examples = Cavity(*box, spread=2.0, context="distance", repeat=2).examples(0)
    assert len(examples) == 2
    for example in examples:
        assert example.x.shape == (1, 4, 96, 96, 96) and example.prior.shape == (1, 1, 48, 48, 48)
        assert set(example.targets) == {"distance"}
        distance = example.targets["distance"]
        inside = float((distance > 0).sum()) * SPACING**3
        assert inside == pytest.approx(TOY_MM3, rel=0.02)
        image = example.x[0, 0]
        assert float(image[distance[0] > 6].mean()) > float(image[distance[0] < -12].mean())
