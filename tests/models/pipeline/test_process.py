"""The chain on arrays: order of the stages, refusals, another network."""

import shutil

import numpy as np
import pytest
import torch

from brainseg.models.data import model_files
from brainseg.models.errors import InputError, MissingFileError, UsageError
from brainseg.models.geometry.volume import Volume
from brainseg.models.networks import zoo
from brainseg.models.pipeline import process
from brainseg.models.population import populations
from brainseg.models.segmentation import segmentation, skullstrip
from helpers import stage_results


def scan(thickness=1.0):
    affine = np.diag([1.0, 1.0, thickness, 1.0]) * 2.0
    affine[3, 3] = 1.0
    return Volume(torch.from_numpy(stage_results.scan().astype(np.float32)), affine)


def test_stages_run_in_order(monkeypatch):
    stage_results.install(monkeypatch.setattr)
    stages = []
    done = process.process(scan(), skull_strip="skip", progress=stages.append)
    assert stages == ["skull-stripping", "bias correction", "segmentation"]
    assert done.brain.stripped and done.notes == ["A note from the segmentation."]
    assert done.anatomy.structures is done.segmentation.structures
    assert done.anatomy.image is done.corrected


def test_thick_slices_are_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(skullstrip, "skullstrip", None)
    with pytest.raises(InputError, match=r"low-resolution stack \(voxels of 2 x 2 x 4 mm") as caught:
        process.process(scan(2.0), "fetal")
    assert "Reconstruct the stacks" in caught.value.remedy
    stage_results.install(monkeypatch.setattr)
    assert process.process(scan(2.0), "adult").brain.mask


def test_options_that_a_method_does_not_have_are_refused(monkeypatch):
    monkeypatch.setattr(skullstrip, "skullstrip", None)
    with pytest.raises(UsageError, match="--effort accurate is not available for fetal brains") as caught:
        process.process(scan(), "fetal", effort="accurate")
    assert caught.value.remedy == "Leave --effort accurate out"
    mask = scan().with_data(torch.ones(stage_results.SHAPE, dtype=torch.uint8))
    with pytest.raises(UsageError, match="a coarser label table is not available for adult brains"):
        segmentation.segment(scan(), mask, label_table="fetal")
    populations.check_options(populations.load("adult"), ["effort", "posteriors", "likelihood"])
    populations.check_options(populations.load("fetal"), ["label_table", "likelihood"])


def test_another_network_replaces_the_populations(monkeypatch, tmp_path):
    stage_results.install(monkeypatch.setattr)
    used = []

    def segment(volume, mask, record, **options):
        used.append((record.coarse, record.segmentation))
        return stage_results.segmentation_of(volume, mask)

    monkeypatch.setattr(segmentation, "segment", segment)
    process.process(scan(), model="segmentation")
    assert used == [("head-coarse", "segmentation")]
    adult = populations.load("adult")
    with pytest.raises(UsageError, match="does not fit the segmentation of adult brains"):
        process.with_network(adult, "fetal")
    with pytest.raises(UsageError, match="does not fit the segmentation of fetal brains"):
        process.with_network(populations.load("fetal"), "segmentation")
    with pytest.raises(MissingFileError):
        process.with_network(adult, "nothing")
    monkeypatch.setenv("BRAINSEG_MODELS", str(tmp_path))
    for ending in (".safetensors", ".json"):
        shutil.copy(zoo.path_of("head-coarse").with_suffix(ending), tmp_path / f"mine{ending}")
    card = zoo.read_card("segmentation") | {"coarse": "mine"}
    monkeypatch.setattr(model_files, "verified", lambda name: card)
    assert process.with_network(adult, "segmentation").coarse == "mine"
