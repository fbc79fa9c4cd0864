"""The plan of a run: the files that it lists are the files that are written."""

import gzip
import json
import re
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.bidsapp.config.settings import Settings
from brainseg.bidsapp.execution import dry_run
from brainseg.bidsapp.inputs.select import ParticipantSession, Selection
from brainseg.bidsapp.status import claims, records
from brainseg.interfaces import base
from brainseg.interfaces.coregistration import WriteCoregistered
from brainseg.models.io import outputs
from brainseg.models.population import labels, populations
from brainseg.models.templates import bundled

CASES = {
    "defaults": {},
    "nibabies": {"derivatives_flavor": "nibabies"},
    "both": {
        "derivatives_flavor": "both",
        "force": True,
        "steps": ("lesion", "hippocampus", "jacobian", "vbm"),
        "smooth": 8.0,
    },
    "least": {"force": True, "steps": ("lesion", "no-posteriors", "no-template-outputs", "no-parcels")},
}
SWITCHES = ("posteriors", "template-outputs", "jacobian", "vbm")


@pytest.fixture
def small_template(stages, monkeypatch):
    monkeypatch.setattr(bundled, "load", stages.small_template)


def extra(participant_session, settings, folder):
    """Return the sink's inputs of the optional steps."""
    volume = base.load(participant_session.inputs["in_preproc"])
    parts = base.save(
        volume.with_data(torch.ones(volume.grid.shape, dtype=torch.uint8)), folder / "parts.nii"
    )
    measured = folder / "intracranial.json"
    measured.write_text(json.dumps({"volume": 1.5e6, "reason": "", "outside": 0.0}))
    out = {"in_intracranial": str(measured), "in_intracranial_mask": parts}
    if settings.step("hippocampus"):
        table = folder / "parts.json"
        table.write_text(json.dumps({row.index: 1.0 for row in labels.load("hippocampus") if row.index}))
        out |= {"in_hippocampus": parts, "in_hippocampus_volumes": str(table)}
    if settings.step("parcels"):
        table = folder / "atlas.json"
        about = {"label": "DesikanKilliany", "space": "MNI152NLin2009cAsym", "file": "", "whole": True}
        about |= {"about": {}, "columns": [], "parcels": [], "rows": [], "filled": 0, "left": 0}
        table.write_text(json.dumps(about))
        out |= {"in_parcels": [parts], "in_parcel_tables": [str(table)]}
    if settings.step("lesion"):
        table = folder / "lesions.json"
        about = {"contrast": "T2w", "image": str(participant_session.source), "license": "x", "lesions": []}
        table.write_text(json.dumps(about))
        out["in_lesions"] = [parts, participant_session.inputs["in_preproc"], str(table)]
    return out


def write(participant_session, settings, folder):
    """Write the derivatives of an image and of a T2w image in the same session."""
    other = participant_session.source.with_name(participant_session.source.name.replace("T1w", "T2w"))
    shutil.copy(participant_session.source, other)
    matrix = folder / "rigid.json"
    rigid = {"matrix": np.eye(4).tolist(), "degrees": 0, "shift_mm": 0, "information": 1.0}
    matrix.write_text(json.dumps(rigid))
    common = {k: participant_session.inputs[k] for k in ("source_file", "bids_root", "out_dir", "key")}
    WriteCoregistered(
        **common,
        other_contrasts=[str(other)],
        flavor=settings.derivatives_flavor,
        in_files=[participant_session.inputs["in_preproc"]],
        in_natives=[participant_session.inputs["in_preproc"]],
        in_transforms=[str(matrix)],
    ).run(cwd=str(folder))
    participant_session.write(
        str(folder),
        **extra(participant_session, settings, folder),
        flavor=settings.derivatives_flavor,
        leave_out=[name for name in SWITCHES if not settings.step(name)],
        smooth=settings.smooth or 0.0,
    )
    return other


@pytest.mark.parametrize("case", CASES)
def test_the_listed_files_are_written(stages, small_template, tmp_path, case):
    participant_session = stages.participant_session(tmp_path)
    settings = Settings(participant_session.bids, participant_session.out, ("participant",), **CASES[case])
    other = write(participant_session, settings, tmp_path)
    planned = dry_run.planned(
        settings, ParticipantSession("01", None, participant_session.source, "T1w", other_contrasts=[other])
    )
    found = {
        path.relative_to(participant_session.out).as_posix()
        for path in participant_session.out.rglob("anat/*")
    }
    described = {name for name in found if name.endswith(".json") and not name.endswith("_metrics.json")}
    assert sorted(planned) == sorted(found - described)
    # Every file is in the specification and has a sidecar where the specification says so.
    for name in planned:
        ending = name.partition("/anat/sub-01_")[2].removeprefix("space-T1w_")
        output = outputs.find(ending)
        assert output is not None, name
        assert not output.json or outputs.sidecar(name) in found, name


