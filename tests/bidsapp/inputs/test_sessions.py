"""Participant-sessions of several images: other contrasts, averages over sessions, precomputed results."""

import doctest
import json

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.inputs import precomputed, select
from brainseg.models.deformation.warp import Warp
from brainseg.models.errors import InputError
from brainseg.models.io import itk
from brainseg.models.registration import coregistration
from brainseg.models.segmentation import precomputed as given
from brainseg.models.segmentation import segmentation, skullstrip
from brainseg.workflows.participant import init_participant_wf

SPACE = "MNI152NLin2009cAsym"
SHIFT = np.array([[1, 0, 0, 4.0], [0, 1, 0, 0], [0, 0, 1, -8.0], [0, 0, 0, 1]])


@pytest.fixture
def scans_of(stages, monkeypatch, tmp_path):
    """Writes scans into one dataset and returns its root; the science is stood in for."""
    stages.install(monkeypatch.setattr)
    root = tmp_path / "bids"
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')

    def write(*names):
        for number, name in enumerate(names):
            parts = [p for p in name.split("_") if p[:4] in ("sub-", "ses-")]
            path = root.joinpath(*parts, "anat", f"{name}.nii.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(stages.scan(seed=number), stages.affine()), path)
        return root

    return write


def participant_sessions(root, *argv):
    base = [str(root), str(root.parent / "out"), "participant", "--registration", "none"]
    chosen = parse([*base, *map(str, argv)])
    return chosen, select.select(chosen).participant_sessions


def run(participant_session, chosen, folder):
    """Run the participant-session's workflow as the program builds it; returns the folder of its results."""
    from brainseg.bidsapp.execution import workflow as graph
    from brainseg.interfaces.io.dataset import write_dataset_description

    write_dataset_description(chosen.output_dir, chosen.bids_dir, "1", chosen.precomputed)
    made = {}

    def keep(**arguments):
        made["workflow"] = init_participant_wf(**arguments)
        return made["workflow"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "init_participant_wf", keep)
        from brainseg.bidsapp.execution.directories import Directories

        graph.participant_session_workflow(
            participant_session, chosen, Directories(chosen.output_dir, folder, folder, "1"), "cpu", "one_wf"
        )
    workflow = made["workflow"]
    workflow.base_dir = str(folder)
    workflow.config["execution"] = {
        "create_report": "false",
        "remove_unnecessary_outputs": "false",
        "crashdump_dir": str(folder),
    }
    # the report's nodes are not of interest here
    for name in ("finish", "report"):
        workflow.remove_nodes([workflow.get_node(name)])
    workflow.run(plugin="Linear")
    return chosen.output_dir.joinpath(*participant_session.key.split("_"), "anat")


def sidecar(folder, name):
    return json.loads((folder / name).read_text())


def image(path):
    found = nib.load(path)
    return np.asarray(found.dataobj), found.affine


@pytest.mark.slow
def test_other_contrasts_come_to_the_reference(scans_of, tmp_path, monkeypatch):
    root = scans_of("sub-01_T1w", "sub-01_acq-x_T2w", "sub-01_FLAIR")
    moved = lambda *a, **k: coregistration.Coregistration(SHIFT, 0.5)  # noqa: E731
    monkeypatch.setattr(coregistration, "rigid", moved)
    chosen, (participant_session,) = participant_sessions(root)
    anat = run(participant_session, chosen, tmp_path)
    reference, affine = image(anat / "sub-01_desc-preproc_T1w.nii.gz")
    for stem, suffix in (("sub-01_acq-x", "T2w"), ("sub-01", "FLAIR")):
        data, own = image(anat / f"{stem}_desc-preproc_{suffix}.nii.gz")
        assert data.shape == reference.shape
        np.testing.assert_array_equal(own, affine)
        raw = image(root / "sub-01" / "anat" / f"{stem}_{suffix}.nii.gz")[0]
        # voxels are 4 mm and run from right to left
        assert np.corrcoef(data[:-1, :, :-2].ravel(), raw[1:, :, 2:].ravel())[0, 1] > 0.99
        about = sidecar(anat, f"{stem}_desc-preproc_{suffix}.json")
        assert about["SpatialReference"] == "bids:raw:sub-01/anat/sub-01_T1w.nii.gz"
        assert about["Sources"][0] == f"bids:raw:sub-01/anat/{stem}_{suffix}.nii.gz"
        assert about["Translation"] == pytest.approx(8.944, abs=0.01)
        for way in (f"from-orig{suffix}_to-T1w", f"from-T1w_to-orig{suffix}"):
            assert (anat / f"{stem}_{way}_mode-image_xfm.h5").is_file()


@pytest.mark.slow
def test_on_their_own_grids_for_nibabies(scans_of, tmp_path, monkeypatch):
    root = scans_of("sub-01_T1w", "sub-01_T2w")
    moved = lambda *a, **k: coregistration.Coregistration(SHIFT, 0.5)  # noqa: E731
    monkeypatch.setattr(coregistration, "rigid", moved)
    chosen, (participant_session,) = participant_sessions(
        root, "--derivatives-flavor", "nibabies", "--steps", "no-posteriors"
    )
    anat = run(participant_session, chosen, tmp_path)
    data = image(anat / "sub-01_desc-preproc_T2w.nii.gz")[0]
    raw = image(root / "sub-01" / "anat" / "sub-01_T2w.nii.gz")[0]
    assert np.corrcoef(data.ravel(), raw.ravel())[0, 1] > 0.99
    names = {path.name for path in anat.iterdir()}
    assert {"sub-01_from-T2w_to-T1w_mode-image_xfm.h5", "sub-01_space-T1w_dseg.nii.gz"} <= names
    assert "sub-01_dseg.nii.gz" not in names
    assert not [name for name in names if "probseg" in name]


@pytest.mark.slow
def test_one_anatomy_of_two_sessions(scans_of, tmp_path):
    root = scans_of("sub-01_ses-1_T1w", "sub-01_ses-1_T2w", "sub-01_ses-2_T1w")
    assert [ps.key for ps in participant_sessions(root)[1]] == ["sub-01_ses-1", "sub-01_ses-2"]
    chosen, (participant_session,) = participant_sessions(
        root,
        "--subject-anatomical-reference",
        "first-lex",
        "--steps",
        "no-template-outputs",
        "no-coregistration",
    )
    assert (participant_session.key, participant_session.image.name) == ("sub-01", "sub-01_ses-1_T1w.nii.gz")
    anat = run(participant_session, chosen, tmp_path)
    names = {path.name for path in anat.iterdir()}
    assert "sub-01_desc-preproc_T1w.nii.gz" in names
    assert not [name for name in names if "ses-" in name or "_space-" in name]
    source = "bids:raw:sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
    assert sidecar(anat, "sub-01_desc-preproc_T1w.json")["Sources"] == [source]


@pytest.mark.slow
def test_the_average_of_sessions(scans_of, tmp_path, monkeypatch):
    root = scans_of("sub-01_ses-1_T1w", "sub-01_ses-2_run-1_T1w", "sub-01_ses-2_T2w")
    mean = lambda volumes, **_: (volumes[0], [np.eye(4), SHIFT])  # noqa: E731
    monkeypatch.setattr(coregistration, "average", mean)
    chosen, (participant_session,) = participant_sessions(
        root, "--subject-anatomical-reference", "unbiased", "--steps", "no-coregistration"
    )
    assert [path.name for path in participant_session.averaged] == [
        "sub-01_ses-1_T1w.nii.gz",
        "sub-01_ses-2_run-1_T1w.nii.gz",
    ]
    anat = run(participant_session, chosen, tmp_path)
    names = {path.name for path in anat.iterdir()}
    assert "sub-01_desc-preproc_T1w.nii.gz" in names
    runs = {
        "sub-01_ses-1_from-orig_to-T1w_mode-image_xfm.h5",
        "sub-01_ses-2_run-1_from-orig_to-T1w_mode-image_xfm.h5",
    }
    assert runs <= names
    about = sidecar(anat, "sub-01_desc-preproc_T1w.json")
    assert len(about["Sources"]) == 2
    moved = sidecar(anat, "sub-01_ses-2_run-1_from-orig_to-T1w_mode-image_xfm.json")
    assert moved["Sources"] == ["bids:raw:sub-01/ses-2/anat/sub-01_ses-2_run-1_T1w.nii.gz"]
    assert moved["SpatialReference"] == "bids::sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    assert "average of 2 images" in sidecar(anat, "sub-01_desc-aseg_volumes.json")["Notes"][0]


def derivatives_of_others(root, stages, grid_mm=5.0):
    """A mask, structures and tissues on a grid of their own, for a scan of the stages."""
    import torch

    from brainseg.models.geometry.volume import Volume, lattice, resample

    data = stages.scan()
    scan = Volume(torch.from_numpy(data.astype("f4")), stages.affine())
    mask = scan.with_data(torch.from_numpy(stages.mask_of(data)))
    found = stages.segmentation_of(scan, mask)
    grid = lattice(scan, grid_mm)
    anat = root / "sub-01" / "anat"
    anat.mkdir(parents=True)
    images = {"desc-brain_mask": mask, "desc-aseg_dseg": found.structures}
    for ending, volume in images.items():
        small = resample(volume, grid, mode="nearest").data.numpy()
        nib.save(nib.Nifti1Image(small.astype("i2"), grid.affine), anat / f"sub-01_{ending}.nii.gz")
    for name, volume in found.probabilities.items():
        small = resample(volume, grid).data.numpy()
        nib.save(nib.Nifti1Image(small, grid.affine), anat / f"sub-01_label-{name}_probseg.nii.gz")
    for way, matrix in ((f"from-T1w_to-{SPACE}", np.linalg.inv(SHIFT)), (f"from-{SPACE}_to-T1w", SHIFT)):
        itk.write(anat / f"sub-01_{way}_mode-image_xfm.h5", Warp((matrix,)))
    dseg = (mask.data.numpy() * 2).astype("i2")
    nib.save(nib.Nifti1Image(dseg, scan.affine), anat / "sub-01_dseg.nii.gz")
    return anat


def refuse(*_, **__):
    raise AssertionError("it was computed all the same")


@pytest.mark.slow
def test_given_results_are_used_and_recorded(scans_of, stages, tmp_path, monkeypatch):
    root = scans_of("sub-01_T1w")
    derivatives_of_others(tmp_path / "theirs", stages)
    monkeypatch.setattr(skullstrip, "skullstrip", refuse)
    monkeypatch.setattr(segmentation, "segment", refuse)
    chosen, (participant_session,) = participant_sessions(root, "-d", f"others={tmp_path / 'theirs'}")
    ways = {f"{way}:{SPACE}" for way in ("forward", "inverse")}
    assert set(participant_session.precomputed.files) == {
        "mask",
        "structures",
        "dseg",
        "GM",
        "WM",
        "CSF",
        *ways,
    }
    anat = run(participant_session, chosen, tmp_path)
    mask = image(anat / "sub-01_desc-brain_mask.nii.gz")[0]
    theirs = stages.mask_of(image(root / "sub-01" / "anat" / "sub-01_T1w.nii.gz")[0])
    assert 2 * (mask & theirs).sum() / (mask.sum() + theirs.sum()) > 0.93
    there = image(anat / "sub-01_desc-aseg_dseg.nii.gz")[0]
    assert len(np.unique(there)) > 30
    assert set(np.unique(image(anat / "sub-01_dseg.nii.gz")[0])) == {0, 2}
    sources = {
        "desc-brain_mask": "bids:others:sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "desc-aseg_dseg": "bids:others:sub-01/anat/sub-01_desc-aseg_dseg.nii.gz",
        "dseg": "bids:others:sub-01/anat/sub-01_dseg.nii.gz",
        "label-WM_probseg": "bids:others:sub-01/anat/sub-01_label-WM_probseg.nii.gz",
    }
    for way in (f"from-T1w_to-{SPACE}", f"from-{SPACE}_to-T1w"):
        sources[f"{way}_mode-image_xfm"] = f"bids:others:sub-01/anat/sub-01_{way}_mode-image_xfm.h5"
    for ending, uri in sources.items():
        assert sidecar(anat, f"sub-01_{ending}.json")["Sources"] == [uri]
    warp = itk.read(anat / f"sub-01_from-T1w_to-{SPACE}_mode-image_xfm.h5")
    np.testing.assert_allclose(warp.points(np.zeros((1, 3))), [[-4, 0, 8]], atol=1e-4)
    notes = sidecar(anat, "sub-01_desc-aseg_volumes.json")["Notes"]
    assert "The brain mask is precomputed: sub-01_desc-brain_mask.nii.gz." in notes
    description = json.loads((chosen.output_dir / "dataset_description.json").read_text())
    assert description["DatasetLinks"]["others"] == "../theirs"


@pytest.mark.slow
def test_a_given_mask_alone_leaves_the_rest_to_us(scans_of, stages, tmp_path, monkeypatch):
    root = scans_of("sub-01_T1w")
    anat = derivatives_of_others(tmp_path / "theirs", stages)
    for path in anat.iterdir():
        if "desc-brain_mask" not in path.name:
            path.unlink()
    monkeypatch.setattr(skullstrip, "skullstrip", refuse)
    chosen, (participant_session,) = participant_sessions(root, "-d", tmp_path / "theirs")
    assert participant_session.precomputed.uris == {
        "mask": "bids:theirs:sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    }
    anat = run(participant_session, chosen, tmp_path)
    assert "bids::" in sidecar(anat, "sub-01_dseg.json")["Sources"][0]


def test_which_given_files_count(scans_of, tmp_path):
    root = scans_of("sub-01_run-2_T1w")
    for name, files in {
        "a": ["sub-01_run-1_desc-brain_mask.nii.gz", "sub-01_run-2_desc-brain_mask.nii.gz"],
        "b": ["sub-01_run-2_dseg.nii.gz", "sub-01_run-2_label-GM_probseg.nii.gz"],
        "c": [
            "sub-01_space-MNI152NLin6Asym_desc-brain_mask.nii.gz",
            "sub-01_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5",
            "sub-01_from-T1w_to-elsewhere_mode-image_xfm.h5",
        ],
    }.items():
        anat = tmp_path / name / "sub-01" / "anat"
        anat.mkdir(parents=True)
        for file in files:
            (anat / file).touch()
    _, (participant_session,) = participant_sessions(root, "-d", *(f"{n}={tmp_path / n}" for n in "abc"))
    assert {k: v.name for k, v in participant_session.precomputed.files.items()} == {
        "mask": "sub-01_run-2_desc-brain_mask.nii.gz"
    }
    assert "its inverse is missing" in participant_session.notes[0]
    assert "WM, CSF missing" in participant_session.notes[1]
    assert "parcels of DesikanKilliany were left out" in participant_session.notes[2]  # no deformation there
    assert len(participant_session.notes) == 3
    (tmp_path / "c" / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii.gz").touch()
    (tmp_path / "c" / "sub-01" / "anat" / "sub-01_acq-y_desc-brain_mask.nii.gz").touch()
    _, (participant_session,) = participant_sessions(root, "-d", *(f"{n}={tmp_path / n}" for n in "abc"))
    assert "2 files could be the mask" in str(participant_session.problem)


def test_given_results_that_do_not_fit_are_refused(stages):
    import torch

    from brainseg.models.geometry.volume import Grid, Volume

    far = np.eye(4)
    far[:3, 3] = 500
    with pytest.raises(InputError, match="does not overlap the image"):
        given.mask(Volume(torch.ones(20, 20, 20), far), Grid((20, 20, 20), np.eye(4)))
    ones = Volume(torch.ones(20, 20, 20), np.eye(4))
    with pytest.raises(InputError, match="too few FreeSurfer ids"):
        given.segmentation(ones, ones)


@pytest.mark.parametrize("module", [given, precomputed])
def test_examples_are_true(module):
    assert doctest.testmod(module).failed == 0
