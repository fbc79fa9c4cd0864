"""Real scans with given labels that train beside the synthetic ones."""

import json

import numpy as np
import pytest
import torch

from brainseg.models.errors import InputError
from brainseg.models.population import labels
from brainseg.training.core.example import Example
from brainseg.training.heads.examples import Cascade, WholeHead
from brainseg.training.heads.labeled_scans import Mixed
from brainseg.training.losses.segmentation import hierarchical_loss
from brainseg.training.synthesis.config import GeneratorConfig
from brainseg.training.synthesis.generator import HeadGenerator

SHAPE = (24, 24, 24)


def _scans(path, spacing=2.0, unknown=False):
    """Two scans whose intensities are their labels."""
    arrays = {}
    for k, size in enumerate([(30, 22, 26), (20, 40, 24)]):
        truth = torch.randint(1, 19, (1, *size), dtype=torch.uint8)
        if unknown:
            truth[0, 0, 0, 0] = 255
        image = truth.float()[:, None] / 20
        x = torch.cat([image, torch.linspace(-1, 1, size[0]).view(1, 1, -1, 1, 1).expand(1, 3, *size)], 1)
        prior = torch.zeros(1, 19, *(n // 2 for n in size))
        prior[:, 3] = 1
        arrays |= {f"x{k}": x.half().numpy(), f"prior{k}": prior.half().numpy(), f"truth{k}": truth.numpy()}
    meta = json.dumps({"names": ["a", "b"], "spacing": spacing})
    np.savez(path, meta=np.array(meta), **arrays)
    return path


@pytest.fixture
def synthetic(toy_arrays):
    generator = HeadGenerator(toy_arrays, GeneratorConfig())

    class Quick(Cascade):
        def examples(self, number=None):
            return [Example(torch.zeros(1, 4, *SHAPE), None, {})] * self.repeat

    return Quick(WholeHead(generator), None, SHAPE, 2.0, repeat=2)


def test_a_share_of_the_examples_is_real(tmp_path, synthetic):
    torch.manual_seed(0)
    source = Mixed(synthetic, _scans(tmp_path / "scans.npz"), 0.4)
    drawn = [source.examples() for _ in range(60)]
    assert all(len(examples) == source.repeat == 2 for examples in drawn)
    real = [examples for examples in drawn if examples[0].prior is not None]
    assert 14 <= len(real) <= 34
    assert all(e.prior is None for e in source.examples(0))


def test_labels_stay_with_their_voxels(tmp_path, synthetic):
    torch.manual_seed(0)
    source = Mixed(synthetic, _scans(tmp_path / "scans.npz"), 1.0)
    tissue_of = labels.load("adult").tissue_of
    for example in source.examples() + source.examples() + source.examples():
        image, truth = example.x[0, 0], example.targets["structure"][0]
        assert image.shape == truth.shape == SHAPE and example.prior.shape[2:] == (12, 12, 12)
        assert not bool(((image > 0) & (truth == 0)).any())
        values = [float(image[truth == k].mean()) for k in range(2, 19) if (truth == k).sum() > 30]
        assert np.corrcoef(values, range(len(values)))[0, 1] > 0.95
        assert torch.equal(example.targets["tissue"][0], torch.from_numpy(tissue_of).long()[truth])
        assert torch.allclose(example.prior.sum(1), torch.ones(1, 12, 12, 12))
        filled = truth.flatten(1).any(1)
        x = example.x[0, 1].amax((1, 2)) + example.x[0, 1].amin((1, 2))
        assert (x[filled].diff() > 0).all(), "the coordinate still grows to the right"


def test_the_coarse_truth_is_that_of_the_scan_where_it_is_known(tmp_path, synthetic):
    """Pseudo-labels are wrong here and there: the loss on tissues must not repeat their errors."""
    path = _scans(tmp_path / "scans.npz")
    with np.load(path) as arrays:
        every = dict(arrays)
    every["tissue0"] = (every["truth0"] % 5 + 1).astype(np.uint8)
    np.savez(path, **every)
    source = Mixed(synthetic, path, 1.0)
    torch.manual_seed(0)
    tissue_of = torch.from_numpy(labels.load("adult").tissue_of).long()
    for _ in range(3):
        own = source._example(*source.cases[0], source.tissues[0]).targets
        there = own["structure"] > 0
        assert torch.equal(own["tissue"][there], own["structure"][there] % 5 + 1), "moved and mirrored alike"
        lent = source._example(*source.cases[1], source.tissues[1]).targets
        assert torch.equal(lent["tissue"], tissue_of[lent["structure"]])
    wrong = own["structure"].clone()
    logits = torch.nn.functional.one_hot(wrong, 19).movedim(-1, 1).float() * 20
    loss = lambda tissue: float(hierarchical_loss(logits, tissue, tissue_of))  # noqa: E731
    assert loss(tissue_of[wrong]) < 0.01 < loss(own["tissue"]), (
        "what labels say of themselves teaches nothing"
    )


def test_unfit_scans_are_refused(tmp_path, synthetic):
    with pytest.raises(InputError, match=r"1\.5 mm, that of the recipe 2\.0 mm"):
        Mixed(synthetic, _scans(tmp_path / "a.npz", spacing=1.5), 0.5)
    with pytest.raises(InputError, match="no label"):
        Mixed(synthetic, _scans(tmp_path / "b.npz", unknown=True), 0.5)