def test_the_prefix_without_sessions_and_of_averages(tmp_path):
    settings = Settings(tmp_path, tmp_path / "out", ("participant",))
    image = tmp_path / "sub-01_ses-1_run-2_T1w.nii.gz"
    merged = dry_run.planned(settings, ParticipantSession("01", None, image, "T1w"))
    assert "sub-01/anat/sub-01_run-2_desc-brain_mask.nii.gz" in merged
    averaged = dry_run.planned(settings, ParticipantSession("01", "1", image, "T1w", averaged=[image]))
    assert "sub-01/ses-1/anat/sub-01_ses-1_desc-brain_mask.nii.gz" in averaged
    transform = "sub-01/ses-1/anat/sub-01_ses-1_run-2_from-orig_to-T1w_mode-image_xfm.h5"
    assert transform in averaged


def test_the_cranial_cavity_is_listed_where_there_is_a_network(tmp_path, monkeypatch):
    settings = Settings(tmp_path, tmp_path / "out", ("participant",))
    participant_session = ParticipantSession("01", None, tmp_path / "sub-01_T1w.nii.gz", "T1w")
    name = "sub-01/anat/sub-01_label-intracranial_mask.nii.gz"
    assert name in dry_run.planned(settings, participant_session)
    assert name not in dry_run.planned(replace(settings, skull_strip="skip"), participant_session)
    record = replace(populations.load("adult"), intracranial="")
    monkeypatch.setattr(dry_run.options, "record", lambda *_: record)
    assert name not in dry_run.planned(settings, participant_session)


def test_conditions_of_a_fetal_brain(tmp_path):
    settings = Settings(tmp_path, tmp_path / "out", ("participant",), steps=("hippocampus", "lesion"))
    participant_session = ParticipantSession(
        "01", None, tmp_path / "sub-01_T2w.nii.gz", "T2w", population="fetal", label_table="fetal"
    )
    names = dry_run.planned(settings, participant_session)
    assert "sub-01/anat/sub-01_desc-feta_dseg.nii.gz" in names
    assert not [name for name in names if "lesion" in name or "hippocampus" in name]


def test_steps_that_the_images_do_not_allow_are_told_before_the_run(app, fake, tmp_path, capsys):
    bids = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"])
    flair = bids / "sub-02" / "anat" / "sub-02_FLAIR.nii.gz"
    shutil.copy(next((bids / "sub-02" / "anat").glob("*_T1w.nii*")), flair)
    words = ("--steps", "lesion", "hippocampus", "--participant-label")
    first = _plan(app, bids, tmp_path / "out", capsys, *words, "01")
    assert "note: The step lesion was left out: it needs a FLAIR image." in first
    assert "The networks for lesions" not in first and "hippocampus was left out" not in first
    second = _plan(app, bids, tmp_path / "out", capsys, *words, "02")
    assert "lesion was left out" not in second and "The networks for lesions" in second
    third = _plan(app, bids, tmp_path / "out", capsys, *words, "02", "--modalities", "FLAIR")
    assert "hippocampus was left out: its network supports T1w images only, and this one is FLAIR" in third
    stopped = _plan(app, bids, tmp_path / "out", capsys, *words, "01", "--stop-after", "skullstrip")
    assert "left out" not in stopped and "The networks for lesions" not in stopped


def test_only_the_mask_if_the_run_stops_there(tmp_path):
    settings = Settings(tmp_path, tmp_path / "out", ("participant",), stop_after="skullstrip")
    participant_session = ParticipantSession("01", None, tmp_path / "sub-01_T1w.nii.gz", "T1w")
    assert dry_run.planned(settings, participant_session) == ["sub-01/anat/sub-01_desc-brain_mask.nii.gz"]


def test_only_the_networks_of_the_run_are_listed(app, fake, tmp_path, capsys):
    bids = fake.dataset(tmp_path / "bids", ["sub-01"])

    def networks(*argv):
        assert app(bids, tmp_path / "out", "participant", "--dry-run", *argv) == 0
        (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("Networks")]
        return re.findall(r"([a-z-]+) \(\d", line)

    common = ["head-coarse", "skullstrip", "deepbet", "intracranial", "segmentation"]
    assert networks() == [*common, "registration"]
    assert "lesion" in networks("--steps", "lesion")
    assert "registration" not in networks("--registration", "ants")
    assert "segmentation" not in networks("--stop-after", "skullstrip")
    assert not [name for name in networks("--steps", "lesion") if name.startswith(("fetal", "hippocampus"))]


def test_the_templates_of_the_populations_are_listed(app, fake, tmp_path, capsys):
    bids = fake.dataset(tmp_path / "bids", ["sub-01"])
    assert app(bids, tmp_path / "out", "participant", "--dry-run", "--population", "fetal") == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("Templates")]
    assert line.startswith("Templates   BrainsegFetal (")


