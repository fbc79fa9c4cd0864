"""Registration networks that train on real scans without labels."""

import json

import numpy as np
import pytest
import torch

from brainseg.models.errors import InputError, UsageError
from brainseg.models.registration import features
from brainseg.training.kinds import registry
from brainseg.training.kinds.assemble import Data, assemble
from brainseg.training.registration import unlabeled
from brainseg.training.registration.pairs import BrainPairs
from brainseg.training.registration.unlabeled import ScanPairs
from brainseg.training.synthesis.config import GeneratorConfig
from brainseg.training.synthesis.generator import HeadGenerator
from helpers import template_scans

SHAPE = (16, 20, 16)
SMOOTHNESS = {"ncc": 1.0, "bending": 1.0, "jacobian": 1.0}


@pytest.fixture
def scans(tmp_path):
    """Two brains: white matter left and right, a ball of hippocampus on the left, bright at its place."""
    arrays = {}
    for k in range(2):
        ids = np.full([2 * n for n in SHAPE], 41, np.int16)
        ids[: SHAPE[0]] = 2
        ids[8:12, 18 + 2 * k : 24 + 2 * k, 12:18] = 17
        image = np.zeros((2, *SHAPE), np.float16)
        image[:, 4:6, 9 + k : 12 + k, 6:9] = 1.0
        image += 0.1 * np.random.default_rng(k).random(image.shape).astype(np.float16)
        arrays |= {f"ids{k}": ids, f"image{k}": image}
    path = tmp_path / "scans.npz"
    meta = {"names": ["a", "b"], "shape": list(SHAPE), "spacing": 8.0}
    np.savez(path, meta=np.array(json.dumps(meta)), **arrays)
    return path


@pytest.fixture
def synthetic(toy_arrays):
    return BrainPairs(HeadGenerator(toy_arrays, GeneratorConfig()), SHAPE, 8.0, heads=2)


def test_a_real_pair_has_the_channels_of_a_synthetic_one(scans, synthetic):
    torch.manual_seed(0)
    (made,), (real,) = synthetic.examples(), ScanPairs(synthetic, scans, 1.0).examples()
    assert real.x.shape == made.x.shape and bool(real.x.isfinite().all())
    assert {k: v.shape for k, v in real.targets.items()} == {k: v.shape for k, v in made.targets.items()}
    groups = len(features.GROUPS)
    torch.testing.assert_close(real.targets["images"][0], real.x[0, [groups, 2 * groups + 2]])
    assert ScanPairs(synthetic, scans, 1.0).examples(0)[0].x.shape == made.x.shape, "scores are synthetic"


def test_sides_change_places_in_the_mirror(scans, synthetic):
    source = ScanPairs(synthetic, scans, 1.0)
    left, right = (synthetic.classes.index((17, side)) for side in (1, 0))
    for mirrored, there, none in ((False, left, right), (True, right, left)):
        channels, truth = source._brain(*source.scans[0], mirrored)
        assert truth[there].sum() > 10 and truth[none].sum() == 0
        bright = channels[len(features.GROUPS)] > 0.5
        assert float(truth[there][bright].mean()) > 0.9, "the image is mirrored with the labels"


def test_scans_of_another_grid_are_refused(scans, toy_arrays):
    other = BrainPairs(HeadGenerator(toy_arrays, GeneratorConfig()), SHAPE, 4.0)
    with pytest.raises(InputError, match="another grid than the recipe's"):
        ScanPairs(other, scans, 1.0)
    with pytest.raises(UsageError, match="1 scans make no pair"):
        unlabeled.prepare([scans], scans, SHAPE, 8.0)


def test_the_recipe_takes_them(scans, toy_arrays, tmp_path):
    stages = [{"until": 1.0, "shape": list(SHAPE), "spacing": 8.0}]
    changes = {"real": 1.0, "losses": SMOOTHNESS, "stages": stages, "loggers": []}
    recipe = registry.read("registration", changes | {"architecture.channels": [4, 6]})
    run = assemble(recipe, Data(arrays=toy_arrays, unlabeled=scans), tmp_path / "run")
    example = run.source().examples()[0]
    found = run.losses(run.forward(example), example.targets)
    assert set(found) == set(SMOOTHNESS) and all(bool(value.isfinite()) for value in found.values())
    before = float(found["ncc"])
    optimizer = torch.optim.Adam(run.network.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        losses = run.losses(run.forward(example), example.targets)
        sum(losses.values()).backward()
        optimizer.step()
    assert float(losses["ncc"]) < before - 0.02, "intensities alone move one brain to the other"
    for data, words in (
        (Data(arrays=toy_arrays), "need a share and a file"),
        (Data(arrays=toy_arrays, unlabeled=scans, labeled=scans), "Omit --labeled"),
    ):
        with pytest.raises(UsageError, match=words):
            assemble(recipe, data, tmp_path / "x")
    with pytest.raises(UsageError, match="Omit --unlabeled"):
        assemble(registry.read("segmentation"), Data(arrays=toy_arrays, unlabeled=scans), tmp_path / "x")


def test_scans_are_brought_to_one_frame(tmp_path, monkeypatch):
    shift = np.eye(4)
    shift[:3, 3] = [12.0, -30.0, 7.0]

    def processed(path, *_):
        """The template, the second time in another place."""
        return template_scans.processed(shift if path.name == "b" else np.eye(4))

    monkeypatch.setattr(unlabeled.process, "process", lambda path, *_: processed(path))
    monkeypatch.setattr(unlabeled.conform, "read", lambda path: path)
    out = tmp_path / "scans.npz"
    unlabeled.prepare([tmp_path / "a", tmp_path / "b"], out, (40, 48, 40), 4.0)
    with np.load(out) as arrays:
        one, other = arrays["ids0"], arrays["ids1"]
        assert one.shape == (80, 96, 80) and arrays["image0"].shape == (2, 40, 48, 40)
        both = ((one == 17) & (other == 17)).sum() / (one == 17).sum()
        assert both > 0.9
        images = arrays["image0"][0].astype(float), arrays["image1"][0].astype(float)
        assert np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1] > 0.98
