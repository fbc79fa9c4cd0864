"""The page for users of other systems: its commands run, on tiny data and with tiny networks.

Every command runs as it stands on the page, in a folder with the files that it names, with more words that
make networks, images and times small. Stand-ins answer for the chain of a scan (``helpers.quick_science``,
``helpers.fake_chain``) and for registrations.
"""

import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.bidsapp.cli import main
from brainseg.bidsapp.tools import anatomy
from brainseg.bidsapp.tools.pseudolabels import command
from brainseg.models.hippocampus import hippocampus
from brainseg.models.registration import registration
from brainseg.training.fetal import interpolation
from brainseg.training.registration import unlabeled
from helpers import ROOT, labeled_images, own_networks, quick_science, template_scans
from helpers.coming_from import commands

pytest.importorskip("monai")
pytestmark = pytest.mark.slow

QUICK = ("minutes=0.003", "batch=1", "repeat=1", "loggers=[]")
"""A training of one step or two."""

CPU = ("--device", "cpu", "--threads", "1")


def _stage(shape, spacing, **more):
    words = "".join(f", {key}: {value}" for key, value in more.items())
    return f"stages=[{{until: 1.0, shape: {list(shape)}, spacing: {spacing}{words}}}]"


@pytest.fixture
def run(app, monkeypatch, tmp_path):
    """Run the commands of a system one after the other, each with more words."""
    quick_science.install(monkeypatch.setattr)

    def one(words, more=()):
        if words[0] == "brainseg-bids":
            return app(*words[1:], *more)
        # There is no graphics card.
        return main.main([word for word in words[1:] if word != "--gpu"] + [str(word) for word in more])

    def every(system, more, skip=()):
        for number, words in commands(system).items():
            if number not in skip:
                assert one(words, more.get(number, ())) == 0, f"{system} ({number})"

    every.one = one
    return every


def _trained(folder, name):
    """Check that a training wrote weights with their card."""
    assert (folder / f"{name}.safetensors").stat().st_size > 1000
    assert (folder / f"{name}.json").is_file()


def _brains(folder, count):
    """Write brains of the template at 4 mm with their tissues and masks."""
    template = template_scans.resampled(template_scans.template(), (4.0, 4.0, 4.0))
    image = template.data.numpy()
    inside = image > 0
    steps = np.percentile(image[inside], [15, 55])
    tissues = np.where(inside, 1 + np.digitize(image, steps), 0).astype(np.uint8)
    for k in range(count):
        anat = folder / f"sub-{k}"
        anat.mkdir(parents=True)
        for name, data in (("T1w", image), ("dseg", tissues), ("desc-brain_mask", inside.astype(np.uint8))):
            nib.save(nib.Nifti1Image(data, template.affine), anat / f"sub-{k}_{name}.nii.gz")


def test_ibsr18(run, fake, tmp_path):
    _brains(tmp_path / "FOLDER", 6)
    fake.dataset(tmp_path / "BIDS")
    shutil.copy(tmp_path / "FOLDER" / "sub-0" / "sub-0_T1w.nii.gz", tmp_path / "scan_T1w.nii.gz")
    for path in (tmp_path / "FOLDER").glob("*/*_dseg.nii.gz"):
        (tmp_path / "results").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "results")
    plain = (*QUICK, *CPU)
    slices = (*plain, _stage([32, 32], 6.0), "architecture.channels=[4, 8]")
    volume = (*plain, _stage([32, 32, 32], 6.0))
    patches = (*plain, _stage([16, 16, 16], 6.0))
    unet = (*patches, "architecture.channels=[4, 8]")
    more = {
        1: slices,
        2: (*plain, _stage([32, 32], 6.0), "batch=2", "repeat=2"),
        3: volume,
        4: volume,
        5: unet,
        7: unet,
    }
    more[6] = (*patches, "architecture={init_filters: 8}")
    shutil.copy(ROOT / "training" / "recipes" / "ibsr18.tsv", tmp_path)
    more[9] = (*slices, "minutes=0.006", "loggers=[mlflow]", f"tracking_uri={(tmp_path / 'mlflow').as_uri()}")
    more[10] = CPU
    later = range(8, 13)
    run("IBSR18", more, skip=later)
    fold = [word.replace("fold1", "fold2") for word in commands("IBSR18")[7]]
    fold[fold.index("--fold") + 1] = "2"
    assert run.one(fold, unet) == 0
    run("IBSR18", more, skip=range(1, 8))
    for folder, name in (("2d", "ibsr18-2d"), ("volume", "ibsr18-volume"), ("segresnet", "ibsr18-patches")):
        _trained(tmp_path / "runs" / folder, name)
    _trained(tmp_path / "runs", "ensemble")
    found = np.asarray(nib.load(tmp_path / "labels.nii.gz").dataobj)
    assert set(np.unique(found)) <= {0, 1, 2, 3} and found.any()
    assert any((tmp_path / "mlflow").rglob("meta.yaml"))
    assert (tmp_path / "OUT" / "sub-01.html").is_file() and (tmp_path / "scores.png").stat().st_size > 1000
    assert "1\tCerebrospinal Fluid\t1.0" in (tmp_path / "scores.tsv").read_text()


