"""Other contrasts on the participant's page."""

import doctest
import json
import re

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.reports import derivatives
from brainseg.bidsapp.reports.participant import write_participant
from brainseg.bidsapp.reports.sections import coregistration


@pytest.fixture(scope="module")
def out(phantoms, tmp_path_factory):
    """A participant-session with a T2w image beside its T1w image, and the page."""
    out = tmp_path_factory.mktemp("derivatives")
    precomputed = {"mask": "/x/sub-01_desc-brain_mask.nii.gz"}
    phantoms.participant_session(
        out, "sub-01", other_contrasts=["/data/sub-01/anat/sub-01_acq-x_T2w.nii.gz"], precomputed=precomputed
    )
    anat = out / "sub-01" / "anat"
    image = nib.load(anat / "sub-01_desc-preproc_T1w.nii.gz")
    data = 255 - np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(data, image.affine), anat / "sub-01_acq-x_desc-preproc_T2w.nii.gz")
    about = {"Rotation": 2.34, "Translation": 3.21, "SkullStripped": False}
    (anat / "sub-01_acq-x_desc-preproc_T2w.json").write_text(json.dumps(about))
    phantoms.relist(out, "sub-01")
    write_participant(out, "sub-01")
    return out


@pytest.mark.slow
def test_they_are_shown_with_how_they_moved(out, phantoms):
    page = (out / "sub-01.html").read_text()
    assert 'id="contrasts"' in page
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "sub-01_acq-x_T2w (rotation 2.3°, translation 3.2 mm)" in text
    assert "Precomputed brain mask" in text
    shown = re.findall(r'data-figure="([^"]*coregistered[^"]*)"', page)
    assert shown and all(len(phantoms.figures(out, "sub-01")[name]) > 1000 for name in shown)
    assert page.count("desc-coregistered_T2w.webp") == 1


def test_the_reference_is_not_mistaken(phantoms, tmp_path):
    """FLAIR comes before T1w in the alphabet, and may have the same prefix."""
    phantoms.participant_session(tmp_path, "sub-01")
    anat = tmp_path / "sub-01" / "anat"
    for kind in ("nii.gz", "json"):
        source = anat / f"sub-01_desc-preproc_T1w.{kind}"
        (anat / f"sub-01_desc-preproc_FLAIR.{kind}").write_bytes(source.read_bytes())
    phantoms.relist(tmp_path, "sub-01")
    result = derivatives.load(tmp_path, "sub-01")
    assert result.suffix == "T1w"
    assert result.file("desc-preproc_*.nii.gz").name == "sub-01_desc-preproc_T1w.nii.gz"
    assert [suffix for suffix, _ in coregistration.found(result)] == ["FLAIR"]
    (tmp_path / "logs" / "status" / "sub-01.json").unlink()
    assert derivatives.load(tmp_path, "sub-01").suffix == "T1w"


@pytest.mark.slow
def test_without_others_there_is_no_section(phantoms, tmp_path):
    phantoms.participant_session(tmp_path, "sub-01")
    assert 'id="contrasts"' not in write_participant(tmp_path, "sub-01").read_text()


def test_examples_are_true():
    assert doctest.testmod(coregistration).failed == 0
