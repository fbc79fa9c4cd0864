"""Hand-off: what fMRIPrep and NiBabies find, by sMRIPrep's own query file, and what users are told of it."""

import doctest
import json
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from brainseg.bidsapp.cli import main
from brainseg.bidsapp.handoff import lookup
from brainseg.bidsapp.tools import check_derivatives
from brainseg.interfaces import coregistration
from helpers import TESTS

SPACE = "MNI152NLin2009cAsym"
GRAPH = TESTS / "helpers" / "fitted_graph.py"
COMPUTED = (
    "anat_template_wf",
    "brain_extraction_wf",
    "n4_only_wf",
    "fast",
    "register_template_wf",
    "binarize",
)
"""Nodes by which sMRIPrep computes what it was not given."""


@pytest.fixture(scope="module")
def make(stages, tmp_path_factory):
    """Return ``make("sub-01_T1w", flavor=..., key=...)``, which writes the derivatives of one scan."""
    with pytest.MonkeyPatch.context() as patch:
        stages.install(patch.setattr)

        def write(name="sub-01_T1w", into=None, **changes):
            participant_session = stages.participant_session(
                tmp_path_factory.mktemp("participant_session"), name
            )
            folder = tmp_path_factory.mktemp("work")
            changes = {"out_dir": str(into or participant_session.out), **changes}
            participant_session.write(str(folder), **changes)
            return participant_session._replace(
                out=Path(changes["out_dir"]), key=changes.get("key", participant_session.key)
            )

        yield write


@pytest.fixture(scope="module")
def single(make):
    return make()


@pytest.fixture(scope="module")
def both(make):
    """A T1w image of one of several acquisitions and runs, named for both programs, and a T2w image."""
    participant_session = make("sub-01_acq-mprage_run-2_T1w", flavor="both")
    add_t2w(participant_session, "both")
    return participant_session


@pytest.fixture(scope="module")
def sessions(make):
    first = make("sub-01_ses-a_T1w")
    make("sub-01_ses-b_T1w", into=first.out)
    return first


def add_t2w(participant_session, flavor):
    source = participant_session.source.with_name(participant_session.source.name.replace("T1w", "T2w"))
    shutil.copy(participant_session.source, source)
    about = participant_session.source.parents[2].parent / "work" / "rigid.json"
    about.write_text(
        json.dumps({"matrix": np.eye(4).tolist(), "degrees": 0, "shift_mm": 0, "information": 1.0})
    )
    coregistration.WriteCoregistered(
        source_file=str(participant_session.source),
        bids_root=str(participant_session.bids),
        out_dir=str(participant_session.out),
        key=participant_session.key,
        other_contrasts=[str(source)],
        flavor=flavor,
        in_files=[participant_session.inputs["in_preproc"]],
        in_natives=[participant_session.inputs["in_preproc"]],
        in_transforms=[str(about)],
    ).run(cwd=str(about.parent))


def collect(participant_session, spaces=(SPACE,), session=None):
    """sMRIPrep's own lookup."""
    bids = pytest.importorskip("smriprep.utils.bids")
    return bids.collect_derivatives(participant_session.out, "01", list(spaces), session_id=session)


def one_each(found):
    """Every key is one path, or the three tissues in order."""
    for key in ("t1w_preproc", "t1w_mask", "t1w_dseg"):
        assert isinstance(found[key], (str, Path)), key
    assert [path.split("label-")[1].split("_")[0] for path in map(str, found["t1w_tpms"])] == [
        "GM",
        "WM",
        "CSF",
    ]
    assert {key: isinstance(path, str) for key, path in found["transforms"][SPACE].items()} == {
        "forward": True,
        "reverse": True,
    }


def verdicts(found, program="fMRIPrep", key="sub-01"):
    return {verdict.stage: verdict.why for verdict in found.verdicts[program][key]}


def test_the_lookups_are_those_of_the_installed_program():
    smriprep = pytest.importorskip("smriprep")
    spec = json.loads(smriprep.load_data("io_spec.json").read_text())["queries"]
    names = {"t2w_preproc": "other_preproc"}
    theirs = {names.get(key, key): query for key, query in spec["baseline"].items()}
    assert lookup.queries("fMRIPrep") == theirs
    ends = {("T1w", None), (None, "T1w")}
    assert {(query["from"], query["to"]) for query in spec["transforms"].values()} == ends
    for query in spec["transforms"].values():
        assert {k: v for k, v in query.items() if k not in ("from", "to")} == lookup.TRANSFORM


