"""From a folder of label maps to a network that segments; scores as a picture; networks kept by name."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.bidsapp.cli import main
from brainseg.models.geometry.volume import lattice, resample
from brainseg.models.networks import zoo
from brainseg.models.networks.stem_unet import StemUNet
from brainseg.models.population import labels, populations
from brainseg.models.segmentation import skullstrip
from brainseg.models.segmentation.result import SkullStripResult
from brainseg.models.templates import bundled

RECIPE = """
name: mine
kind: cascade
coarse: head-coarse
architecture:
  inputs: 4
  channels: [6, 8]
  prior: 19
  tasks:
    structure: {outputs: 19, refine: 4}
losses: {structure: 1.0, hierarchical: 0.3}
stages:
  - {until: 1.0, shape: [24, 28, 24], spacing: 4.0}
minutes: 0.05
loggers: []
data: toy heads
license: CC0-1.0
"""


def _run(*words) -> int:
    return main.main([str(word) for word in words])


def _network(folder, name="tiny"):
    tasks = {"structure": {"outputs": 19, "refine": 0}}
    torch.manual_seed(0)
    state = StemUNet(4, [4, 6], tasks).state_dict()
    arguments = {"inputs": 4, "channels": [4, 6], "tasks": tasks}
    card = {"name": name, "architecture": {"class": "StemUNet", "arguments": arguments}, "license": "CC0"}
    folder.mkdir(parents=True, exist_ok=True)
    return zoo.save(folder, state, card | {"label_table": "adult", "spacing": 2.0})


@pytest.mark.slow
def test_a_folder_of_maps_becomes_a_network_that_segments(toy, tmp_path, monkeypatch, capsys):
    maps, out = tmp_path / "maps", tmp_path / "out"
    maps.mkdir()
    toy.write(maps, 5)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE)
    command = ("train", recipe, "--maps", maps, "--out", out, "--device", "cpu", "--threads", 1)
    assert _run(*command) == 0
    said = capsys.readouterr().out
    assert "preparing 4 maps for training" in said and "preparing 1 maps for validation" in said
    weights = out / "mine.safetensors"
    assert said.strip().endswith(str(weights))
    card = json.loads(weights.with_suffix(".json").read_text())
    assert 0 <= card["scores"]["held-out label maps, synthetic images"]["mean"] <= 1
    # once more: nothing is prepared again, and the finished training is only exported
    assert _run(*command) == 0
    assert "preparing" not in capsys.readouterr().out

    template = bundled.load("MNI152NLin2009cAsym")
    grid = lattice(template.image, 3.0)
    scan = resample(template.image, grid)
    mask = resample(template.mask.with_data(template.mask.data.float()), grid)
    mask = mask.with_data((mask.data > 0.5).to(torch.uint8))
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(scan.data.numpy(), scan.affine), path)
    stripped = SkullStripResult(mask, True)
    monkeypatch.setattr(skullstrip, "skullstrip", lambda *_, **__: stripped)
    monkeypatch.setattr("brainseg.models.preprocessing.bias.correct", lambda volume, mask: (volume, None))
    adult = populations.load("adult")
    coarser = replace(adult.methods["segmentation"], spacing=3.0)
    record = replace(adult, methods=adult.methods | {"segmentation": coarser})
    monkeypatch.setattr(populations, "load", lambda name: record)
    found, posteriors = tmp_path / "found.nii.gz", tmp_path / "p.nii.gz"
    more = ("--model", weights, "--effort", "accurate", "--posteriors", posteriors, "--threads", 1)
    assert _run("segment", path, found, *more, "--device", "cpu") == 0
    values = np.asarray(nib.load(found).dataobj)
    assert values.shape == scan.grid.shape and set(np.unique(values)) <= set(labels.load("adult").by_index)
    inside = mask.data.numpy() > 0
    assert (values[inside] > 0).all()
    image = nib.load(posteriors)
    about = json.loads((tmp_path / "p.json").read_text())
    assert image.shape == (*values.shape, 18) and about["Name"][0] == "Cerebral-White-Matter"
    total = image.get_fdata().sum(-1)
    assert total[inside].mean() == pytest.approx(1, abs=0.05) and total.max() < 1.01


def test_maps_that_are_not_there(tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE)
    (tmp_path / "empty").mkdir()
    assert _run("train", recipe, "--maps", tmp_path / "empty", "--out", tmp_path / "o") == 2
    assert "there are no NIfTI files in the folder" in capsys.readouterr().err
    assert _run("train", recipe, "--out", tmp_path / "o") == 2
    assert "Give either --data or --maps" in capsys.readouterr().err


def test_networks_are_added_and_found_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BRAINSEG_MODELS", str(tmp_path / "own"))
    path = _network(tmp_path / "made")
    assert _run("models", "add", path) == 0
    assert _run("models", "list") == 0
    said = capsys.readouterr().out
    assert "tiny" in said and "head-coarse" in said
    assert _run("models", "verify", "tiny") == 0
    assert _run("models", "show", "tiny") == 0
    assert zoo.path_of("tiny") == tmp_path / "own" / "tiny.safetensors"
    shipped = _network(tmp_path / "made", "segmentation")
    capsys.readouterr()
    assert _run("models", "add", shipped) == 126
    assert "the name 'segmentation' belongs to bundled weights" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert _run("models", "add", path) == 126
    assert _run("models", "add", "tiny") == 2
    assert zoo.load("tiny").card["license"] == "CC0"


def test_scores_as_a_picture(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    truth = np.zeros((20, 20, 20), np.int16)
    truth[4:10, 4:14, 4:14], truth[11:16, 4:14, 4:14] = 17, 53
    for folder in ("ref", "pred"):
        (tmp_path / folder).mkdir()
        for case in ("a", "b", "c"):
            data = np.roll(truth, rng.integers(0, 2, 3) * (folder == "pred"), (0, 1, 2))
            nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / folder / f"{case}.nii.gz")
    plot = tmp_path / "scores.png"
    words = ("evaluate", tmp_path / "ref", tmp_path / "pred", "--plot", plot, "--out", tmp_path / "s.tsv")
    assert _run(*words) == 0
    pixels = np.asarray(Image.open(plot).convert("L"))
    assert pixels.shape[1] > 1000 and (pixels < 200).mean() > 0.01
    assert len((tmp_path / "s.tsv").read_text().splitlines()) == 7


@pytest.mark.slow
def test_real_scans_score_a_training(tmp_path, toy_arrays, scans):
    """Scans go through the coarse look once; then a network is scored on them in one pass each."""
    from brainseg.training.heads.trainer import HeadTrainer
    from brainseg.training.kinds import registry

    folder = tmp_path / "sub-1" / "anat"
    folder.mkdir(parents=True)
    for name, volume in zip(("T1w", "dseg"), scans.labeled(), strict=True):
        image = nib.Nifti1Image(volume.data.numpy(), volume.affine)
        nib.save(image, folder / f"sub-1_{name}.nii.gz")
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    assert _run("train", "scans", tmp_path / "scans.npz", tmp_path, "--recipe", path) == 0
    run = HeadTrainer(registry.read(path), toy_arrays, tmp_path / "out", scans=tmp_path / "scans.npz")
    scores = run.validate()
    assert (
        set(scores) == {*(f"real/{index}" for index in (2, 3, 7, 8)), "real/mean"}
        and 0 <= scores["real/mean"] <= 1
    )
    arrays = np.load(tmp_path / "scans.npz")
    assert arrays["x0"].shape[1] == 4 and arrays["prior0"].shape[1] == 19
    assert 0.2 < (arrays["truth0"] > 0).mean() < 0.9

    # The labels may lie elsewhere; and such scans can train.
    (tmp_path / "labels").mkdir()
    (folder / "sub-1_dseg.nii.gz").rename(tmp_path / "labels" / "sub-1_T1w_dseg.nii.gz")
    words = ("train", "scans", tmp_path / "again.npz", tmp_path / "labels", "--recipe", path)
    assert _run(*words, "--images", tmp_path / "sub-1") == 0
    with np.load(tmp_path / "again.npz") as again:
        assert np.array_equal(again["truth0"], arrays["truth0"])
    mixed = HeadTrainer(
        registry.read(path, {"real": 1.0}),
        toy_arrays,
        tmp_path / "mixed",
        labeled=tmp_path / "again.npz",
    )
    example = mixed.source().examples()[0]
    assert set(example.targets["structure"].unique().tolist()) <= {0, 1, 2, 5, 6}
    assert sum(mixed.losses(mixed.forward(example), example.targets).values()) > 0


@pytest.mark.parametrize(
    "words, said",
    [
        (["pseudo"], "Give --labeled NPZ"),
        (["segmentation", "--labeled", "heads.npz"], "has no share of real scans"),
        (["head-coarse", "--labeled", "heads.npz"], "trains on no real scans"),
        (["pseudo", "--labelled", "nowhere.npz"], "the file does not exist"),
    ],
)
def test_real_scans_that_train_and_their_share_belong_together(tmp_path, monkeypatch, words, said, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heads.npz").touch()
    assert _run("train", *words, "--data", "heads.npz", "--out", "out") > 0
    assert said in capsys.readouterr().err
