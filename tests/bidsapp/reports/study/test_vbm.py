"""Mean and mask of modulated maps over a study."""

import json

import nibabel as nib
import numpy as np

from brainseg.bidsapp.reports import derivatives
from brainseg.bidsapp.reports.study import vbm

NAME = "space-MNIInfant_cohort-2_label-GM_desc-modulated_probseg.nii.gz"


def test_mean_and_mask_of_the_study(tmp_path):
    for number, shape in ((1, (4, 4, 4)), (2, (4, 4, 4)), (3, (5, 4, 4))):
        anat = tmp_path / f"sub-{number}" / "anat"
        anat.mkdir(parents=True)
        (anat / f"sub-{number}_desc-aseg_volumes.tsv").write_text("index\tvolume_mm3\n")
        data = np.zeros(shape, np.float32)
        data[1:3] = 0.3 * number
        nib.save(nib.Nifti1Image(data, np.diag([2.0, 2, 2, 1])), anat / f"sub-{number}_{NAME}")
    written = [path.name for path in vbm.write(tmp_path, derivatives.load_all(tmp_path))]
    start = "group_space-MNIInfant_cohort-2_label-GM"
    assert written == [f"{start}_desc-mean_probseg.nii.gz", f"{start}_mask.nii.gz"]
    mean, mask = (np.asarray(nib.load(tmp_path / name).dataobj) for name in written)
    assert np.allclose(mean[1:3], 0.45) and not mean[0].any()
    assert np.array_equal(mask, mean > 0.2)
    about = json.loads((tmp_path / f"{start}_desc-mean_probseg.json").read_text())
    assert about["ParticipantSessions"] == ["sub-1", "sub-2"]
    assert about["OnAnotherGrid"] == ["sub-3"] and about["Description"].endswith("2 participant-sessions")
    vbm.write(tmp_path, derivatives.load_all(tmp_path)[:1])
    about = json.loads((tmp_path / f"{start}_desc-mean_probseg.json").read_text())
    assert about["Description"].endswith("of 1 participant-session")
    assert vbm.write(tmp_path, []) == []
    assert not list(tmp_path.glob("group_*"))


def test_maps_of_an_earlier_run_are_left_out(tmp_path, phantoms):
    for key in ("sub-1", "sub-2"):
        anat = phantoms.participant_session(tmp_path, key, pictures=False)
        image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
        nib.save(image, anat / f"{key}_{NAME}")
        (anat / f"{key}_{NAME.replace('nii.gz', 'json')}").write_text("{}")
    phantoms.relist(tmp_path, "sub-1")
    results = derivatives.load_all(tmp_path)
    written = vbm.write(tmp_path, results)
    about = json.loads(written[0].with_name(written[0].name.replace("nii.gz", "json")).read_text())
    assert about["ParticipantSessions"] == ["sub-1"]
    (note,) = derivatives.notes_of(results[1])
    assert note == f"Left out, as an earlier run wrote them and the last one did not: sub-2_{NAME}."
    assert (tmp_path / "sub-2" / "anat" / f"sub-2_{NAME}").is_file()
    assert not any("Left out" in note for note in derivatives.notes_of(results[0]))
