"""Training the lesion network: real slices, synthetic ones, the split and the export."""

import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.models.errors import InputError
from brainseg.models.networks import zoo
from brainseg.models.segmentation import lesion
from brainseg.training.core.lightning import train
from brainseg.training.kinds import registry
from brainseg.training.kinds.assemble import Data, assemble
from brainseg.training.lesion import examples as lesion_samples
from brainseg.training.lesion import lgg, prepare
from brainseg.training.losses.segmentation import binary_loss, slice_dice_loss
from brainseg.training.synthesis.config import GeneratorConfig
from brainseg.training.synthesis.generator import HeadGenerator

RECIPE = """
name: toy-lesion
kind: lesion
network: SliceUNet
architecture: {channels: [4, 6], fold: 2}
losses: {lesion: 1.0}
stages:
  - {until: 1.0, shape: [32, 40], spacing: 3.0, real: 1.0}
repeat: 4
batch: 4
minutes: 0.01
license: Research use only (test)
"""


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """Eight patients: a ball of brain with a bright ball in it, slices of 5 mm."""
    root = tmp_path_factory.mktemp("patients")
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    x, y, z = np.indices((50, 60, 16)) * np.array([2, 2, 5])[:, None, None, None]
    rng = np.random.default_rng(0)
    for k in range(8):
        brain = (x - 50) ** 2 + (y - 60) ** 2 + (z - 40) ** 2 < 38**2
        spot = (x - 40 - k) ** 2 + (y - 60) ** 2 + (z - 40) ** 2 < 12**2
        data = rng.normal(100, 8, brain.shape) * brain + 80 * spot
        folder = root / f"sub-{k}"
        folder.mkdir()
        for name, values in (
            ("FLAIR", data.astype(np.float32)),
            ("label-lesion_mask", spot.astype(np.uint8)),
            ("desc-brain_mask", brain.astype(np.uint8)),
        ):
            nib.Nifti1Image(values, affine).to_filename(folder / f"sub-{k}_{name}.nii.gz")
    return root


def test_patients_are_split_in_three(patients):
    parts = prepare.split(patients)
    assert [len(parts[name]) for name in ("training", "validation", "test")] == [5, 1, 2]
    together = [path.name for part in parts.values() for path in part]
    assert sorted(together) == [f"sub-{k}" for k in range(8)]


@pytest.mark.slow
def test_a_network_is_trained_goes_on_and_is_exported(patients, tmp_path):
    (tmp_path / "toy.yaml").write_text(RECIPE)
    toy, out = registry.read(tmp_path / "toy.yaml"), tmp_path / "run"
    run = assemble(toy, Data(maps=patients), out)
    path = train(run)
    assert run.step > 0 and (out / "test.txt").read_text().split() == ["sub-2", "sub-6"]
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["license"].startswith("Research use only") and card["spacing"] == 3.0
    assert "patients that did not train, Dice of the volume" in card["scores"]
    again = assemble(toy, Data(maps=patients), out)
    assert again.step == run.step
    # what was exported finds lesions, or none, in a scan
    scan, truth, brain = prepare.read_case(patients / "sub-2")
    found = lesion.find(scan, brain, model=str(path))
    assert found.mask.grid.shape == scan.grid.shape == truth.grid.shape
    assert zoo.load(str(path)).network.training is False


def test_real_slices_show_lesions_where_the_mask_has_them(patients, tmp_path):
    prepare.prepare(sorted(patients.iterdir())[:2], tmp_path / "a.npz", 3.0)
    cases = lesion_samples.load(tmp_path / "a.npz")
    assert [case.step for case in cases] == [5.0, 5.0]
    assert float(cases[0].image[cases[0].lesion].mean()) > 2
    torch.manual_seed(0)
    slices = lesion_samples.LesionSlices(cases, None, (32, 40), 3.0, repeat=16)
    examples = slices.examples()
    assert len(examples) == 16 and examples[0].x.shape == (1, 3, 32, 40, 1)
    x, truth = (
        torch.cat(parts) for parts in ([e.x for e in examples], [e.targets["lesion"] for e in examples])
    )
    middle = x[:, :1]
    assert 0 < float(truth.mean()) < 0.2
    inside = (middle > lesion_samples.DARK) & (truth == 0)
    assert float(middle[truth > 0].mean()) - float(middle[inside].mean()) > 0.5


def test_synthetic_lesions_are_brighter_than_the_brain(toy_arrays):
    config = GeneratorConfig(contrasts={"FLAIR": 1.0}, lesions=1.0, strip=0.0, crop=0.0, noise=0.0, bias=0.0)
    generator = HeadGenerator(toy_arrays, config)
    torch.manual_seed(1)
    draw = lesion_samples.bright(generator.draw(), generator)
    values, means = generator.source.values, draw.contrast.means
    level = {int(v): float(means[k * 16 : (k + 1) * 16].mean()) for k, v in enumerate(values)}
    assert level[25] > max(level[2], level[3]) and level[57] > max(level[41], level[42])


def test_slices_of_the_lgg_data_become_a_volume(tmp_path):
    from PIL import Image

    for k in (1, 2, 10):
        data = np.zeros((8, 6, 3), np.uint8)
        data[2, 1] = (1, 100 + k, 3)
        mask = np.zeros((8, 6), np.uint8)
        mask[2, 1] = 255 * (k == 10)
        Image.fromarray(data).save(tmp_path / f"P_{k}.tif")
        Image.fromarray(mask).save(tmp_path / f"P_{k}_mask.tif")
    image, truth = lgg.read(tmp_path, 3)
    assert image.data.shape == (6, 8, 3) and [int(v) for v in image.data[1, 2]] == [101, 102, 110]
    assert truth.data[1, 2].tolist() == [0, 0, 1]
    # columns run to the left, rows to the back
    assert image.affine[0, 0] < 0 and image.affine[1, 1] < 0 and image.affine[2, 2] > 0


def test_losses_are_low_where_it_is_right():
    truth = torch.zeros(2, 1, 8, 8, 1)
    truth[0, :, 2:5, 2:5] = 1
    right = (truth - 0.5) * 40
    for loss in (binary_loss, slice_dice_loss):
        assert float(loss(right, truth)) < 0.01 < 0.5 < float(loss(-right, truth))


def test_a_patient_without_lesions_found_clean_scores_one(patients, tmp_path):
    (tmp_path / "toy.yaml").write_text(RECIPE)
    run = assemble(registry.read(tmp_path / "toy.yaml"), Data(maps=patients), tmp_path / "run")
    (case,) = run.held_out
    run.held_out = [replace(case, lesion=torch.zeros_like(case.lesion)), case]
    for value, expected in ((-9.0, [1.0, 0.0]), (9.0, [0.0, None])):
        with torch.no_grad():
            for name, tensor in run.ema.items():
                tensor.fill_(value if name.endswith("bias") else 0.0)
        scores = run.validate()
        for key, score in enumerate(expected):
            assert score is None or scores[str(key)] == score


def test_an_image_in_place_of_a_lesion_mask_is_refused(patients, tmp_path):
    folder = tmp_path / "sub-x"
    shutil.copytree(patients / "sub-0", folder)
    shutil.copy(folder / "sub-0_FLAIR.nii.gz", folder / "sub-0_label-lesion_mask.nii.gz")
    with pytest.raises(InputError, match=r"label-lesion_mask\.nii\.gz: the values are not whole numbers"):
        prepare.read_case(folder)
