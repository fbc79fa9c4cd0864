"""The specification of outputs: consistent, and the names that follow from it."""

import numpy as np
import pytest

from brainseg.bidsapp.config.settings import STEPS
from brainseg.models.data import FOLDER
from brainseg.models.io import outputs
from brainseg.models.population import labels

PROGRAMS = {"fMRIPrep", "NiBabies"}
SPACE = ("MNIInfant+2", "space-MNIInfant_cohort-2_res-1")
ALL = [*outputs.conditions()]


def test_entries_are_complete():
    for output in outputs.load().values():
        assert list(output.entities)[-2:] == ["suffix", "extension"], output.id
        assert set(output.when) <= set(outputs.conditions()), output.id
        assert set(output.lookup) <= PROGRAMS, output.id
        assert output.image in ("reference", "averaged", "other"), output.id
        assert bool(output.dtype) == (output.entities["extension"] == ".nii.gz"), output.id
        assert output.native or output.template, output.id
        if output.dtype not in ("", "source"):
            np.dtype(output.dtype)


def test_conditions_are_steps_or_facts():
    assert set(outputs.conditions()) - set(STEPS) == {
        "feta",
        "intracranial",
        "averaged",
        "own",
        "atlases",
        "smoothed",
    }
    used = {one for output in outputs.load().values() for one in output.when} | {"template-outputs"}
    assert used == set(outputs.conditions())


def test_labels_are_those_of_the_tables():
    assert outputs.load()["probseg"].labels == labels.DSEG_NAMES
    for names in outputs.label_tables().values():
        folders = FOLDER / "labels", FOLDER / "parcellations"
        assert all(any((folder / f"{name}.tsv").is_file() for folder in folders) for name in names)
    assert tuple(row.abbreviation for row in labels.load("dseg")) == labels.DSEG_NAMES
    known = {output.label_file for output in outputs.load().values()} - {""}
    assert known == set(outputs.label_tables())


@pytest.mark.parametrize("flavor", ["fmriprep", "nibabies", "both"])
def test_every_planned_name_is_found_again(flavor):
    planned = outputs.plan("T2w", ALL, [SPACE], flavor, atlases=["Schaefer100", "Lab"])
    assert len(planned) == len(set(planned))
    for name in planned:
        output = outputs.find(name)
        assert output is not None, name
        assert output.image == "reference"
        assert set(output.when) <= set(ALL)
    found = {outputs.find(name).id for name in planned}
    # By name alone the two directions of a transform are the same.
    known = {output.id for output in outputs.load().values() if output.image == "reference"}
    assert found == known - {"inverse_transform"}


def test_conditions_leave_files_out():
    least = outputs.plan("T1w", [], [SPACE])
    assert not [name for name in least if "probseg" in name or name.startswith("space-")]
    assert "from-T1w_to-MNIInfant+2_mode-image_xfm.h5" in least
    more = outputs.plan("T1w", ["lesion"], [])
    assert "label-lesion_mask.nii.gz" in more
    assert "label-lesion_probseg.nii.gz" not in more
    assert "space-MNIInfant_cohort-2_res-1_jacobian.nii.gz" in outputs.plan("T1w", ALL, [SPACE])
    assert "jacobian.nii.gz" not in outputs.plan("T1w", ALL, [SPACE])


def test_names_by_flavor():
    for flavor, mask in {"fmriprep": "desc-brain_mask", "nibabies": "space-T1w_desc-brain_mask"}.items():
        names = outputs.plan("T1w", ALL, [], flavor)
        assert f"{mask}.nii.gz" in names
        assert "desc-preproc_T1w.nii.gz" in names
        assert "label-lesion_probseg.nii.gz" in names


def test_names_of_another_contrast():
    own = outputs.plan_of_other("T1w", "T2w", "nibabies")
    assert own == [
        "desc-preproc_T2w.nii.gz",
        "from-T2w_to-T1w_mode-image_xfm.h5",
        "from-T1w_to-T2w_mode-image_xfm.h5",
    ]
