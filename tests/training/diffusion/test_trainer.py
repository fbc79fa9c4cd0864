"""Latent diffusion: the schedule, preparation, both parts of the training, and images from a command."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.bidsapp.cli import main
from brainseg.bidsapp.tools.pseudolabels import sources
from brainseg.models.errors import InputError, UsageError
from brainseg.models.geometry.volume import Volume
from brainseg.models.networks import purpose, zoo
from brainseg.models.networks.generative.latent_diffusion import LatentDiffusion
from brainseg.training.core import lightning
from brainseg.training.diffusion import prepare
from brainseg.training.kinds import registry
from brainseg.training.kinds.assemble import Data, assemble

pytest.importorskip("monai")

SMALL = {"channels": [8, 8], "latent": 2, "diffusion": [8, 16], "groups": 4}
CHANGES = {
    "architecture": SMALL,
    "stages": [
        {"until": 0.5, "shape": [16, 16, 16], "spacing": 8.0, "part": "autoencoder"},
        {"until": 1.0, "shape": [16, 16, 16], "spacing": 8.0, "part": "diffusion"},
    ],
    "loggers": [],
    "rate": 3e-3,
}


def _ball(size=16, radius=6.0, seed=0):
    axes = np.indices((size,) * 3) - (size - 1) / 2
    inside = np.sqrt((axes**2).sum(0)) < radius
    return inside * (100 + np.random.default_rng(seed).normal(0, 5, inside.shape))


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Five participants whose brains are balls of 8 mm voxels."""
    for k in range(5):
        path = tmp_path / "bids" / f"sub-{k}" / "anat" / f"sub-{k}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(_ball(seed=k).astype(np.float32), np.diag([8.0, 8.0, 8.0, 1.0])), path)

    class Found:
        def __init__(self, volume):
            self.mask = volume.with_data((volume.data > 50).byte())

    monkeypatch.setattr(prepare.skullstrip, "skullstrip", Found)
    monkeypatch.setattr(prepare.bias, "correct", lambda volume, mask: (volume, None))
    return tmp_path / "bids"


def test_noise_that_is_known_is_taken_out():
    """With a U-Net that knows the one image there is, every draw ends in this image."""
    network = LatentDiffusion(**SMALL).eval()
    there = torch.randn(1, 2, 8, 8, 8)

    class Oracle(torch.nn.Module):
        def forward(self, z, timesteps):
            level = network.levels[timesteps].view(-1, 1, 1, 1, 1)
            return (z - level.sqrt() * there) / (1 - level).sqrt()

    network.unet = Oracle()
    network.autoencoder.decode = lambda z: z
    for steps in (5, 50):
        torch.testing.assert_close(network.sample((16, 16, 16), steps), there[0], atol=1e-3, rtol=1e-3)
    assert network.levels[0] > 0.99 and network.levels[-1] < 0.01 and bool((network.levels.diff() < 0).all())


def test_a_brain_is_put_into_the_middle_of_the_box(tmp_path):
    data = torch.zeros(40, 30, 20)
    data[4:14, 5:17, 6:14] = 200.0
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-90.0, 12.0, 5.0]
    image = Volume(data, affine)
    mask = image.with_data((data > 0).byte())
    box = prepare.boxed(image, mask, (16, 16, 16), 2.0, tmp_path)
    assert box.max() == pytest.approx(1.0) and int((box > 0).sum()) == 10 * 12 * 8
    where = box.nonzero().float()
    np.testing.assert_allclose((where.min(0).values + where.max(0).values) / 2, [7.5] * 3, atol=0.5)
    with pytest.raises(InputError, match="does not fit into the box"):
        prepare.boxed(image, mask, (8, 8, 8), 2.0, tmp_path)


def test_the_parts_train_one_after_the_other(images, tmp_path):
    recipe = registry.read("latent-diffusion", CHANGES)
    run = assemble(recipe, Data(maps=images), tmp_path / "run")
    assert len(run.source().images) == 4, "one of five participants is held out"
    example = run.source().examples()[0]
    assert set(run.losses(run.forward(example), example.targets)) == {"reconstruction", "kl"}
    run.seconds = 0.7 * recipe.minutes * 60
    example = run.source().examples()[0]
    assert not any(p.requires_grad for p in run.network.autoencoder.parameters())
    found = run.losses(run.forward(example), example.targets)
    assert set(found) == {"noise"} and 0.1 < float(found["noise"]) < 10
    run.step = 5000  # of the autoencoder
    first = {k: v.clone() for k, v in run.ema.items() if k.startswith("unet.")}
    for _ in range(3):
        run.optimizer.zero_grad()
        sum(run.losses(run.forward(example), example.targets).values()).backward()
        run.optimizer.step()
        run.average()
    now = {k: v for k, v in run.network.state_dict().items() if k in first}
    near = sum(float((run.ema[k] - now[k]).norm()) for k in first)
    far = sum(float((first[k] - now[k]).norm()) for k in first)
    assert near < 0.5 * far, "the average of the U-Net does not keep its random start"
    latent = torch.cat([run.network.encoded(run.source().examples(k)[0].x) for k in range(4)])
    assert float(latent.std()) == pytest.approx(1, abs=0.05)
    assert run.card()["architecture"]["arguments"]["scale"] == run.network.scale != 1
    few = tmp_path / "few"
    (few / "sub-1").mkdir(parents=True)
    with pytest.raises(UsageError, match="too few to learn from"):
        assemble(recipe, Data(maps=few), tmp_path / "x")


@pytest.mark.slow
def test_one_command_trains_and_another_draws(images, tmp_path, capsys):
    recipe = registry.read("latent-diffusion", CHANGES | {"minutes": 0.25})
    path = lightning.train(assemble(recipe, Data(maps=images), tmp_path / "run"))
    card = zoo.read_card(str(path))
    assert purpose.purpose_of(card) == "synthesis" and card["license"] == "not stated (yours)"
    assert card["scores"]["images that did not train"]["error of the autoencoder"] < 0.3
    out = tmp_path / "drawn"
    given = ["synth", "sample", str(path), str(out), "--count", "2", "--steps", "10", "--device", "cpu"]
    assert main.main([*given, "--threads", "1"]) == 0
    found = sources.find([out], "T1w")
    assert [one.out_name for one in found] == [f"sub-synth000{k}/anat/sub-synth000{k}" for k in (0, 1)]
    first, second = (np.asarray(nib.load(one.image).dataobj) for one in found)
    assert first.shape == (16, 16, 16) and (first != second).any() and first.max() > 100
    about = json.loads(found[0].image.with_name("sub-synth0000_T1w.json").read_text())
    assert about["Synthetic"] is True and about["NetworkSHA256"] == card["sha256"] and about["Seed"] == 0
    assert main.main([*given, "--threads", "1"]) == 0
    np.testing.assert_array_equal(np.asarray(nib.load(found[0].image).dataobj), first)
    assert main.main(["synth", "sample", "segmentation", str(out)]) == 2
    assert "this network does not draw images of brains" in capsys.readouterr().err
