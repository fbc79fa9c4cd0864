"""The quality gate, and the two passes: masks first, then on from masks that a person corrected."""

import json

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.config.settings import build
from brainseg.bidsapp.inputs import select
from brainseg.bidsapp.inputs.precomputed import CORRECTED
from brainseg.bidsapp.reports import derivatives
from brainseg.bidsapp.reports.participant import write_participant
from brainseg.bidsapp.status import inputs, records
from brainseg.models.errors import UsageError
from helpers.fake_tree import relist
from helpers.graphs import participant_wf as chain


@pytest.fixture
def bids(fake, tmp_path):
    return fake.dataset(tmp_path / "bids")


def judge(out, key, verdict):
    """Leave what quality control would."""
    anat = out / key / "anat"
    (anat / f"{key}_desc-aseg_volumes.tsv").write_text("index\tname\tvolume_mm3\n")
    checks = [
        {"name": "sides", "label": "x", "value": 1, "unit": "", "verdict": verdict, "words": "A reason"}
    ]
    content = {"Verdict": verdict, "Score": 0.5, "Checks": checks, "Metrics": {}}
    (anat / f"{key}_desc-quality_metrics.json").write_text(json.dumps(content))
    relist(out, key)


@pytest.mark.slow
def test_gate_is_an_exit_code(app, bids, tmp_path, capsys):
    out = tmp_path / "out"
    assert app(bids, out, "participant", "--quality-gate") == 0  # nothing was judged
    judge(out, "sub-01", "pass")
    judge(out, "sub-02", "check")
    assert app(bids, out, "participant", "--quality-gate") == 0
    assert app(bids, out, "participant", "--quality-gate", "check") == 4
    judge(out, "sub-02", "fail")
    assert app(bids, out, "participant") == 0
    capsys.readouterr()
    assert app(bids, out, "participant", "--quality-gate") == 4
    told = "".join(capsys.readouterr())
    assert "sub-02: fail: A reason" in told and "1 of 2 did not pass" in told and "sub-01: fail" not in told
    # Who was not asked for is not looked at.
    assert app(bids, out, "participant", "--quality-gate", "--participant-label", "01") == 0


def test_failures_are_graver_than_the_gate(app, bids, tmp_path):
    out = tmp_path / "out"
    assert app(bids, out, "participant", sub_01={"segmentation": "raise"}) == 1
    judge(out, "sub-02", "fail")
    assert app(bids, out, "participant", "--quality-gate", sub_01={"segmentation": "raise"}) == 1


def test_gate_by_toml(bids, tmp_path):
    given = {"bids_dir": bids, "output_dir": tmp_path / "out", "analysis_level": "participant"}
    assert build(given | {"quality_gate": "check"}).quality_gate == "check"
    assert build(given).that_matter != build(given | {"stop_after": "skullstrip"}).that_matter


def run(workflow, folder):
    workflow.base_dir = str(folder)
    workflow.config["execution"] = {
        "create_report": "false",
        "crashdump_dir": str(folder),
        "remove_unnecessary_outputs": "false",
    }
    return {node.name: node for node in workflow.run(plugin="Linear").nodes}


@pytest.mark.slow
def test_masks_first_then_on_from_a_corrected_one(stages, tmp_path, monkeypatch):
    stages.install(monkeypatch.setattr)
    participant_session = stages.participant_session(tmp_path)
    first = run(chain(participant_session, stop_after="skullstrip"), tmp_path / "first")[
        "outputs"
    ].result.outputs
    anat = participant_session.out / "sub-01" / "anat"
    written = sorted(path.name for path in anat.iterdir())
    assert written == ["sub-01_desc-brain_mask.json", "sub-01_desc-brain_mask.nii.gz"]
    assert "stopped after the brain mask" in first.notes[0]
    assert json.loads((anat / written[0]).read_text())["MaskSource"] == "deepbet"

    # the page shows the mask over the image as acquired
    source = participant_session.source
    before = inputs.fingerprint(source, "01", checksums=True)
    outputs = [f"sub-01/anat/{name}" for name in written]
    content = {"state": "done", "reference": str(source), "outputs": outputs, "suffix": "T1w"}
    content |= {"inputs": before}
    records.write(participant_session.out, "sub-01", content)
    page = write_participant(participant_session.out, "sub-01").read_text()
    assert "Contour" in page and "could not be drawn" not in page
    assert derivatives.load(participant_session.out, "sub-01").qc_rating == ""

    # a person takes a corner away and saves the mask beside
    image = nib.load(anat / "sub-01_desc-brain_mask.nii.gz")
    mask = np.asarray(image.dataobj).copy()
    mask[: mask.shape[0] // 3] = 0
    nib.save(nib.Nifti1Image(mask, image.affine, image.header), anat / f"sub-01_{CORRECTED}")
    settings = build(
        {
            "bids_dir": participant_session.bids,
            "output_dir": participant_session.out,
            "analysis_level": "participant",
        }
    )
    found = select.select(settings).participant_sessions[0]
    assert found.precomputed.files["mask"].name == f"sub-01_{CORRECTED}"
    assert found.precomputed.uris["mask"] == f"bids::sub-01/anat/sub-01_{CORRECTED}"
    assert any("corrected by hand" in note for note in [*found.notes, *found.precomputed.notes])
    assert not inputs.unchanged(before, found)  # so it is computed again

    given = {role: str(path) for role, path in found.precomputed.files.items()}
    run(
        chain(participant_session, precomputed=given, precomputed_uris=found.precomputed.uris),
        tmp_path / "second",
    )
    after = np.asarray(nib.load(anat / "sub-01_desc-brain_mask.nii.gz").dataobj)
    assert np.array_equal(after > 0, mask > 0)
    assert (anat / "sub-01_desc-aseg_dseg.nii.gz").is_file()
    kept = np.asarray(nib.load(anat / f"sub-01_{CORRECTED}").dataobj)
    assert np.array_equal(kept, mask)  # the person's file is never written


def test_nothing_else_can_be_stopped_after(bids, tmp_path, capsys):
    from brainseg.bidsapp.cli.bids import parse

    with pytest.raises((SystemExit, UsageError)):
        parse([str(bids), str(tmp_path / "out"), "participant", "--stop-after", "bias"])
    assert "--stop-after" in capsys.readouterr().err
