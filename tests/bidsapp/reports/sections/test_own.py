"""Labels of a user's network on a participant's page."""

import io
import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brainseg.bidsapp.reports import derivatives
from brainseg.bidsapp.reports.participant import write_participant
from brainseg.bidsapp.reports.sections import own


@pytest.mark.slow
def test_labels_are_drawn_with_their_names_volumes_and_license(phantoms, tmp_path):
    folder = phantoms.participant_session(tmp_path, "sub-01")
    whole = nib.load(folder / "sub-01_desc-aseg_dseg.nii.gz")
    values = np.asarray(whole.dataobj)
    labels = np.where(values == 2, 3, np.where(values == 41, 2000, 0)).astype(np.int16)
    nib.save(nib.Nifti1Image(labels, whole.affine), folder / "sub-01_desc-mine_dseg.nii.gz")
    about = {"Network": {"Name": "mine", "License": "CC0-1.0"}}
    (folder / "sub-01_desc-mine_dseg.json").write_text(json.dumps(about))
    (folder / "sub-01_desc-mine_volumes.tsv").write_text(
        "index\tname\tvolume_mm3\n3\tleft side\t5000\n2000\tright side\t4000\n"
    )
    phantoms.relist(tmp_path, "sub-01")
    (tmp_path / "desc-mine_dseg.tsv").write_text(
        "index\tname\tcolor\n3\tleft side\t#00ff00\n2000\tright side\t<script>\n"
    )
    result = derivatives.load(tmp_path, "sub-01")
    assert own.endings(result) == ["desc-mine_dseg.nii.gz"]
    (found,) = own.context(result)
    assert found["license"] == "CC0-1.0" and [row["color"] for row in found["rows"]] == ["#00ff00", own.GRAY]
    page = write_participant(tmp_path, "sub-01").read_text()
    for words in ("Your labels", "left side", "License of the network: CC0-1.0."):
        assert words in page
    assert "<script>\t" not in page
    picture = Image.open(io.BytesIO(phantoms.figures(tmp_path, "sub-01")["sub-01_desc-minelines_dseg.png"]))
    assert {(0, 255, 0, 255), (160, 160, 160, 255)} <= {c for _, c in picture.convert("RGBA").getcolors()}