@pytest.mark.parametrize("case", ["cut", "flat", "lost", "text"])
def test_an_image_that_its_header_shows_to_be_unusable_would_fail(app, fake, tmp_path, capsys, case):
    """Only the header and the size of the file are read; the other participants go on."""
    bids = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02", "sub-03"])
    path = bids / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    image = nib.load(path)
    if case == "cut":
        large = nib.Nifti1Image(np.zeros((300, 300, 300), np.int16), np.eye(4))
        path.write_bytes(gzip.compress(large.to_bytes()[:4000]))
        reason = "300x300x300 voxels cannot be in it"
    elif case == "flat":
        nib.save(image.slicer[..., :1], path)
        reason = "it is a 2-D image"
    elif case == "lost":
        header = image.header.copy()
        header["sform_code"] = header["qform_code"] = 0
        nib.Nifti1Image(np.asarray(image.dataobj), None, header).to_filename(path)
        reason = "its header says nothing of orientation"
    else:
        path.write_text("not an image")
        reason = "not a readable NIfTI file"
    assert app(bids, tmp_path / "out", "participant", "--dry-run", "--skip-bids-validation") == 0
    out = capsys.readouterr().out
    (line,) = [x for x in out.splitlines() if "would fail" in x and "sub-02" in x]
    assert reason in line
    assert "3 selected, 1 of them would fail" in out
    assert out.count("would be processed") == 2


def test_label_tables_of_the_steps_of_a_run(tmp_path):
    """Tables of files that no participant gets are left out."""

    def tables(*participant_sessions, **options):
        settings = Settings(tmp_path, tmp_path / "out", ("participant",), **options)
        return dry_run.label_files(settings, Selection(list(participant_sessions), []))

    adult = ParticipantSession("01", None, tmp_path / "sub-01_T1w.nii.gz", "T1w")
    fetal = ParticipantSession(
        "02", None, tmp_path / "sub-02_T2w.nii.gz", "T2w", population="fetal", label_table="fetal"
    )
    common = {"desc-aseg_dseg.tsv", "desc-tissue_dseg.tsv", "dseg.tsv"}
    assert tables(adult) == common | {"desc-aparcaseg_dseg.tsv"}
    assert tables(adult, registration="none") == common, "no parcels without a registration that deforms"
    assert tables(adult, steps=("hippocampus", "no-parcels")) == common | {"desc-hippocampus_dseg.tsv"}
    assert tables(adult, fetal, steps=("no-parcels",)) == common | {"desc-feta_dseg.tsv"}
    assert tables(fetal) == common | {"desc-feta_dseg.tsv"}
    assert tables(adult, stop_after="skullstrip") == set()


def _plan(app, bids, out, capsys, *argv):
    assert app(bids, out, "participant", *argv, "--dry-run") == 0
    return capsys.readouterr().out


def test_what_is_at_work_elsewhere_would_be_skipped_and_without_results_run_again(
    app, fake, tmp_path, capsys
):
    bids, out = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02", "sub-03"]), tmp_path / "out"
    records.write(out, "sub-01", {"state": "running", "stage": "bias"})
    records.write(out, "sub-02", {"state": "failed", "stage": "conform"})
    records.write(out, "sub-03", {"state": "failed", "stage": "bias"})
    with claims.Claims(out) as others:
        assert others.take("sub-01")
        said = _plan(app, bids, out, capsys)
    assert "sub-01  would be skipped: another process is processing it" in said
    assert "sub-02  would run again" in said and "sub-03  would resume" in said
    assert "sub-01  would resume" in _plan(app, bids, out, capsys)


def test_a_work_folder_that_cannot_be_made_is_refused(app, fake, tmp_path, capsys):
    bids, out = fake.dataset(tmp_path / "bids", ["sub-01"]), tmp_path / "out"
    (tmp_path / "file").touch()
    for more in ([], ["--dry-run"]):
        assert app(bids, out, "participant", "--work-dir", tmp_path / "file", *more) == 2
        assert "the work folder is a file" in capsys.readouterr().err
        assert not out.exists(), "nothing is written before"
    _plan(app, bids, out, capsys, "--work-dir", str(tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()


def test_the_tables_of_the_study(app, fake, tmp_path, capsys):
    bids, out = fake.dataset(tmp_path / "bids", ["sub-01"]), tmp_path / "out"
    tables = "Group level: group_volumes.tsv, group_quality.tsv, group_parcels.tsv"
    said = _plan(app, bids, out, capsys, "group", "--nprocs", "1")
    assert f"{tables}, group.html, index.html and further tables (group_*.tsv)" in said
    assert f"{tables} and further tables" in _plan(app, bids, out, capsys, "group", "--no-pages")
    assert "1 CPU (1 for one step)" in said


def test_a_column_that_is_not_there_is_told_before_the_run(app, fake, tmp_path, capsys):
    bids, out = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"]), tmp_path / "out"
    assert app(bids, out, "group", "--group-by", "arm", "--dry-run") == 0, "nothing is known yet"
    assert app(bids, out, "participant") == 0
    assert app(bids, out, "group", "--group-by", "arm", "--dry-run") == 2
    assert "--group-by: there is no column 'arm'" in capsys.readouterr().err
    (bids / "participants.tsv").write_text("participant_id\tarm\nsub-01\tA\nsub-02\tB\n")
    assert app(bids, out, "group", "--group-by", "arm", "--dry-run") == 0, "the study got it since"
