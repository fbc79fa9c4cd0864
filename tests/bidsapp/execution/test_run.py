"""Runs: what is done, skipped, resumed and told, with a chain of quick nodes in place of the real one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from brainseg.bidsapp import __version__
from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.execution import workflow as graph
from brainseg.bidsapp.execution.scheduler import devices
from brainseg.bidsapp.reports import derivatives, provenance
from brainseg.bidsapp.status import arithmetic, failures, records
from helpers import TESTS

FAKE = TESTS / "helpers" / "fake_chain.py"
LIGHT = {"conform": "light"}


@pytest.fixture
def bids(fake, tmp_path):
    return fake.dataset(tmp_path / "bids", ["sub-01", "sub-02_ses-1", "sub-02_ses-2"])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def _states(out):
    return {
        p.stem: json.loads(p.read_text())["state"] for p in sorted((out / "logs" / "status").glob("*.json"))
    }


def _log(out):
    return sorted(out.glob("logs/*/brainseg.log"))[-1]


def test_a_run_from_end_to_end(app, bids, out, tmp_path, capsys):
    assert app(bids, out, "participant") == 0
    assert _states(out) == {"sub-01": "done", "sub-02_ses-1": "done", "sub-02_ses-2": "done"}
    content = records.read(out, "sub-02_ses-1")
    assert content["reference"] == str(bids / "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz")
    assert content["notes"] == ["a note from the science"]
    assert content["stripped"] is True and content["mask_source"] == "deepbet"
    assert content["version"] == __version__
    assert set(content["seconds"]) == {"conform", "segmentation", "outputs", "report"}
    assert content["outputs"][-1] == "sub-02_ses-1.html"
    assert all((out / name).is_file() for name in content["outputs"])
    # the report was made when the results stood, and says so
    assert '"state": "done"' in (out / "sub-02_ses-1.html").read_text()
    assert "Nothing was done to the images." in (out / "logs" / "CITATION.md").read_text()
    assert not (tmp_path / "work").exists()
    assert not list((out / "logs" / "status").glob(".*"))
    said = capsys.readouterr().out
    assert "sub-01  segmentation" in said
    assert "3 done" in said
    assert "nipype" not in said
    log = _log(out)
    assert "nipype.workflow" in log.read_text()
    again = parse(["--config-file", str(log.with_name("brainseg.toml"))])
    assert (again.bids_dir, again.output_dir, again.plugin) == (bids, out, "linear")
    assert "[record]" in log.with_name("brainseg.toml").read_text()
    assert json.loads(log.with_name("summary.json").read_text()) == _states(out)
    checked = json.loads(log.with_name("bids-validator.json").read_text())
    assert checked == {"ran": False, "reason": "--skip-bids-validation"}
    result = derivatives.load(out, "sub-01")
    assert ("BIDS validator", "not run: --skip-bids-validation") in provenance.run(result)


def test_notes_are_printed_once_with_their_participants(app, bids, out, capsys):
    (bids / "participants.tsv").write_text("participant_id\tage\nsub-01\tsix\nsub-02\t30\n")
    assert app(bids, out, "participant") == 0
    said = capsys.readouterr().out
    assert "Note on sub-01, sub-02_ses-1, sub-02_ses-2: a note from the science" in said
    assert "Note on sub-01: The age of 'six' could not be read" in said
    assert "No readable age for 1 of 3 (sub-01)" in said


@pytest.mark.slow
def test_what_is_done_is_skipped_and_what_changed_is_not(app, bids, out, fake, capsys):
    assert app(bids, out, "participant") == 0
    before = len(app.calls())
    assert app(bids, out, "participant") == 0
    assert len(app.calls()) == before
    assert "3 skipped" in capsys.readouterr().out
    fake.dataset(bids, ["sub-01"], sub_01=fake.head((25, 25, 25)))
    (out / "sub-02" / "ses-2" / "anat" / "sub-02_ses-2_desc-preproc_T1w.json").unlink()
    assert app(bids, out, "participant") == 0
    assert {line.split()[0] for line in app.calls()[before:]} == {"sub-01", "sub-02_ses-2"}
    said = " ".join(capsys.readouterr().out.split())
    assert "Done before and processed again (1: sub-01): other input files" in said
    assert "processed again (1: sub-02_ses-2): missing files (sub-02/ses-2/anat/" in said
    before = len(app.calls())
    assert app(bids, out, "participant", "--skull-strip", "force", "--dry-run") == 0
    assert capsys.readouterr().out.count("would be processed again: other settings (skull strip)") == 3
    assert app(bids, out, "participant", "--skull-strip", "force", "--participant-label", "01") == 0
    assert (
        app(bids, out, "participant", "--skull-strip", "force", "--participant-label", "01", "--no-resume")
        == 0
    )
    assert len(app.calls()) == before + 6


@pytest.mark.slow
def test_a_copied_study_is_not_computed_again(app, bids, out, tmp_path, capsys):
    """Neither its place nor the times of its files matter, and the files are read once for that."""
    assert app(bids, out, "participant") == 0
    before, there = len(app.calls()), tmp_path / "elsewhere"
    shutil.copytree(bids, there / "bids", copy_function=shutil.copyfile)
    shutil.copytree(out, there / "out")
    for path in (there / "bids").rglob("*.nii.gz"):
        os.utime(path, (1, 1))
    assert app(there / "bids", there / "out", "participant", "--dry-run") == 0
    assert "would be processed" not in capsys.readouterr().out
    assert app(there / "bids", there / "out", "participant") == 0
    assert len(app.calls()) == before
    inputs = records.read(there / "out", "sub-01")["inputs"]
    assert inputs["mtime"] == 1.0 and inputs["path"] == "sub-01/anat/sub-01_T1w.nii.gz"
    assert "3 skipped" in capsys.readouterr().out
    (there / "bids/sub-01/anat/sub-01_T1w.nii.gz").write_bytes(b"\0" * inputs["size"])
    assert app(there / "bids", there / "out", "participant", sub_01=LIGHT) == 0
    assert {line.split()[0] for line in app.calls()[before:]} == {"sub-01"}


@pytest.mark.slow
def test_the_status_says_with_what_it_was_computed(app, bids, out, monkeypatch):
    assert app(bids, out, "participant", sub_01={"segmentation": "raise"}) == 1
    found = records.read(out, "sub-02_ses-1")
    assert found["arithmetic"] == devices.arithmetic("cpu")
    words = arithmetic.words(found)
    assert ("Arithmetic", words) in provenance.run(derivatives.load(out, "sub-02_ses-1"))
    # the rest on another machine, of a kind that no tests run on
    other = devices.arithmetic("cpu") | {"precision": "bfloat16", "instructions": "VSX"}
    monkeypatch.setattr("brainseg.bidsapp.execution.workflow.arithmetic", lambda device: other)
    monkeypatch.setattr("brainseg.bidsapp.execution.tracker.CACHED", 1e-9)
    status = records.read(out, "sub-01")
    records.write(out, "sub-01", status | {"seconds": {"earlier": 9.0}})
    assert app(bids, out, "participant") == 0
    found = records.read(out, "sub-01")
    note = f"Computed in two runs with different arithmetic: {words}; then bfloat16, VSX."
    assert note in found["notes"] and found["arithmetic"] == other
    assert not any("two runs" in text for text in records.read(out, "sub-02_ses-1")["notes"])


def test_one_failure_leaves_the_others_whole(app, bids, out, tmp_path, capsys):
    assert app(bids, out, "participant", sub_01={"segmentation": "raise"}) == 1
    assert _states(out) == {"sub-01": "failed", "sub-02_ses-1": "done", "sub-02_ses-2": "done"}
    error = records.read(out, "sub-01")["error"]
    assert error["stage"] == "segmentation"
    assert error["node"].endswith("sub_01_wf.segmentation_wf.segmentation")
    assert error["reason"] == "ValueError: three is no brain"
    assert "three is no brain" in (out / error["crash"]).read_text()
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert re.search(
        r"sub-01  failed at segmentation: .*sub-01_T1w.nii.gz: ValueError: three is no brain", said.out
    )
    # what it had reached is kept, and the next run goes on from there
    assert [p.name for p in tmp_path.glob("work/*/brainseg_wf/*")] == ["sub_01_wf"]
    before = len(app.calls())
    assert app(bids, out, "participant") == 0
    assert app.calls()[before:] == ["sub-01 segmentation", "sub-01 outputs"]
    assert _states(out)["sub-01"] == "done"


def test_errors_of_the_science_keep_file_reason_and_remedy(app, bids, out):
    assert app(bids, out, "participant", "--participant-label", "01", sub_01={"segmentation": "input"}) == 1
    error = records.read(out, "sub-01")["error"]
    assert error["file"] == str(bids / "sub-01/anat/sub-01_T1w.nii.gz")
    assert (error["reason"], error["remedy"]) == ("its brain mask is empty", "Look at the mask")


def test_missing_weights_are_code_126(app, bids, out):
    wanted = {"segmentation": "missing"}
    assert (
        app(bids, out, "participant", sub_01=wanted, **{"sub_02_ses-1": wanted, "sub_02_ses-2": wanted})
        == 126
    )
    assert records.read(out, "sub-01")["error"]["file"] == "/weights/x.safetensors"


def test_a_workflow_that_cannot_be_built_fails_alone(app, bids, out):
    assert app(bids, out, "participant", sub_01={"build": 1}) == 1
    assert _states(out) == {"sub-01": "failed", "sub-02_ses-1": "done", "sub-02_ses-2": "done"}


def test_a_failed_report_is_code_3_and_made_again(app, bids, out, capsys):
    assert app(bids, out, "participant", "--participant-label", "01", sub_01={"report": "raise"}) == 3
    assert _states(out) == {"sub-01": "done"}
    assert "no ink" in records.read(out, "sub-01")["error"]["reason"]
    before = len(app.calls())
    assert app(bids, out, "participant", "--participant-label", "01") == 0
    assert len(app.calls()) == before
    assert records.read(out, "sub-01")["error"] is None
    assert "sub-01.html" in records.read(out, "sub-01")["outputs"]
    assert "sub-01  report written" in capsys.readouterr().out


def test_reports_only(app, bids, out, capsys):
    assert app(bids, out, "participant", "--participant-label", "02") == 0
    before, page = len(app.calls()), out / "sub-02_ses-1.html"
    page.unlink()
    assert app(bids, out, "participant", "--reports-only") == 0
    assert page.is_file()
    assert len(app.calls()) == before
    assert "sub-01  skipped: no derivatives yet" in capsys.readouterr().out
    assert records.read(out, "sub-02_ses-1")["seconds"]["segmentation"] >= 0


def test_stop_on_first_crash(app, bids, out):
    assert app(bids, out, "participant", "--stop-on-first-crash", sub_01={"segmentation": "raise"}) == 1
    assert _states(out) == {"sub-01": "failed"}
    summary = json.loads(_log(out).with_name("summary.json").read_text())
    assert summary == {"sub-01": "failed", "sub-02_ses-1": "waiting", "sub-02_ses-2": "waiting"}


@pytest.mark.slow
def test_boilerplate_and_graph(app, bids, out, capsys):
    assert app(bids, out, "participant", "--boilerplate-only") == 0
    assert "Nothing was done" in (out / "logs" / "CITATION.md").read_text()
    assert app.calls() == []
    assert app(bids, out, "participant", "--participant-label", "01", "--write-graph") == 0
    assert list(out.glob("logs/*/graph*.dot"))
    assert "Workflow: " in capsys.readouterr().out


def test_dry_run_writes_nothing(app, bids, out, tmp_path, capsys):
    (bids / "sub-01" / "anat" / "sub-01_T1w.json").write_text("{")
    assert app(bids, out, "participant", "group", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "sub-01  would fail: " in said
    assert "sub-02_ses-1  would be processed  sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz" in said
    assert "sub-02/ses-1/anat/sub-02_ses-1_desc-aseg_dseg.nii.gz" in said
    assert "MNI152NLin2009cAsym" in said
    assert not out.exists()
    assert not (tmp_path / "work").exists()


def test_levels_run_in_order_and_the_first_failure_counts(app, bids, out, monkeypatch):
    done = []
    monkeypatch.setattr(
        "brainseg.bidsapp.reports.group.run_group",
        lambda path, group_by, **_: done.append(_states(path)) or path,
        raising=False,
    )
    assert app(bids, out, "participant", "group", sub_01={"segmentation": "raise"}) == 1
    assert done == [{"sub-01": "failed", "sub-02_ses-1": "done", "sub-02_ses-2": "done"}]
    monkeypatch.setattr("brainseg.bidsapp.reports.group.run_group", lambda path, group_by, **_: 1 / 0)
    assert app(bids, out, "group") == 3


def test_keep_work_dir_and_verbose(app, bids, out, tmp_path, capsys):
    assert app(bids, out, "participant", "--participant-label", "01", "--keep-work-dir", "-v") == 0
    assert list(tmp_path.glob("work/*/brainseg_wf/sub_01_wf/conform"))
    assert "[Node] Executing" in capsys.readouterr().out


def test_graphics_cards_that_are_not_there():
    base = ["/b", "/o", "participant"]
    assert devices.devices(parse([*base, "--device", "cpu"])) == ["cpu"]
    with pytest.raises(Exception, match="--n-gpus 2"):
        devices.devices(parse([*base, "--device", "cpu", "--n-gpus", "2"]))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device", "/o/x"), "the disk is full"),
        (PermissionError(13, "Permission denied", "/o/x"), "it cannot be accessed (Permission denied)"),
        (MemoryError(), "the memory did not suffice"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "the memory did not suffice"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "the memory did not suffice"),
        (np.exceptions.AxisError("no memory of it"), "AxisError: no memory of it"),
        (OSError(27, "File too large", "/o/x"), "the disk is full"),
        (ValueError("x\ny"), "ValueError: x"),
    ],
)
def test_what_was_thrown_is_said_in_words(error, reason):
    assert failures.explain(error, None).reason == reason


def _start(fake_chain, *argv, env=None, **popen):
    command = [sys.executable, str(fake_chain), *map(str, argv), "--device", "cpu", "--skip-bids-validation"]
    return subprocess.Popen(command, env=os.environ | (env or {}), stdout=subprocess.PIPE, text=True, **popen)


def _wait_for(what, seconds=300):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


@pytest.mark.slow
def test_workers_a_killed_worker_and_a_second_run(fake, tmp_path):
    """A killed worker process affects only its participant-session, and the status says so."""
    bids, out = fake.dataset(tmp_path / "bids", ["sub-01", "sub-02", "sub-03"]), tmp_path / "out"
    env = {
        "FAKE_CHAIN": json.dumps(
            {"sub-02": {"segmentation": "kill"} | LIGHT, "sub-01": LIGHT, "sub-03": LIGHT}
        ),
        "FAKE_CALLS": str(tmp_path / "calls"),
    }
    argv = [bids, out, "participant", "-w", tmp_path / "work", "--nprocs", "2", "--mem", "2G"]
    if len(os.sched_getaffinity(0)) < 2:
        argv[-3] = "1"
    with _start(FAKE, *argv, env=env) as run:
        said = run.communicate(timeout=400)[0]
    assert run.returncode == 1, said
    assert _states(out) == {"sub-01": "done", "sub-02": "failed", "sub-03": "done"}
    assert "process was killed" in records.read(out, "sub-02")["error"]["reason"]
    assert "Traceback" not in said
    log = _log(out).read_text()
    assert "[Node] Executing" in log  # the workers' words go to the log
    assert "[Node] Executing" not in said


@pytest.mark.slow
def test_resume_after_kill_9(app, fake, tmp_path):
    """The main process is killed: its workers end too, and the next run goes on where it was."""
    import psutil

    bids, out, calls = (
        fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"]),
        tmp_path / "out",
        tmp_path / "calls.txt",
    )
    env = {"FAKE_CHAIN": json.dumps({"sub-01": {"segmentation": 600} | LIGHT}), "FAKE_CALLS": str(calls)}
    argv = [bids, out, "participant", "-w", tmp_path / "work", "--nprocs", "1"]
    with _start(FAKE, *argv, env=env) as run:
        _wait_for(lambda: calls.exists() and "sub-01 segmentation" in calls.read_text())
        workers = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert _states(out) == {"sub-01": "running"}
    assert not psutil.wait_procs(workers, timeout=60)[1]
    before = app.calls()
    assert before == ["sub-01 conform", "sub-01 segmentation"]
    assert app(bids, out, "participant", sub_01=LIGHT) == 0
    # the second node was not done, and is told otherwise now; the first one is not run again
    assert app.calls()[2:5] == ["sub-01 segmentation", "sub-01 outputs", "sub-02 conform"]
    assert _states(out) == {"sub-01": "done", "sub-02": "done"}
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("asks", ["numpy", "torch"])
def test_a_step_that_asks_for_more_memory_than_there_is(app, bids, out, capsys, asks):
    assert app(bids, out, "participant", sub_01={"segmentation": f"{asks} memory"}) == 1
    error = records.read(out, "sub-01")["error"]
    assert (error["stage"], error["reason"]) == ("segmentation", "the memory did not suffice")
    assert "Give more memory" in error["remedy"]
    assert _states(out) == {"sub-01": "failed", "sub-02_ses-1": "done", "sub-02_ses-2": "done"}
    assert "fault of the program" not in capsys.readouterr().out


@pytest.mark.parametrize(("name", "code", "by"), [("SIGINT", 130, ""), ("SIGTERM", 143, " by SIGTERM")])
def test_a_request_to_stop_while_a_step_runs(app, bids, out, capsys, request, name, code, by):
    """Also in this process, where Nipype takes it for a failure of the step."""
    # Whoever runs the tests in the background of a shell has it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    assert app(bids, out, "participant", sub_01={"segmentation": name}) == code
    said = capsys.readouterr()
    assert f"stopped{by}. Run the same command again to continue." in said.err
    assert "Traceback" not in said.out + said.err
    assert f"sub-01  stopped at segmentation: the run was stopped{by}. Run the same" in said.out
    assert _states(out) == {"sub-01": "failed"}
    error = records.read(out, "sub-01")["error"]
    assert error["reason"] == f"the run was stopped{by}" and not error["file"], "the image is not to blame"
    assert "Stopped at segmentation" in (out / "sub-01.html").read_text()
    assert app(bids, out, "participant") == 0
    assert set(_states(out).values()) == {"done"}


def test_an_error_after_a_request_to_stop_is_the_stop(app, bids, out, capsys, request, monkeypatch):
    """Two interrupts at once tear a lock of Python."""

    class Torn:
        plugin_args = {}

        def run(self, *arguments, **options):
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(60)
            except KeyboardInterrupt:
                raise RuntimeError("release unlocked lock") from None

        def close(self):
            pass

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    monkeypatch.setattr(graph, "_plugin", lambda run, devices: Torn())
    assert app(bids, out, "participant") == 130
    said = capsys.readouterr()
    assert said.err.strip() == "brainseg-bids: stopped. Run the same command again to continue."
    assert "Traceback" not in said.out and "fault of the program" not in said.out


def test_a_stopped_run_without_resume_is_continued_by_another_command(app, bids, out, capsys):
    assert app(bids, out, "participant", "--no-resume", sub_01={"segmentation": "SIGTERM"}) == 143
    remedy = "Run the command again without --no-resume to continue"
    assert f"stopped by SIGTERM. {remedy}." in capsys.readouterr().err
    assert records.read(out, "sub-01")["error"]["remedy"] == remedy


def test_stages_keep_their_numbers_in_a_run_that_continues(app, bids, out, capsys):
    label = ["--participant-label", "01"]
    for code, behavior in ((1, "raise"), (0, 0)):
        assert app(bids, out, "participant", *label, sub_01={"segmentation": behavior}) == code
        assert "sub-01  segmentation (stage 2 of 4)" in capsys.readouterr().out


def test_those_without_images_leave_no_others_waiting(app, fake, out, tmp_path, capsys):
    """Those that are done already do not wait."""
    bids = fake.dataset(tmp_path / "some", ["sub-01", "sub-02"])
    assert app(bids, out, "participant") == 0
    (bids / "sub-03" / "anat").mkdir(parents=True)
    capsys.readouterr()
    assert app(bids, out, "participant") == 1
    said = capsys.readouterr().out
    assert "waiting" not in said and "1 failed; 2 skipped" in said


@pytest.mark.slow
def test_being_asked_to_end(fake, tmp_path):
    """Slurm's SIGTERM: what ran is told as failed, the exit code says the signal."""
    bids, out, calls = (
        fake.dataset(tmp_path / "bids", ["sub-01", "sub-02"]),
        tmp_path / "out",
        tmp_path / "calls.txt",
    )
    env = {"FAKE_CHAIN": json.dumps({"sub-01": {"segmentation": 600} | LIGHT}), "FAKE_CALLS": str(calls)}
    argv = [bids, out, "participant", "-w", tmp_path / "work", "--nprocs", "1"]
    with _start(FAKE, *argv, env=env, stderr=subprocess.PIPE) as run:
        _wait_for(lambda: calls.exists() and "sub-01 segmentation" in calls.read_text())
        run.send_signal(signal.SIGTERM)
        said, errors = run.communicate(timeout=200)
    assert run.returncode == 128 + signal.SIGTERM
    assert errors.strip() == "brainseg-bids: stopped by SIGTERM. Run the same command again to continue."
    assert "Traceback" not in said
    assert _states(out) == {"sub-01": "failed"}
    error = records.read(out, "sub-01")["error"]
    assert (error["reason"], error["stage"]) == ("the run was stopped by SIGTERM", "segmentation")
    assert "to continue" in error["remedy"]
