"""Brains before birth: any position, growth, the template by age, the generator and its trainer."""

import doctest
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Volume, resample, transform_points
from brainseg.models.localization import pose, rotation_search
from brainseg.models.networks import zoo
from brainseg.models.population import growth, labels, populations
from brainseg.models.segmentation import atlas_frame, segmentation
from brainseg.models.templates import age_template, catalog
from brainseg.training.core.lightning import train
from brainseg.training.fetal import examples, interpolation
from brainseg.training.fetal import generator as fetal
from brainseg.training.fetal import growth_curves as fitting
from brainseg.training.fetal import template as fetal_template
from brainseg.training.fetal.prepare import prepare, to_atlas
from brainseg.training.fetal.source_labels import read_table
from brainseg.training.fetal.trainer import FetalTrainer
from brainseg.training.kinds import registry
from brainseg.training.synthesis.rotation import any_rotation
from helpers import ROOT

RECIPE = """
name: toy-fetal
kind: any-position
table: fetal
architecture:
  inputs: 4
  channels: [6, 8]
  tasks:
    structure: {outputs: 8, refine: 0}
    mask: {outputs: 1, refine: 0, width: 0.5}
losses: {structure: 1.0, distance: 0.5, border: 0.5}
stages:
  - {until: 1.0, shape: [16, 16, 16], spacing: 6.0}
minutes: 0.005
data: toy brains
license: CC0-1.0
"""


