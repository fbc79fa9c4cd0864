"""The real chain on the demonstration dataset, by the program as a user calls it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.status import records
from brainseg.models.templates import bundled, catalog
from helpers import DATA, WATCH

pytestmark = pytest.mark.slow

SPACE = "space-MNI152NLin2009cAsym"
PARCELS = [
    *(f"desc-aparcaseg_dseg.{end}" for end in ("nii.gz", "json")),
    *(f"seg-DesikanKilliany_desc-parcels_dseg.{end}" for end in ("nii.gz", "json", "tsv", "lut.txt")),
    *(f"seg-DesikanKilliany_morph.{end}" for end in ("tsv", "json")),
]


@pytest.fixture(scope="module")
def finished_run(demo_dataset, tmp_path_factory):
    """A real run, participant and group, on the demonstration dataset; minutes, so this module alone has it.

    Has ``bids`` and ``out`` (folders, not to be written to), ``code``, ``said``, ``command``, which runs the
    same again, and ``watched``, a file with what its processes asked of the network or changed in ``bids``.
    """
    folder = tmp_path_factory.mktemp("run")
    out = folder / "derivatives"
    command = [sys.executable, "-m", "brainseg.bidsapp", str(demo_dataset), str(out), "participant", "group"]
    command += ["--work-dir", str(folder / "work"), "--device", "cpu"]
    watched = folder / "watched.txt"
    env = {name: value for name, value in os.environ.items() if name not in ("NO_ET", "NIPYPE_NO_ET")}
    env |= {"PYTHONPATH": str(WATCH)}
    env |= {"WATCH_LOG": str(watched), "WATCH_READONLY": str(demo_dataset)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, check=False)
    return SimpleNamespace(
        bids=demo_dataset,
        out=out,
        code=done.returncode,
        said=done.stdout + done.stderr,
        command=command,
        watched=watched,
    )


def read(run, participant, ending):
    return nib.load(run.out / f"sub-{participant}" / "anat" / f"sub-{participant}_{ending}.nii.gz")


def values(run, participant, ending):
    return np.asarray(read(run, participant, ending).dataobj)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_it_finishes(finished_run):
    assert finished_run.code == 0, finished_run.said
    assert "2 done" in finished_run.said
    for key in ("sub-01", "sub-02"):
        content = records.read(finished_run.out, key)
        assert (content["state"], content["error"]) == ("done", None)
        assert content["stripped"] is True
        chain = [
            "conform",
            "skullstrip",
            "bias",
            "intracranial",
            "segmentation",
            "registration",
            "quality",
            "parcellation",
            "outputs",
            "report",
        ]
        assert sorted(content["seconds"]) == sorted(chain)
        side_by_side = ("intracranial", "quality", "parcellation", "outputs")
        found = [stage for stage in content["seconds"] if stage not in side_by_side]
        assert found == [stage for stage in chain if stage not in side_by_side]
        assert f"{key}  report (stage {len(chain)} of {len(chain)})" in finished_run.said


def test_the_tree_is_as_described(finished_run, stages):
    one = (DATA / "outputs_T1w.txt").read_text().split()
    two = [name.replace("sub-01", "sub-02") for name in one]
    level = [f"{key}.html" for key in ("sub-01", "sub-02", "index", "group")]
    level += [
        "participants.tsv",
        "participants.json",
        "desc-aparcaseg_dseg.tsv",
        "desc-aparcaseg_dseg.lut.txt",
    ]
    level += [f"{key}/anat/{key}_{ending}" for key in ("sub-01", "sub-02") for ending in PARCELS]
    found = set(stages.tree(finished_run.out))
    assert {name for name in found if not name.startswith("group_")} == {*one, *two, *level}
    assert {"group_volumes.tsv", "group_volumes.json"} <= found
    assert not list(finished_run.out.rglob("*.partial"))


def test_all_of_it_is_valid(finished_run):
    program = shutil.which("bids-validator-deno", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run([program, str(finished_run.out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("participant", ["01", "02"])
def test_results_lie_on_the_grid_of_the_image(finished_run, participant):
    source = nib.load(finished_run.bids / f"sub-{participant}" / "anat" / f"sub-{participant}_T1w.nii.gz")
    for ending in ("desc-preproc_T1w", "desc-brain_mask", "dseg", "desc-aseg_dseg", "label-GM_probseg"):
        image = read(finished_run, participant, ending)
        assert image.shape == source.shape
        np.testing.assert_array_equal(image.affine, source.affine)
    head = np.asarray(source.dataobj) > 0
    assert dice(head, values(finished_run, participant, "desc-brain_mask") > 0) > 0.95


@pytest.mark.parametrize("participant", ["01", "02"])
def test_left_is_left(finished_run, participant):
    image = read(finished_run, participant, "desc-aseg_dseg")
    labels = np.asarray(image.dataobj)
    for left, right in ((3, 42), (10, 49), (17, 53)):
        x = [
            nib.affines.apply_affine(image.affine, np.argwhere(labels == i).mean(0))[0] for i in (left, right)
        ]
        assert x[0] < 0 < x[1]


@pytest.mark.parametrize("participant", ["01", "02"])
def test_parcels_divide_the_cortex_of_their_side(finished_run, participant):
    structures = values(finished_run, participant, "desc-aseg_dseg")
    both = values(finished_run, participant, "desc-aparcaseg_dseg")
    for cortex, first in ((3, 1000), (42, 2000)):
        found = set(np.unique(both[structures == cortex]))
        assert found <= set(range(first + 1, first + 36)) and len(found) > 25
    assert np.array_equal(both[~np.isin(structures, (3, 42))], structures[~np.isin(structures, (3, 42))])
    affine = read(finished_run, participant, "desc-aparcaseg_dseg").affine
    place = {
        k: nib.affines.apply_affine(affine, np.argwhere(both == k).mean(0)) for k in (1024, 2024, 1011, 1028)
    }
    assert place[1024][0] < 0 < place[2024][0]
    assert place[1011][1] < place[1024][1] < place[1028][1], "occipital, central, frontal"


def test_participants_meet_in_the_template(finished_run):
    template = bundled.load(catalog.DEFAULT).mask.data.numpy() > 0
    masks = [values(finished_run, p, f"{SPACE}_desc-brain_mask") > 0 for p in ("01", "02")]
    assert dice(masks[0], template) > 0.95
    assert dice(masks[1], template) > 0.9
    # sub-02 was bent by up to 8 mm, which an affine cannot undo
    tissues = [values(finished_run, p, f"{SPACE}_dseg") for p in ("01", "02")]
    assert dice(tissues[0] == 2, tissues[1] == 2) > 0.55


def test_methods_are_written(finished_run):
    text = (finished_run.out / "logs" / "CITATION.md").read_text()
    assert "N4 (Tustison" in text
    assert "at 1 mm" in text


def test_what_is_done_is_not_computed_again(finished_run):
    before = {path: path.stat().st_mtime_ns for path in finished_run.out.glob("sub-*/anat/*")}
    done = subprocess.run(finished_run.command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 skipped" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in finished_run.out.glob("sub-*/anat/*")}


def test_a_real_run_asks_nothing_of_the_network_and_only_reads_the_dataset(finished_run):
    """Every Python process of the run was watched, workers included."""
    assert finished_run.watched.is_file()
    assert finished_run.watched.read_text() == ""