@pytest.mark.parametrize("reference", ["T1w", "T2w"])
def test_the_lookups_are_those_of_the_installed_nibabies(reference):
    try:
        file = distribution("nibabies").locate_file("nibabies/data/io_spec_anat.json")
    except PackageNotFoundError:
        pytest.skip("nibabies is not installed")
    spec = json.loads(Path(file).read_text())["queries"]["baseline"]
    own = lookup.queries("NiBabies", reference)
    for key in ("preproc", "mask", "dseg", "tpms", "aseg"):
        assert own[key] == spec[f"{reference.lower()}_{key}"]


def test_one_path_for_each_key(single):
    one_each(collect(single))


def test_several_reconstructions_and_runs_leave_one_path_for_each_key(both):
    found = collect(both)
    one_each(found)
    assert Path(found["t2w_preproc"]).name == "sub-01_acq-mprage_run-2_desc-preproc_T2w.nii.gz"


@pytest.mark.slow
@pytest.mark.parametrize("session", ["a", "b"])
def test_sessions_have_their_own(sessions, session):
    one_each(collect(sessions, session=session))
    one_each(collect(sessions, session=[session]))


@pytest.mark.slow
def test_an_anatomy_merged_over_sessions_is_found_without_tracking_them(make, tmp_path):
    participant_session = make("sub-01_ses-1_T1w", key="sub-01")
    assert (participant_session.out / "sub-01" / "anat" / "sub-01_desc-preproc_T1w.nii.gz").is_file()
    one_each(collect(participant_session))
    # with sessions tracked, as is fMRIPrep's default, nothing is found: so users are told
    assert not collect(participant_session, session=["1", "2"]).get("t1w_preproc")
    found = lookup.check(participant_session.out)
    assert found.merged == ["sub-01"]
    (command,) = check_derivatives.commands(found, participant_session.out, "fMRIPrep")
    assert command.endswith("--fs-no-reconall --no-track-sessions")


@pytest.mark.slow
def test_cohorts_are_found(make, tmp_path):
    participant_session = make()
    anat = participant_session.out / "sub-01" / "anat"
    for path in sorted(anat.glob(f"*{SPACE}*_xfm.h5")):
        shutil.copy(path, path.with_name(path.name.replace(SPACE, "MNIInfant+2")))
    name = "MNIInfant:cohort-2"
    assert set(collect(participant_session, [name])["transforms"][name]) == {"forward", "reverse"}
    found = lookup.check(participant_session.out)
    assert found.spaces == [SPACE, name]
    assert verdicts(found)[f"registration to {name}"] == ""
    assert (
        f"--output-spaces {SPACE} {name}"
        in check_derivatives.commands(found, participant_session.out, "fMRIPrep")[0]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "extra", "key", "stage"),
    [
        ("dseg.nii.gz", "seg-own_dseg.nii.gz", "t1w_dseg", "tissue segmentation"),
        ("dseg.nii.gz", "res-2_dseg.nii.gz", "t1w_dseg", "tissue segmentation"),
        (
            "desc-preproc_T1w.nii.gz",
            "run-2_desc-preproc_T1w.nii.gz",
            "t1w_preproc",
            "conform and bias correction",
        ),
        ("desc-brain_mask.nii.gz", "label-CSF_desc-brain_mask.nii.gz", "t1w_mask", "skull-stripping"),
        ("label-GM_probseg.nii.gz", "label-GM_desc-x_probseg.nii.gz", "t1w_tpms", "tissue segmentation"),
        (
            f"from-T1w_to-{SPACE}_mode-image_xfm.h5",
            f"from-T1w_to-{SPACE}_mode-image_xfm.txt",
            "transforms",
            f"registration to {SPACE}",
        ),
        (
            f"from-T1w_to-{SPACE}_mode-image_xfm.h5",
            f"from-T1w_to-{SPACE}_mode-image_desc-x_xfm.h5",
            "transforms",
            f"registration to {SPACE}",
        ),
    ],
)
def test_one_file_too_many_is_told(single, tmp_path, source, extra, key, stage):
    participant_session = single._replace(out=tmp_path / "out")
    shutil.copytree(single.out, participant_session.out)
    anat = participant_session.out / "sub-01" / "anat"
    shutil.copy(anat / f"sub-01_{source}", anat / f"sub-01_{extra}")
    theirs = collect(participant_session)[key]
    theirs = theirs[SPACE]["forward"] if key == "transforms" else theirs
    assert len(theirs) == (4 if key == "t1w_tpms" else 2)
    told = verdicts(lookup.check(participant_session.out))
    assert "2 files match where one must" in told[stage]
    assert f"sub-01_{extra}" in told[stage]


