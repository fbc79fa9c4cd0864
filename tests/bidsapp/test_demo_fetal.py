"""The fetal demonstration: a valid dataset, and the tissues and age that the program finds."""

import json

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp import demo, demo_fetal
from brainseg.models.io import conform
from brainseg.models.pipeline import process
from brainseg.models.population import growth, labels, populations
from brainseg.training.fetal.source_labels import read_table
from helpers import ROOT


def test_the_dataset_says_where_its_image_is_from(tmp_path, capsys):
    assert demo.main([str(tmp_path / "bids"), "--fetal"]) == 0
    root = tmp_path / "bids"
    about = json.loads((root / "dataset_description.json").read_text())
    assert about["License"] == "CC0-1.0" and "openreseurope" in about["ReferencesAndLinks"][0]
    assert (root / "participants.tsv").read_text() == "participant_id\tgestational_age\nsub-01\t25\n"
    image = nib.load(root / "sub-01" / "anat" / "sub-01_rec-srr_T2w.nii.gz")
    truth = nib.load(root / "derivatives" / "atlas" / "sub-01" / "anat" / "sub-01_rec-srr_dseg.nii.gz")
    np.testing.assert_array_equal(image.affine, truth.affine)
    assert image.shape == truth.shape and set(np.unique(truth.dataobj)) == set(range(9))
    stored = [path.stat().st_size for path in demo_fetal.SAMPLE.parent.glob("fetal*")]
    assert len(stored) == 3 and sum(stored) < 1e6
    assert "Fidon" in (ROOT / "NOTICE").read_text() and "no person" in (root / "README.md").read_text()


@pytest.mark.slow
def test_its_tissues_and_age_are_found():
    about, record = demo_fetal.sample(), populations.load("fetal")
    done = process.process(conform.read(about["image"]), record, label_table=record.labels)
    known = labels.load(record.labels)
    found = np.array(known.unsided)[known.lookup("unsided")[done.segmentation.structures.data.numpy()]]
    truth = read_table()["structure"][np.asarray(nib.load(about["tissues"]).dataobj).astype(int)]
    voxel = done.scan.grid.voxel_volume / 1000
    for name, index, least in (
        ("white matter", 2, 0.85),
        ("cortical gray matter", 3, 0.7),
        ("ventricles", 4, 0.8),
        ("cerebellum", 6, 0.75),
        ("deep gray matter", 9, 0.8),
        ("brainstem", 16, 0.75),
    ):
        a, b = truth == index, found == index
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > least, name
        assert b.sum() * voxel == pytest.approx(a.sum() * voxel, rel=0.25), name
    estimated = growth.load(record.growth).estimate(done.segmentation.volumes, record.labels)
    assert estimated == pytest.approx(about["weeks"], abs=2)