def test_lower_grade_glioma(run, fake, tmp_path):
    labeled_images.write_slices(tmp_path / "kaggle_3m", 8)
    fake.dataset(tmp_path / "BIDS", suffix="FLAIR")
    image, labels = labeled_images.ball(0, 32)
    for name, data in (("sub-01_FLAIR", image), ("mask", (labels > 0).astype(np.uint8))):
        nib.save(nib.Nifti1Image(data, np.diag([3.0, 3.0, 3.0, 1.0])), tmp_path / f"{name}.nii.gz")
    lesion = [{"index": 1, "name": "Lesion"}]
    own_networks.make(tmp_path / "runs" / "lesion", "lesion", lesion, 1, 0, use="lesion")
    small = (*QUICK, *CPU, "architecture.channels=[4, 8]")
    more = {1: (*small, _stage([32, 32], 1.0)), 2: (*small, _stage([32, 32], 1.0, real=1.0)), 3: CPU, 4: CPU}
    run("Brain-MRI-Segmentation", more)
    _trained(tmp_path / "runs" / "lgg", "lgg-slices")
    _trained(tmp_path / "runs" / "slices", "lesion-slices")
    assert sum(1 for _ in (tmp_path / "predictions").rglob("*.tif")) == 8 * 16
    assert (tmp_path / "dice_distribution.png").stat().st_size > 1000
    weights = str(tmp_path / "runs" / "lgg" / "lgg-slices.safetensors")
    network = torch.hub.load(str(ROOT), "unet_segmentation", source="local", weights_path=weights)
    with torch.no_grad():
        assert network(torch.rand(2, 3, 32, 32)).shape == (2, 1, 32, 32)
    mask = nib.load(tmp_path / "sub-01_label-lesion_mask.nii.gz")
    assert mask.shape == image.shape and set(np.unique(mask.dataobj)) <= {0, 1}