def _labels(length: float) -> tuple[np.ndarray, np.ndarray]:
    """A toy brain in the labels of the fetal sources: fluid around cortex around white matter, a cerebellum
    behind and below, ventricles, deep gray matter, a brainstem."""
    shape, size = (40, 48, 40), length / 38
    axes = [(np.arange(n) - (n - 1) / 2) * size for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    out = np.zeros(shape, np.uint8)
    r = np.sqrt((x / 0.8) ** 2 + y**2 + (z / 0.8) ** 2) / (length / 2)
    for limit, value in ((1.0, 4), (0.88, 5), (0.76, 1)):
        out[r < limit] = value
    for side in (-1, 1):
        ball = np.sqrt((x - side * 0.12 * length) ** 2 + (y - 0.1 * length) ** 2 + z**2)
        out[ball < 0.1 * length] = 6
        out[np.sqrt((x - side * 0.1 * length) ** 2 + (y + 0.1 * length) ** 2 + z**2) < 0.07 * length] = 2
    out[np.sqrt(x**2 + (y + 0.25 * length) ** 2 + (z + 0.2 * length) ** 2) < 0.12 * length] = 3
    out[(np.hypot(x, y) < 0.06 * length) & (z < -0.05 * length) & (z > -0.3 * length)] = 7
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = [a[0] for a in axes]
    return out, affine


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Prepared arrays of three toy brains of 24, 28 and 32 weeks."""
    folder = tmp_path_factory.mktemp("fetal")
    rng = np.random.default_rng(0)
    for weeks in (24, 28, 32):
        brain, affine = _labels(3.0 * weeks)
        level = np.array([0, 165, 245, 150, 240, 125, 140, 135])[brain]
        image = (level + rng.normal(0, 4, brain.shape)) * (brain > 0)
        own = folder / f"sub-toy{weeks}"
        own.mkdir()
        nib.save(nib.Nifti1Image(image.astype(np.int16), affine), own / f"{own.name}_T2w.nii.gz")
        nib.save(nib.Nifti1Image(brain, affine), own / f"{own.name}_dseg.nii.gz")
    out = folder / "arrays.npz"
    prepare(sorted(folder.glob("sub-*")), out)
    return out


@pytest.fixture
def scan(monkeypatch):
    """A toy brain that lies in some way, and networks that know the truth about it."""
    brain, affine = _labels(80.0)
    torch.manual_seed(4)
    turn = np.eye(4)
    turn[:3, :3], turn[:3, 3] = any_rotation().numpy(), [12.0, -7.0, 20.0]
    placed = Volume(torch.from_numpy(brain.astype(np.float32) * 30), turn @ affine)
    true = to_atlas(brain > 0, affine) @ np.linalg.inv(turn)
    position = {int(s): k for k, s in enumerate(labels.load("fetal").unsided)}
    classes = torch.tensor([position[int(s)] for s in read_table()["structure"]])[brain.astype(int)]
    onehot = torch.nn.functional.one_hot(classes, 8).movedim(-1, 0).float()
    coarse = SimpleNamespace(
        card={"shape": [48] * 3, "spacing": 3.0, "kind": "any-position"}, network="coarse"
    )
    fine = SimpleNamespace(
        card={"shape": [80, 96, 80], "spacing": 1.1, "label_table": "fetal", "kind": "upright"},
        network="fine",
    )
    seen = []

    def look(network, image, coordinates, device="cpu", notes=None):
        grid = seen[-1]
        source = Volume(onehot, (np.eye(4) if network == "coarse" else true) @ placed.affine)
        tissue = resample(source, grid).data
        tissue[0] += 1 - tissue.sum(0)
        if network == "fine":
            return {"structure": (tissue + 1e-4).log()}
        return {"mask": ((1 - tissue[:1]) * 2 - 1), "structure": tissue}

    def gridded(volume, grid, *rest, **more):
        seen.append(grid)
        return resample(volume, grid, *rest, **more)

    for module in (pose, atlas_frame):
        monkeypatch.setattr(module, "run", look)
        monkeypatch.setattr(module, "resample", gridded)
    monkeypatch.setattr(zoo, "load_once", lambda name, device="cpu": coarse if name == "coarse" else fine)
    monkeypatch.setattr(zoo, "read_card", lambda name: (coarse if name == "coarse" else fine).card)
    return SimpleNamespace(volume=placed, true=true, brain=brain, spacing=float(affine[0, 0]))


def test_examples_in_the_docstrings():
    for module in (populations, growth, age_template, examples):
        assert doctest.testmod(module).failed == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_pose_of_a_brain_that_lies_in_any_way(seed, monkeypatch):
    """The template itself, turned and with another contrast, is found upright again."""
    template = age_template.load("BrainsegFetal")
    brain = template.at(28.0)
    torch.manual_seed(seed)
    turn = np.eye(4)
    turn[:3, :3], turn[:3, 3] = any_rotation().numpy(), [12.0, -7.0, 20.0]
    image = Volume((1.4 - brain.data[0]) * (brain.data[1] < 0.5), turn @ brain.affine)
    inside = Volume((1 - brain.data[1]) * 2 - 1, image.affine)
    card = {"shape": [48] * 3, "spacing": 3.0, "kind": "any-position"}
    monkeypatch.setattr(zoo, "load_once", lambda *a: SimpleNamespace(card=card, network=None))
    seen = []
    monkeypatch.setattr(pose, "resample", lambda v, grid: seen.append(grid) or resample(v, grid))
    monkeypatch.setattr(
        pose, "run", lambda *a, **k: {"mask": resample(inside, seen[-1], outside=-1.0).data[None]}
    )
    found = pose.find(image, model="coarse")
    between = found.to_atlas @ turn
    size = np.cbrt(np.linalg.det(between[:3, :3]))
    assert np.degrees(np.arccos(min((np.trace(between[:3, :3]) / size - 1) / 2, 1))) < 5
    assert size == pytest.approx(template.scale(28.0), rel=0.04)
    assert np.abs(between[:3, 3]).max() < 2.5


@pytest.mark.slow
def test_results_come_back_in_the_scans_own_millimeters(scan, monkeypatch):
    monkeypatch.setattr(rotation_search, "search", lambda *a: (scan.true, 0.9))
    mask = scan.volume.with_data(torch.from_numpy((scan.brain > 0).astype(np.uint8)))
    record = replace(populations.load("fetal"), segmentation="fine", coarse="coarse")
    result = segmentation.segment(scan.volume, mask, record, likelihood=False)
    assert np.allclose(result.structures.affine, scan.volume.affine)
    assert result.structures.data.shape == scan.volume.data.shape
    of_label = read_table()["structure"]
    for value in (1, 3, 5, 6):
        index = int(of_label[value])
        both = {index, labels.load("fetal")[index].partner}
        truth = float((scan.brain == value).sum()) * scan.spacing**3
        assert sum(result.volumes[i] for i in both) == pytest.approx(truth, rel=0.08)
        own = np.isin(result.structures.data.numpy(), list(both))
        assert 2 * (own & (scan.brain == value)).sum() / (own.sum() + (scan.brain == value).sum()) > 0.85
    # Left is left: in the atlas frame its x is negative.
    left, right = (transform_points(scan.true, np.array(result.centroids[i]))[0] for i in (9, 48))
    assert left < -5 < 5 < right


def test_what_is_no_brain_is_refused(scan, monkeypatch):
    nothing = {"mask": torch.full((1, 48, 48, 48), -1.0), "structure": torch.zeros(8, 48, 48, 48)}
    monkeypatch.setattr(pose, "run", lambda *a, **k: nothing)
    with pytest.raises(InputError, match="no brain"):
        pose.find(scan.volume, model="coarse")


def test_the_generator_knows_where_everything_lies(arrays):
    """Wherever the brain lies, in the atlas frame its cerebellum is behind and below."""
    torch.manual_seed(0)
    config = fetal.FetalConfig(deformation=0.0, any_position=1.0, anisotropy=0.0)
    generator = fetal.FetalGenerator(arrays, config, 2)
    cerebellum = labels.load("fetal").unsided.index(6)
    for number in range(3):
        turn = any_rotation()
        _, structure, _, atlas = generator.render(number, turn, torch.zeros(3), 3.0, (40, 40, 40), False)
        across, front, top = (float(v) for v in atlas[:, structure == cerebellum].mean(1))
        assert front == pytest.approx(-0.25 * age_template.LENGTH, abs=4)
        assert top == pytest.approx(-0.2 * age_template.LENGTH, abs=4)
        assert across == pytest.approx(0, abs=3)
        example = examples.AnyPosition(generator, (40, 40, 40), 3.0).example(number)
        assert float(example.x[0, 0].min()) >= 0 and float(example.x[0, 0].max()) <= 1
        inside = example.targets["distance"][0] > 0
        assert float((inside == (example.targets["structure"][0] > 0)).float().mean()) > 0.8


def test_upright_brains_of_every_age_fill_the_same_box(arrays):
    torch.manual_seed(1)
    config = fetal.FetalConfig(
        real=1.0, rotation=0.0, scaling=0.0, anisotropy=0.0, shift=0.0, deformation=0.0
    )
    samples = examples.Upright(fetal.FetalGenerator(arrays, config), (48, 48, 48), 2.2)
    sizes = [int((samples.example(k).targets["structure"] > 0).sum()) for k in range(3)]
    assert max(sizes) < 1.05 * min(sizes)


def test_synthetic_images_have_subclasses_of_their_own(arrays):
    torch.manual_seed(2)
    generator = fetal.FetalGenerator(arrays, fetal.FetalConfig(random=1.0))
    case = generator.cases[0]
    images = [generator.source(case, real=False) for _ in range(3)]
    means = torch.tensor([[float(i[case.labels == k].mean()) for k in (1, 4, 5)] for i in images])
    assert float(means.std(0).min()) > 5
    assert torch.equal(generator.source(case, real=True), case.image.float())


@pytest.mark.slow
def test_the_trainer_exports_what_the_chain_reads(arrays, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    out = tmp_path / "out"
    train(FetalTrainer(registry.read(path), arrays, out, arrays))
    card = json.loads((out / "toy-fetal.json").read_text())
    assert card["kind"] == "any-position" and card["label_table"] == "fetal" and card["license"] == "CC0-1.0"
    again = FetalTrainer(registry.read(path), arrays, out)
    assert again.step >= 1 and again.seconds > 0.1


def test_growth_tells_the_age_from_volumes(arrays, tmp_path):
    content = fitting.fit(arrays, tmp_path / "curves.json")
    assert content["subjects"] == 3
    names, weeks, volumes = fitting.measure(arrays, "fetal")
    assert names[0] == "sub-toy24" and weeks.tolist() == [24, 28, 32]
    brain, affine = _labels(72.0)
    assert volumes[0][6] == pytest.approx((brain == 3).sum() * affine[0, 0] ** 3, rel=1e-6)


def test_a_template_is_learned(arrays, monkeypatch):
    monkeypatch.setattr(fetal_template, "NODES", (24.0, 28.0, 32.0))
    monkeypatch.setattr(fetal_template, "WIDTH", 2.0)
    found = fetal_template.learn(arrays, 0, lambda text: None, ("sub-toy",))
    lengths = [sum(c * w**k for k, c in enumerate(found.length)) for w in (24, 28, 32)]
    assert lengths == pytest.approx([72, 84, 96], rel=0.03)
    at = found.at(28)
    brain = at.data[1] < 0.5
    assert float(brain.sum()) * at.grid.voxel_volume == pytest.approx(math.pi / 6 * 84**3 * 0.64, rel=0.1)


def test_euler_number(monkeypatch):
    from importlib import import_module

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    euler = import_module("fetal").euler
    shell = np.ones((3, 3, 3), bool)
    shell[1, 1, 1] = False
    assert euler(shell) == 2
    two = np.zeros((5, 3, 3), bool)
    two[0], two[3:] = True, True
    assert euler(two) == 2
    assert euler(np.zeros((2, 2, 2), bool)) == 0


def test_shapes_between_two_subjects(arrays):
    """Half way to a neighbor the ventricles, say, have a size between both."""
    with np.load(arrays) as stored:
        meta = json.loads(str(stored["meta"]))
        assert meta["paths"] == [[0, 1], [1, 2]]
    config = fetal.FetalConfig(deformation=0.0, surroundings=0.0, between=1.0)
    generator = fetal.FetalGenerator(arrays, config)
    points = torch.tensor([[0.0, 10.0], [0.0, -20.0], [0.0, 5.0]])
    torch.manual_seed(0)
    assert torch.equal(generator.paths.along(0, points, 0.0), points)
    moved = generator.paths.along(0, points, 0.5)
    assert moved.shape == points.shape and float((moved - points).abs().max()) < 8
    assert {interpolation.family(n) for n in ("sub-sb25op", "sub-sb27op", "sub-sb25")} == {
        "sub-sbop",
        "sub-sb",
    }


def test_parts_are_added_to_their_whole():
    finer, coarser = labels.load("fetal-callosum"), labels.load("fetal")
    torch.manual_seed(0)
    posteriors = torch.rand(len(finer.unsided), 2, 2, 2).softmax(0)
    summed = atlas_frame.summed(posteriors, finer, coarser)
    assert torch.allclose(summed.sum(0), torch.ones(2, 2, 2))
    white, callosum = finer.unsided.index(2), finer.unsided.index(192)
    assert torch.allclose(summed[coarser.unsided.index(2)], posteriors[white] + posteriors[callosum])
    assert read_table()["structure"][8] == 2
    assert read_table("fetal-callosum")["structure"][8] == 192


@pytest.mark.slow
def test_what_is_weighted_in_training_is_not_seen_more_often(scan, monkeypatch):
    """Cross-entropy weights that stand on the card are taken out of the posteriors again."""
    placed = SimpleNamespace(to_atlas=scan.true, upright=lambda v: Volume(v.data, scan.true @ v.affine))
    plain = atlas_frame.posteriors(scan.volume, placed, "fine").data
    card = zoo.load_once("fine").card
    monkeypatch.setitem(card, "class_weights", {"0": 0.5})
    assert float((atlas_frame.posteriors(scan.volume, placed, "fine").data[0] - plain[0]).min()) >= 0


def test_what_moves_between_the_ages_of_a_template_stays_sharp():
    """The cerebellum, which lies elsewhere at 23 and 25 weeks, moves: it is not two half ones."""
    one = age_template.load("BrainsegFetal-sb")
    between = one.at(24.0)
    assert float((between.data[1:].sum(0) - 1).abs().max()) < 0.1
    mixed = age_template.AgeTemplate(one.maps, one.weeks, one.spacing, one.length).at(24.0)
    cerebellum = 1 + labels.load("fetal").unsided.index(6)
    sure = [float((v.data[cerebellum] > 0.8).sum()) for v in (between, mixed)]
    assert sure[0] > 1.3 * sure[1]


@pytest.mark.slow
def test_a_template_of_a_family_is_written_and_read(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(fetal_template, "FAMILIES", {"toy": ("sub-toy",)})
    monkeypatch.setattr(fetal_template, "CARDS", {"toy": {"about": "toys", "license": "CC0"}})
    monkeypatch.setattr(catalog, "folder", lambda: tmp_path)
    (written,) = fetal_template.write(arrays, tmp_path, "Toy", 0, lambda text: None)
    age_template.load.cache_clear()
    found = age_template.load("Toy-toy")
    age_template.load.cache_clear()
    assert written.is_file() and found.weeks == (24.0, 28.0, 32.0) and found.velocities.shape[0] == 2


def test_the_seeds_own_network():
    network = zoo.ARCHITECTURES["StridedUNet"](channels=(4, 8, 8), tasks={"structure": {"outputs": 3}})
    full, half = network(torch.rand(1, 4, 16, 24, 16))["structure"]
    assert full.shape == (1, 3, 16, 24, 16) and half.shape == (1, 3, 8, 12, 8) and network.stride == 4
    wanted = registry.read("fetal-seed.yaml")
    built = zoo.ARCHITECTURES[wanted.network](**wanted.architecture)
    assert 7e6 < sum(p.numel() for p in built.parameters()) < 9e6
    assert sum(type(m) is torch.nn.Dropout3d for m in built.modules()) == 8


@pytest.mark.slow
def test_both_recipes_train(arrays, tmp_path):
    """`brainseg train fetal.yaml` and the seed's network, with outputs that the start's network lacks."""
    changes = {"minutes": 0.001, "stages": [{"until": 1.0, "shape": [32, 32, 32], "spacing": 3.5}]}
    for name, small in (
        ("fetal-seed.yaml", {"architecture": {"channels": [4, 8], "tasks": {"structure": {"outputs": 9}}}}),
        ("fetal.yaml", {}),
    ):
        wanted = registry.read(name, changes | small)
        path = train(FetalTrainer(wanted, arrays, tmp_path / name))
        card = zoo.load(str(path)).card
        assert card["label_table"] == "fetal-callosum" and card["class_weights"]["192"] == 1.5
