"""What users expect of a command line: every flag, the same in a file, and what it does."""

import json
import tomllib

import pytest

from brainseg.bidsapp.cli import bids as cli
from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.config import plugin_file, settings
from brainseg.bidsapp.status import records
from brainseg.models.errors import UsageError
from helpers.graphs import participant_wf

EXPECTED = {
    *("--participant-label", "--session-label", "--subject-anatomical-reference", "--bids-filter-file"),
    *("--skip-bids-validation", "--bids-database-dir", "--nprocs", "--omp-nthreads", "--mem", "--device"),
    *(
        "--n-gpus",
        "--nipype-plugin-file",
        "--modalities",
        "--effort",
        "--population",
        "--output-spaces",
        "--skull-strip",
    ),
    *("--registration", "--registration-refine", "--steps", "--derivatives", "--derivatives-flavor"),
    *("--work-dir", "--keep-work-dir", "--resume", "--no-resume", "--resume-failed", "--stop-on-first-crash"),
    *("--reports-only", "--boilerplate-only", "--dry-run", "--config-file", "--sloppy", "--random-seed"),
    *(
        "--quality-gate",
        "--write-graph",
        "--verbose",
        "--version",
        "--debug",
        "--notrack",
        "--help",
        "--completion",
    ),
    *("-d", "-w", "-v", "-h"),
}
VALUES = {
    "participant_label": ["01", "02"],
    "session_label": ["a"],
    "subject_anatomical_reference": "unbiased",
    "skip_bids_validation": True,
    "nprocs": 1,
    "omp_nthreads": 1,
    "mem": "700M",
    "device": "cuda:1",
    "n_gpus": 2,
    "modalities": ["T2w"],
    "population": "adult",
    "skull_strip": "force",
    "effort": "accurate",
    "steps": ["no-posteriors"],
    "derivatives_flavor": "both",
    "keep_work_dir": True,
    "resume": False,
    "resume_failed": True,
    "stop_on_first_crash": True,
    "reports_only": True,
    "boilerplate_only": True,
    "dry_run": True,
    "sloppy": True,
    "random_seed": 7,
    "write_graph": True,
    "verbose": 2,
    "debug": True,
    "plugin": "linear",
}
BASE = ["/data/bids", "/data/out", "participant"]


def flags():
    return {flag: action for action in cli.parser().arguments for flag in action.option_strings}


def test_every_flag_that_users_expect_is_there():
    assert sorted(EXPECTED - set(flags())) == []


def test_all_of_them_are_explained_in_groups():
    for title, arguments in cli.parser().sections.items():
        assert title
        assert all(action.help for action in arguments)


@pytest.mark.parametrize("name", VALUES)
def test_a_file_says_the_same_as_the_command_line(name, tmp_path):
    value = VALUES[name]
    path = tmp_path / "my.toml"
    path.write_text(f"{name} = {json.dumps(value)}\n")
    assert tomllib.loads(path.read_text()) == {name: value}
    flag = f"--{name.replace('_', '-')}"
    argv = {True: [flag], False: [f"--no-{name}"]}.get(value if isinstance(value, bool) else None)
    if name == "verbose":
        argv = ["-vv"]
    elif argv is None:
        argv = [flag, *map(str, value if isinstance(value, list) else [value])]
    said = parse([*BASE, *argv])
    assert parse([*BASE, "--config-file", str(path)]) == said
    assert said != parse(BASE) or name in ("nprocs", "omp_nthreads")


@pytest.mark.parametrize("name", cli.parser().former)
def test_former_names_of_options_mean_the_same(name, tmp_path, capsys):
    present = cli.parser().former[name]
    path = tmp_path / "earlier.toml"
    path.write_text(f'{name.removeprefix("--")} = "accurate"\n')
    expected = parse([*BASE, present, "accurate"])
    assert expected != parse(BASE)
    assert parse([*BASE, name, "accurate"]) == parse([*BASE, "--config-file", str(path)]) == expected
    with pytest.raises(SystemExit):
        parse(["--help"])
    assert f"{name} " not in capsys.readouterr().out


def test_names_of_folders_and_files_in_a_file(tmp_path):
    (tmp_path / "theirs").mkdir()
    path = tmp_path / "my.toml"
    path.write_text(f'derivatives = ["x={tmp_path / "theirs"}"]\nwork_dir = "{tmp_path / "w"}"\n')
    chosen = parse([*BASE, "--config-file", str(path)])
    assert chosen.precomputed == {"x": tmp_path / "theirs"}
    assert chosen.work_dir == tmp_path / "w"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["-d", "/nowhere"], ["/nowhere", "no such folder"]),
        (["-d", "a=/", "a=/tmp"], ["two folders are named 'a'"]),
        (["--steps", "lesionz"], ["lesionz", "coregistration"]),
    ],
)
def test_what_cannot_be_is_refused(argv, words):
    with pytest.raises(UsageError) as caught:
        parse([*BASE, *argv])
    assert all(word in str(caught.value) for word in words)


