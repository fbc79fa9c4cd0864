"""Progress: what works and what waits, how many are done, and how long it still takes."""

import doctest
import io
import logging
import re

import pytest

from brainseg.bidsapp.execution import estimate, progress
from brainseg.bidsapp.execution.estimate import Stage, time_left
from brainseg.bidsapp.execution.tracker import Tracker
from brainseg.bidsapp.inputs.select import ParticipantSession
from brainseg.bidsapp.status.records import Fault, Record


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The time (s), in a list."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def live(monkeypatch, clock):
    """Progress on a terminal, and what the terminal shows."""
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    told = progress.choose(3, plain=False)
    assert isinstance(told, progress.Live)

    def shown():
        with told.console.capture() as caught:
            told.console.print(told._render())
        return re.sub(r"\x1b\[[0-9;]*m", "", caught.get())

    return told, shown


def session(label):
    return ParticipantSession(label, None, None)


def test_live_lines_on_a_terminal(monkeypatch):
    """On a terminal each participant-session has a line with its stages; finished ones stay above."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    told = progress.choose(2, plain=False)
    assert type(progress.choose(2, plain=True)) is progress.Progress
    with told:
        for key in ("sub-01", "sub-02"):
            told.started(key)
            told.stage(key, "conform")
            told.works(key, "conform", on=True)
        told.live.refresh()
        assert "conform 0s" in terminal.getvalue()
        fault = Fault("segmentation", "it is empty", "/b/x.nii", "Fetch it again")
        told.ended(Record(session("02"), "failed", stage="segmentation", fault=fault))
        told.skipped("sub-03", "already done")
        told.live.refresh()
    said = terminal.getvalue()
    assert "✗ sub-02  failed at segmentation: /b/x.nii: it is empty. Fetch it again." in said
    assert "- sub-03  skipped: already done" in said


def test_waiting_is_not_counted_as_work(live, clock):
    told, shown = live
    told.started("sub-01")
    told.works("sub-01", "conform", on=True)
    clock[0] += 5
    told.works("sub-01", "conform", on=False)
    clock[0] += 300
    assert "conform 5s" in shown() and "waiting" in shown()
    told.works("sub-01", "bias", on=True)
    clock[0] += 7
    assert "conform 5s" in shown() and "bias 7s" in shown() and "waiting" not in shown().splitlines()[0]


def test_done_running_failed_and_waiting_are_counted(live, clock):
    told, shown = live
    told.started("sub-01")
    told.works("sub-01", "conform", on=True)
    assert "0 of 3 done · 1 running · 2 waiting" in shown()
    told.ended(Record(session("01"), "done", seconds={"conform": 100.0}))
    told.started("sub-02")
    fault = Fault("bias", "it is empty", "/b/x.nii", "Fetch it again")
    told.ended(Record(session("02"), "failed", stage="bias", fault=fault))
    assert "1 of 3 done · 1 failed · 1 waiting" in shown()
    assert "about 2 min left" in shown()


def test_the_live_lines_fit_a_terminal_of_80_columns(live, clock):
    told, shown = live
    told.console.width, told.total = 80, 300
    for number in range(1, 4):
        told.started(f"sub-{number}_ses-baseline")
        for stage in ("conform", "skullstrip", "bias", "segmentation", "registration", "quality", "outputs"):
            told.works(f"sub-{number}_ses-baseline", stage, on=True)
    told.ended(Record(session("4"), "done", seconds={"conform": 4000.0}))
    fault = Fault("bias", "it is empty", "/b/x.nii", "Fetch it again")
    told.ended(Record(session("5"), "failed", stage="bias", fault=fault))
    lines = shown().splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= 80
    assert "1 of 300 done · 3 running · 1 failed · 295 waiting" in lines[-1]


def test_time_left_is_estimated_from_the_first_stages_on(live, clock):
    told, shown = live
    told.started("sub-01")
    for stage in ("conform", "skullstrip"):
        told.works("sub-01", stage, on=True)
        clock[0] += 100 * estimate.SHARES[stage]
        told.works("sub-01", stage, on=False)
    assert " left" not in shown()
    told.works("sub-01", "bias", on=True)
    # One participant-session takes 100 s: more than 70 s are left of the first, and 200 s of the others.
    assert "about 5 min left" in shown()
    told.at_once = 3
    assert "about 2 min left" in shown()


def test_an_estimate_uses_the_times_of_those_that_are_done():
    assert doctest.testmod(estimate).failed == doctest.testmod(progress).failed == 0
    done = [{"bias": 10.0, "outputs": 10.0}, {"bias": 20.0, "outputs": 20.0}]
    running = [(Stage("bias", 15.0), Stage("outputs", 0.0, since=0.0))]
    assert time_left(running, done, waiting=0, at_once=1, now=5.0) == 10.0
    assert time_left(running, done, waiting=1, at_once=2, now=5.0) == 30.0
    assert time_left([(Stage("bias", 0.0, since=0.0),)], [], waiting=3, at_once=1, now=60.0) is None
    assert sum(estimate.SHARES.values()) == pytest.approx(1)


def test_a_log_says_how_many_are_done_and_how_long_it_takes(caplog):
    told = progress.Progress(3)
    told.started("sub-01")
    with caplog.at_level(logging.INFO, logger="brainseg"):
        told.ended(Record(session("01"), "done", seconds={"bias": 60.0}))
    assert caplog.messages[-1] == "1 of 3 done, 2 waiting, about 2 min left"


def test_a_log_numbers_the_stages_and_names_each_once(tmp_path, caplog):
    told = progress.Progress(1)
    tracker = Tracker(tmp_path, "run", told)
    tracker.expect(session("01"), "sub_01_wf", stages=("conform", "bias", "registration", "report"))
    with caplog.at_level(logging.INFO, logger="brainseg"):
        # conform was done by an earlier run; two stages work side by side
        for stage in ("bias", "registration", "bias", "report"):
            name = f"brainseg_wf.sub_01_wf.{stage}_wf.{stage}"
            tracker.callback(type("Node", (), {"name": stage, "fullname": name}), "start")
    numbered = ["bias (stage 2 of 4)", "registration (stage 3 of 4)", "report (stage 4 of 4)"]
    assert caplog.messages == [f"sub-01  {words}" for words in numbered]


def test_the_tracker_tells_when_nodes_of_a_stage_work(tmp_path, clock):
    told = progress.Progress(1)
    tracker = Tracker(tmp_path, "run", told)
    tracker.expect(session("01"), "sub_01_wf")
    node = type("Node", (), {"name": "bias", "fullname": "brainseg_wf.sub_01_wf.bias_wf.bias"})
    tracker.callback(node, "start")
    clock[0] += 4
    tracker.callback(node, "end")
    clock[0] += 50
    (stage,) = told.stages["sub-01"]
    assert (stage.name, stage.spent(clock[0])) == ("bias", 4)
