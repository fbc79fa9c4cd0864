"""Which image is the reference: a whole head without contrast agent, and the dry run says why."""

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.cli.bids import main, parse
from brainseg.bidsapp.inputs import select

HEAD, SLAB = (16, 20, 16), (16, 20, 6)
"""Shapes of voxels of 10 mm."""


@pytest.fixture
def scans(tmp_path):
    """Makes a dataset of one participant: shapes by name (None: an empty file), and the slices (mm)."""

    def make(slices=10.0, **shapes):
        folder = tmp_path / "bids" / "sub-01" / "anat"
        folder.mkdir(parents=True)
        (tmp_path / "bids" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
        for name, shape in shapes.items():
            path = folder / f"sub-01_{name.replace('__', '-')}.nii.gz"
            if shape is None:
                path.touch()
            else:
                affine = np.diag([10.0, 10, slices if shape == HEAD else 10, 1])
                nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), affine), path)
        return tmp_path / "bids"

    return make


def _select(root, *argv):
    chosen = parse([str(root), str(root.parent / "out"), "participant", *argv])
    return select.select(chosen).participant_sessions[0]


@pytest.mark.parametrize(
    ("weak", "good"),
    [
        *(("ce__gadolinium_T1w", "run__1_T1w"), ("acq__postGd_T1w", "acq__preGd_T2w")),
        *(("acq__localizer_T1w", "acq__mprage_T1w"), ("acq__3planeLoc_T1w", "run__1_T1w")),
        *(
            ("acq__hippocampus_T2w", "FLAIR"),
            ("acq__cspine_T1w", "T2w"),
            ("acq__HighResHippo_T2w", "run__1_T2w"),
        ),
    ],
)
def test_contrast_agent_and_parts_of_the_head_come_last_by_name(scans, weak, good):
    ps = _select(scans(**{weak: None, good: None}))
    weak, good = (f"sub-01_{name.replace('__', '-')}.nii.gz" for name in (weak, good))
    assert ps.image.name == good
    assert any(f"{good} is the reference, not {weak}: its name says" in note for note in ps.notes)


def test_a_slab_comes_last_by_its_field_of_view(scans):
    ps = _select(scans(run__1_T1w=SLAB, run__2_T1w=SLAB, run__3_T1w=HEAD, T2w=HEAD))
    assert ps.image.name == "sub-01_run-3_T1w.nii.gz"
    (note,) = ps.notes
    assert "not sub-01_run-1_T1w.nii.gz: its field of view is only 60 mm wide" in note


def test_a_weak_image_alone_is_used_and_told(scans):
    ps = _select(scans(acq__localizer_T1w=SLAB))
    assert ps.image.name == "sub-01_acq-localizer_T1w.nii.gz" and ps.problem is None
    assert any(
        "a part of the head, and there is no other image: check the results" in note for note in ps.notes
    )


def test_thick_slices_do_not_go_before_a_fine_scan_with_contrast_agent(scans):
    root = scans(ce__gad_T1w=None, FLAIR=HEAD)
    thin = nib.Nifti1Image(np.zeros((100, 100, 100), np.int16), np.eye(4))
    nib.save(thin, root / "sub-01" / "anat" / "sub-01_ce-gad_T1w.nii.gz")
    assert _select(root).image.name == "sub-01_ce-gad_T1w.nii.gz"


def test_only_equals_are_averaged(scans):
    root = scans(ce__gad_T1w=HEAD, run__1_T1w=HEAD, run__2_T1w=HEAD, run__3_T1w=SLAB)
    ps = _select(root, "--subject-anatomical-reference", "unbiased")
    assert [path.name for path in ps.averaged] == ["sub-01_run-1_T1w.nii.gz", "sub-01_run-2_T1w.nii.gz"]


@pytest.mark.parametrize("label", ["highcontrast", "headneck", "HCP", "postop", "lowdose", "localshim"])
def test_other_names_keep_their_place(scans, label):
    ps = _select(scans(**{f"acq__{label}_T1w": None, "run__1_T1w": None}))
    assert ps.image.name == f"sub-01_acq-{label}_T1w.nii.gz" and ps.notes == []


def test_the_dry_run_says_why_the_reference_was_chosen(scans, tmp_path, capsys):
    root = scans(run__1_T1w=HEAD, run__2_T1w=HEAD, T2w=HEAD, ce__gad_T1w=HEAD)
    work = ["-w", str(tmp_path / "work")]
    assert main([str(root), str(tmp_path / "out"), "participant", "--dry-run", *work]) == 0
    said = capsys.readouterr().out
    assert "chosen: the first T1w of 2 by name, which is preferred to T2w, before 1 of lower rank" in said
    assert "not sub-01_ce-gad_T1w.nii.gz: its name says that it was made with a contrast agent" in said