def test_the_last_word_on_a_step_counts():
    chosen = parse([*BASE, "--steps", "no-posteriors,no-coregistration", "coregistration"])
    assert chosen.step("coregistration")
    assert not chosen.step("posteriors")
    assert all(name in settings.STEPS for name in ("posteriors", "template-outputs"))


def test_nobody_is_told(app, fake, tmp_path):
    bids = fake.dataset(tmp_path / "bids", ["sub-01"])
    assert app(bids, tmp_path / "out", "participant", "--notrack") == 0


def test_only_what_failed_is_run_again(app, fake, tmp_path, capsys):
    bids, out = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02", "sub-03"]), tmp_path / "out"
    labels = ["--participant-label", "01", "02"]
    assert app(bids, out, "participant", *labels, sub_01={"segmentation": "raise"}) == 1
    before = len(app.calls())
    assert app(bids, out, "participant", "--resume-failed", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "sub-01  would resume" in said
    assert "sub-03  not failed in an earlier run, skipped" in said
    assert app(bids, out, "participant", "--resume-failed") == 0
    assert {line.split()[0] for line in app.calls()[before:]} == {"sub-01"}
    assert records.read(out, "sub-01")["state"] == "done"
    assert records.read(out, "sub-03") == {}


def test_another_plugin_of_nipype(app, fake, tmp_path, capsys):
    bids, out = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"]), tmp_path / "out"
    file = tmp_path / "plugin.yml"
    file.write_text("plugin: Linear\nplugin_args: {}\n")
    argv = ["--nipype-plugin-file", str(file)]
    assert app(bids, out, "participant", *argv, sub_01={"segmentation": "raise"}) == 1
    assert records.read(out, "sub-02")["state"] == "done"
    error = records.read(out, "sub-01")["error"]
    assert "three is no brain" in error["reason"]
    file.write_text("plugin: Quantum\n")
    assert app(bids, tmp_path / "out2", "participant", *argv) == 2
    assert "Nipype has no plugin 'Quantum'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [("plugin: [", "not valid YAML"), ("[1, 2]", "does not name a plugin"), (None, "cannot be read")],
)
def test_a_plugin_file_that_says_nothing(tmp_path, text, words):
    path = tmp_path / "plugin.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=words):
        plugin_file.read(path)


def test_a_dry_run_explains(app, fake, tmp_path, capsys):
    bids = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"])
    fake.dataset(bids, ["sub-01"], suffix="T2w")
    theirs = tmp_path / "theirs" / "sub-02" / "anat"
    theirs.mkdir(parents=True)
    (theirs / "sub-02_desc-brain_mask.nii.gz").touch()
    argv = ["-d", f"lab={tmp_path / 'theirs'}", "--derivatives-flavor", "both", "--sloppy"]
    argv += ["--steps", "no-template-outputs", "--subject-anatomical-reference", "first-lex"]
    assert app(bids, tmp_path / "out", "participant", "--dry-run", *argv) == 0
    said = capsys.readouterr().out
    for words in (
        "Networks    ",
        "Templates   MNI152NLin2009cAsym",
        "Steps       coregistration, posteriors",
        "template-outputs",
        "Reference   first-lex: the first image of all sessions",
        "Names       for fMRIPrep and for NiBabies",
        f"Precomputed lab={tmp_path / 'theirs'}",
        "Options     --sloppy: coarse and fast, for trying only",
        "GB for one step",
        "beside 0.8 GB for the run itself",
        "in the work folder",
        "aligned to it: sub-01/anat/sub-01_T2w.nii.gz",
        f"precomputed: {theirs / 'sub-02_desc-brain_mask.nii.gz'}",
        "sub-01/anat/sub-01_space-T1w_dseg.nii.gz",
        "sub-01/anat/sub-01_dseg.nii.gz",
        "Nothing was computed or written",
    ):
        assert words in said, words
    assert "space-MNI152" not in said
    assert "sub-01/anat/sub-01_desc-preproc_T2w.nii.gz" in said
    assert not (tmp_path / "out").exists()


def test_a_dry_run_counts_those_that_would_fail(app, fake, tmp_path, capsys):
    bids = fake.dataset(tmp_path / "bids", ["sub-01"])
    (bids / "sub-02" / "func").mkdir(parents=True)
    assert app(bids, tmp_path / "out", "participant", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "2 selected, 1 of them would fail:" in said and "sub-02  would fail: " in said
    assert "\n\n\n" not in said and all(line == line.rstrip() for line in said.splitlines())
    assert "(about 0.1 GB in all)" in said  # of those that can be processed


def test_sloppy_is_quicker():
    workflow = participant_wf(sloppy=True, other_contrasts=("/b/sub-01_T2w.nii.gz",))
    assert workflow.get_node("bias_wf.bias").inputs.shrink == 8
    assert workflow.get_node("coregistration_wf.coregister_T2w").inputs.sloppy
    assert workflow.get_node("outputs_wf.outputs").inputs.sloppy