def _hippocampi(folder, count=20):
    """Write crops of balls of two parts, each in another place, with the Decathlon's names."""
    for k in range(count):
        r = np.indices((26, 30, 28)) - np.reshape([12 + k % 3, 15 + k // 9, 13 + k // 3 % 3], (3, 1, 1, 1))
        ball = (r**2).sum(0) < 49
        image = (np.where(ball, 200 + k, 500) + np.arange(30)[None, :, None]).astype(np.int16)
        labels = (ball * np.where(r[1] > 0, 1, 2)).astype(np.uint8)
        for name, data in (("images", image), ("labels", labels)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            nib.Nifti1Image(data, np.eye(4)).to_filename(folder / name / f"hippocampus_{k + 1:03d}.nii.gz")


def test_hippocampus_registration(run, tmp_path, monkeypatch):
    monkeypatch.setattr(hippocampus, "find", quick_science.parts)
    _hippocampi(tmp_path / "Task04_Hippocampus")
    _hippocampi(tmp_path / "OTHER_DATA")
    (tmp_path / "pairs_val.csv").write_text("fixed,moving\n2,1\n")
    for name, number in (("MOVING", 1), ("FIXED", 2)):
        shutil.copy(
            tmp_path / "OTHER_DATA" / "images" / f"hippocampus_{number:03d}.nii.gz",
            tmp_path / f"{name}.nii.gz",
        )
    shutil.copy(tmp_path / "OTHER_DATA" / "labels" / "hippocampus_001.nii.gz", tmp_path / "L.nii.gz")
    small = "architecture={channels: [4, 6, 8], scales: 2, affine: true}"
    training = (*QUICK, *CPU, small, _stage([16, 24, 16], 1.0, deformation=0.0))
    run("hippocampus_registration", dict.fromkeys((1, 2, 3, 4, 8), training) | {5: CPU, 6: CPU})
    for folder, name in (("baseline", "-baseline"), ("symmetric", ""), ("tuned", ""), ("merged", "-merged")):
        _trained(tmp_path / "runs" / folder, f"hippocampus-gradients{name}")
    _trained(tmp_path / "runs" / "pretrained", "pretrained")
    assert (tmp_path / "results" / "submission.zip").is_file()
    assert list((tmp_path / "results" / "figures").glob("*.png"))
    moved, there = (
        np.asarray(nib.load(tmp_path / name).dataobj)
        for name in ("ML.nii.gz", "OTHER_DATA/labels/hippocampus_002.nii.gz")
    )
    assert (moved[there > 0] == there[there > 0]).mean() > 0.95
    assert np.load(tmp_path / "GRID.npy").shape == (3, 26, 30, 28)
    assert "sd_log_jacobian" in (tmp_path / "scores.tsv").read_text()


def _fetuses(folder, count=5):
    """Write balls in shells with FeTA's labels."""
    index = np.indices((20, 24, 20)) - np.reshape([9.5, 11.5, 9.5], (3, 1, 1, 1))
    r = np.sqrt((index**2).sum(0))
    for k in range(count):
        labels = np.select([r < 3, r < 6, r < 7.5, r < 9 + 0.1 * k], [4, 3, 2, 1], 0)
        labels[9:11, 6, 9:11], labels[9:11, 15, 9:11], labels[9:11, 9:11, 3] = 5, 6, 7
        image = np.array([0, 240, 125, 150, 245, 165, 140, 135])[labels] + k + np.indices(labels.shape)[0] % 5
        anat = folder / f"sub-{k:03d}" / "anat"
        anat.mkdir(parents=True)
        for name, data in (("T2w", image * (labels > 0)), ("dseg", labels)):
            made = nib.Nifti1Image(data.astype(np.int16), np.diag([3.0, 3.0, 3.0, 1.0]))
            nib.save(made, anat / f"sub-{k:03d}_{name}.nii.gz")
    rows = [f"sub-{k:03d}\t{22 + k}" for k in range(count)]
    (folder / "participants.tsv").write_text("\n".join(["participant_id\tgestational_age", *rows]) + "\n")


def test_fetalsynthseg(run, fake, tmp_path, monkeypatch):
    monkeypatch.setattr(interpolation, "pairs", lambda names, weeks: [])
    _fetuses(tmp_path / "FOLDER")
    head = fake.head((60, 60, 60), 1.2)
    fake.dataset(tmp_path / "BIDS", suffix="T2w", sub_01=head, sub_02=head)
    for name in ("a", "b"):
        nib.save(head, tmp_path / f"{name}_T2w.nii.gz")
    own_networks.make(tmp_path)
    for name, source in (("scan", "T2w"), ("labels", "dseg")):
        image = nib.load(tmp_path / "FOLDER" / "sub-000" / "anat" / f"sub-000_{source}.nii.gz")
        data = np.asarray(image.dataobj)
        if name == "labels":  # FeTA's numbers as those of the table fetal
            data = np.array([0, 4, 5, 1, 2, 3, 6, 7], np.int16)[data]
        nib.save(nib.Nifti1Image(data, image.affine), tmp_path / f"{name}.nii.gz")
    small = ("start=null", "architecture.channels=[4, 8]", _stage([32, 32, 32], 3.5))
    assert run.one(commands("FetalSynthSeg")[7], (*QUICK, "minutes=0.003", *CPU, *small)) == 0
    more = dict.fromkeys((1, 3, 4), CPU) | {5: ("--count", "1")}
    run("FetalSynthSeg", more, skip=(7,))
    _trained(tmp_path / "runs" / "fetal", "fetal")
    results = sorted(
        str(p.relative_to(tmp_path / "results")) for p in (tmp_path / "results").rglob("*.nii.gz")
    )
    both = [f"sub-0{k}/anat/sub-0{k}_T2w_dseg.nii.gz" for k in (1, 2)]
    assert results == ["a_T2w_dseg.nii.gz", "b_T2w_dseg.nii.gz", *both]
    assert (tmp_path / "preview.png").stat().st_size > 1000
    assert (tmp_path / "a_dseg.nii.gz").is_file() and (tmp_path / "seeds.nii.gz").is_file()
    assert (tmp_path / "OUT" / "sub-01.html").is_file()


def _balls(folder, count=5):
    """Write participants whose brains are balls of 8 mm voxels."""
    axes = np.indices((16, 16, 16)) - 7.5
    inside = np.sqrt((axes**2).sum(0)) < 6
    for k in range(count):
        anat = folder / f"sub-{k}" / "anat"
        anat.mkdir(parents=True)
        data = inside * (100 + np.random.default_rng(k).normal(0, 5, inside.shape))
        image = nib.Nifti1Image(data.astype(np.float32), np.diag([8.0, 8.0, 8.0, 1.0]))
        nib.save(image, anat / f"sub-{k}_T1w.nii.gz")


def _programs(folder):
    """Write the segmentations of one head by three programs, as each names and numbers them."""
    data = np.zeros((28, 12, 12), np.int32)
    for k, index in enumerate((2, 3, 10, 41, 42, 49)):
        data[4 * k : 4 * k + 4, 2:10, 2:10] = index
    parcels = np.where(data == 3, 1028, data).astype(np.int32)
    fast, synth, ours = folder / "FASTSURFER" / "sub-01" / "mri", folder / "SYNTHSEG", folder / "OUT"
    for one in (fast, synth, ours):
        one.mkdir(parents=True, exist_ok=True)
    nib.save(nib.MGHImage(parcels, np.eye(4)), fast / "aparc.DKTatlas+aseg.deep.mgz")
    nib.save(nib.Nifti1Image(parcels, np.eye(4)), synth / "sub-01_T1w_synthseg.nii.gz")
    nib.save(nib.Nifti1Image(data, np.eye(4)), ours / "sub-01_desc-aseg_dseg.nii.gz")


def test_warpseg(run, fake, toy_arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(anatomy, "processed", quick_science.processed)
    monkeypatch.setattr(registration, "register", quick_science.register)
    monkeypatch.setattr(command, "_rated", lambda done: {"score": 0.9, "verdict": "pass"})
    shutil.copy(toy_arrays, tmp_path / "heads.npz")
    _balls(tmp_path / "BIDS")
    fake.dataset(tmp_path / "BIDS", names=())
    _programs(tmp_path)
    (tmp_path / "MELAGE" / "plugins").mkdir(parents=True)
    for name in ("mri", "a", "b"):
        nib.save(fake.head((40, 40, 40), 3.0), tmp_path / f"{name}.nii.gz")
    ball = nib.load(tmp_path / "BIDS" / "sub-0" / "anat" / "sub-0_T1w.nii.gz")
    for name in ("a_T1w", "b_T1w", "atlas_T1w"):
        nib.save(ball, tmp_path / f"{name}.nii.gz")
    labels = nib.Nifti1Image((ball.get_fdata() > 0).astype(np.int16) * 5, ball.affine)
    nib.save(labels, tmp_path / "atlas_dseg.nii.gz")
    plain = (*QUICK, *CPU)
    pairs = (*plain, _stage([16, 20, 16], 8.0), "architecture.channels=[4, 6]")
    drawn = "{until: %s, shape: [16, 16, 16], spacing: 8.0, part: %s}"
    parts = f"stages=[{drawn % (0.5, 'autoencoder')}, {drawn % (1.0, 'diffusion')}]"
    small = "architecture={channels: [8, 8], latent: 2, diffusion: [8, 16], groups: 4}"
    more = dict.fromkeys((1, 2, 5, 11), CPU) | {4: pairs}
    more[8] = (*plain, _stage([32, 32, 32], 4.0), "architecture.channels=[4, 8]")
    more[9] = ("--no-surfaces",)
    more[14] = (*plain, "minutes=0.05", small, parts)
    more[15] = (*CPU, "--count", "2", "--steps", "3")
    more[12] = CPU
    more[13] = (*plain, "architecture.channels=[4, 6]")
    run("WarpSeg", more, skip=(6, 7, *range(12, 16)))
    assert (tmp_path / "pseudo" / "pairs.tsv").read_text().count("\n") == 6, "five participants"
    (tmp_path / "pseudo").rename(tmp_path / "balls")  # the next trainings want whole brains
    for name, volume in zip(("T1w", "dseg"), template_scans.labeled(), strict=True):
        folder = tmp_path / ("pseudo" if name == "dseg" else "heads") / "sub-1"
        folder.mkdir(parents=True)
        nib.save(nib.Nifti1Image(volume.data.numpy(), volume.affine), folder / f"sub-1_{name}.nii.gz")
    more[6] = ("--images", tmp_path / "heads")
    more[7] = (*plain, "start=null", _stage([32, 32, 32], 1.5), "architecture.channels=[4, 8]")
    monkeypatch.setattr(unlabeled.process, "process", lambda *_: template_scans.processed(np.eye(4)))
    run("WarpSeg", more, skip=(*range(1, 6), *range(8, 12)))
    for name in ("registration", "coarse-to-fine", "pseudo"):
        _trained(tmp_path / "runs" / name, name)
    results = tmp_path / "results"
    assert (results / "structures.nii.gz").is_file() and (results / "tissues.nii.gz").is_file()
    assert {path.name for path in results.glob("?_dseg.nii.gz")} == {"a_dseg.nii.gz", "b_dseg.nii.gz"}
    methods = {line.split("\t")[0] for line in (tmp_path / "scores.tsv").read_text().splitlines()[1:]}
    assert methods == {"OUT", "SYNTHSEG"} and (tmp_path / "scores.png").stat().st_size > 1000
    assert list((tmp_path / "MELAGE" / "plugins").iterdir())
    assert len(list((tmp_path / "drawn").rglob("*_T1w.nii.gz"))) == 2