def test_what_is_missing_or_wrong_is_told(single, tmp_path):
    import nibabel as nib

    out = tmp_path / "out"
    shutil.copytree(single.out, out)
    anat = out / "sub-01" / "anat"
    (anat / "sub-01_label-WM_probseg.nii.gz").unlink()
    (anat / f"sub-01_from-{SPACE}_to-T1w_mode-image_xfm.h5").write_bytes(b"no HDF5")
    (anat / "sub-01_dseg.json").write_text("")
    mask = nib.load(anat / "sub-01_desc-brain_mask.nii.gz")
    nib.save(mask.slicer[1:], anat / "sub-01_desc-brain_mask.nii.gz")
    found = lookup.check(out)
    told = verdicts(found)
    assert told["tissue segmentation"] == "there is no sub-01_label-WM_probseg.nii.gz"
    assert "has another grid than" in told["skull-stripping"]
    assert "cannot be read" in told[f"registration to {SPACE}"]
    assert "sub-01_dseg.json" in found.problems[0]
    assert "stops the indexing" in found.problems[0]


def test_labels_that_mean_something_else_are_told(single, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(single.out, out)
    anat = out / "sub-01" / "anat"
    shutil.copy(anat / "sub-01_desc-aseg_dseg.nii.gz", anat / "sub-01_dseg.nii.gz")
    assert "expected 1 gray matter" in verdicts(lookup.check(out))["tissue segmentation"]


@pytest.mark.slow
def test_flavors(single, both, make):
    why = verdicts(lookup.check(single.out), "NiBabies")
    assert why["skull-stripping"] == "there is no sub-01_space-T1w_desc-brain_mask.nii.gz"
    found = lookup.check(both.out)
    stages = ("conform and bias correction", "skull-stripping", "tissue segmentation")
    for program in lookup.PROGRAMS:
        told = verdicts(found, program)
        assert [told[stage] for stage in (*stages, f"registration to {SPACE}")] == [""] * 4, program
    assert told["structures"] == ""
    nibabies = make("sub-01_T1w", flavor="nibabies")
    add_t2w(nibabies, "nibabies")
    told = verdicts(lookup.check(nibabies.out), "NiBabies")
    assert set(told.values()) == {""}
    assert "alignment of T1w and T2w" in told
    assert verdicts(lookup.check(nibabies.out))["skull-stripping"].startswith("there is no")


def test_transforms_are_read_by_their_reader(both):
    from nitransforms.manip import load

    anat = both.out / "sub-01" / "anat"
    for name in (f"from-T1w_to-{SPACE}", "from-origT2w_to-T1w"):
        chain = load(anat / f"sub-01_acq-mprage_run-2_{name}_mode-image_xfm.h5", fmt="itk")
        assert np.isfinite(chain.map(np.zeros((1, 3)))).all()


@pytest.mark.slow
@pytest.mark.parametrize("tree", ["both", "sessions"])
def test_the_validator_finds_no_error(tree, request):
    program = shutil.which("bids-validator-deno") or str(
        Path(sys.executable).with_name("bids-validator-deno")
    )
    if not Path(program).is_file():
        pytest.skip("bids-validator-deno is not installed")
    out = request.getfixturevalue(tree).out
    done = subprocess.run([program, str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_their_workflow_computes_nothing_that_was_given(single):
    pytest.importorskip("smriprep")
    argv = [sys.executable, str(GRAPH), str(single.bids), str(single.out), "01", "-", SPACE]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    nodes = json.loads(done.stdout.splitlines()[-1])["nodes"]
    assert {"apply_mask", "anat_validate", "seg_buffer"} <= set(nodes)
    computed = [name for name in nodes if name.split(".")[0] in COMPUTED]
    assert computed == []


@pytest.mark.slow
def test_their_workflow_computes_what_is_lacking(single, tmp_path):
    """The same look at the graph sees the stages where they are needed: it would see them above."""
    pytest.importorskip("smriprep")
    out = tmp_path / "out"
    shutil.copytree(single.out, out)
    for path in out.glob("sub-01/anat/*"):
        if "_xfm" in path.name or "probseg" in path.name:
            path.unlink()
    argv = [sys.executable, str(GRAPH), str(single.bids), str(out), "01", "-", SPACE]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    computed = {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])["nodes"]}
    assert {"fast", "register_template_wf"} <= computed
    assert "brain_extraction_wf" not in computed


def test_the_command_says_it_all(sessions, capsys):
    assert main.main(["check-derivatives", str(sessions.out)]) == 0
    said = capsys.readouterr().out
    assert "skull-stripping" in said
    assert f"registration to {SPACE}" in said
    assert "brainseg-bids --derivatives-flavor both" in said
    command = next(line.strip() for line in said.splitlines() if line.strip().startswith("fmriprep "))
    assert command.split()[1] == str(sessions.bids)
    assert "--subject-anatomical-reference sessionwise" in command
    assert f"--derivatives brainseg={sessions.out}" in command
    assert f"--output-spaces {SPACE} --fs-no-reconall" in command


def test_transforms_of_another_contrast_are_told(single, make, tmp_path):
    """The space was computed: to ask for it again would change nothing."""
    out = tmp_path / "out"
    shutil.copytree(single.out, out)
    shutil.copytree(out / "sub-01", out / "sub-02")
    for path in [*(out / "sub-02").rglob("sub-01*")]:
        name = path.name.replace("sub-01", "sub-02")
        if "_xfm." in name:
            name = name.replace("-T1w_", "-FLAIR_")
        path.rename(path.with_name(name))
    found = lookup.check(out)
    assert found.of_others == {"sub-02": "FLAIR"}
    said = "\n".join(check_derivatives.lines(found, out))
    assert f"those to {SPACE} are of FLAIR (sub-02)" in said
    assert "run brainseg-bids --output-spaces" not in said
    assert "--derivatives-flavor both (or nibabies" in said
    for path in (out / "sub-02").rglob("*_xfm.*"):
        path.unlink()
    assert "run brainseg-bids --output-spaces" in check_derivatives.advice(lookup.check(out))


def test_those_without_a_t1w_image_are_told_once(single, tmp_path):
    """No stage counts as skipped for them, and no option would help."""
    out = tmp_path / "out"
    shutil.copytree(single.out, out)
    shutil.copytree(out / "sub-01", out / "sub-02")
    for path in [*(out / "sub-02").rglob("sub-01*")]:
        name = path.name.replace("sub-01", "sub-02").replace("T1w", "FLAIR")
        path.rename(path.with_name(name))
    said = "\n".join(check_derivatives.lines(lookup.check(out), out))
    assert "fMRIPrep needs a T1w image: not for sub-02\n" in said
    assert "mixed" not in said and "there is no *_desc-preproc_T1w" not in said
    command = next(line for line in said.splitlines() if line.startswith("  fmriprep "))
    assert command.endswith(" --participant-label 01") and f"--output-spaces {SPACE}" in command
    found = lookup.check(out, ["02"])
    assert found.verdicts == {"fMRIPrep": {}, "NiBabies": {}}
    said = "\n".join(check_derivatives.lines(found, out))
    assert "NiBabies needs a T1w image: not for sub-02 (--reference T2w for those with a T2w image)" in said
    assert "fMRIPrep cannot use these derivatives; see above." in said and "brainseg-bids" not in said


def test_the_command_tells_what_is_no_folder_of_derivatives(tmp_path, capsys):
    assert main.main(["check-derivatives", str(tmp_path / "nowhere")]) == 65
    assert "nowhere: the folder does not exist" in capsys.readouterr().err
    assert main.main(["check-derivatives", str(tmp_path)]) == 65
    assert "no anatomical derivatives" in capsys.readouterr().err


@pytest.mark.parametrize("module", [lookup, check_derivatives])
def test_examples_are_true(module):
    assert doctest.testmod(module).failed == 0
