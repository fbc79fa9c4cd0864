"""The process of the workers begins its imports before anything else, if something is left to compute."""

import gc
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from brainseg.bidsapp.config import imports
from brainseg.bidsapp.config.settings import Settings
from brainseg.bidsapp.execution.scheduler import server
from brainseg.bidsapp.status import paths

DONE, RUNNING = {"state": "done"}, {"state": "running"}

STUDIES = {
    "nothing is there": ({}, {}, True),
    "everything is done": ({"sub-01": DONE, "sub-02": DONE}, {}, False),
    "one is not": ({"sub-01": DONE, "sub-02": RUNNING}, {}, True),
    "one is new": ({"sub-01": DONE}, {}, True),
    "the new one is not asked for": ({"sub-01": DONE}, {"participant_label": ("01",)}, False),
    "a session is not": ({"sub-01_ses-1": DONE, "sub-01_ses-2": RUNNING, "sub-02": DONE}, {}, True),
    "sessions are done": ({"sub-01_ses-1": DONE, "sub-01_ses-2": DONE, "sub-02": DONE}, {}, False),
    "a longer label is another person": ({"sub-011": DONE, "sub-02": DONE}, {}, True),
    "a status file is damaged": ({"sub-01": [], "sub-02": DONE}, {}, True),
    "only the group": ({}, {"analysis_level": ("group",)}, False),
    "only reports": ({}, {"reports_only": True}, False),
    "only the methods text": ({}, {"boilerplate_only": True}, False),
}


@pytest.mark.parametrize("study", STUDIES)
def test_imports_begin_if_something_is_left(tmp_path, monkeypatch, study):
    states, changes, begins = STUDIES[study]
    bids, out = tmp_path / "bids", tmp_path / "out"
    for name in ("sub-01", "sub-02"):
        (bids / name).mkdir(parents=True)
    paths.folder(out).mkdir(parents=True)
    for key, content in states.items():
        (paths.folder(out) / f"{key}.json").write_text(json.dumps(content))
    started = []
    monkeypatch.setattr(server, "start", started.append)
    monkeypatch.setattr(server, "copies", lambda settings: False)
    server.begin(Settings(bids, out, **{"analysis_level": ("participant",), **changes}))
    assert bool(started) == begins


def test_threads_are_what_participants_leave_of_the_processors(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(server, "start", started.append)
    monkeypatch.setattr(server, "copies", lambda settings: False)
    for number in range(1, 4):
        (tmp_path / "bids" / f"sub-0{number}").mkdir(parents=True)
    asked = {"nprocs": 12, "omp_nthreads": 8}
    server.begin(Settings(tmp_path / "bids", tmp_path / "out", ("participant",), **asked))
    server.begin(Settings(tmp_path / "bids", tmp_path / "out", ("participant",), ("01",), **asked))
    given = asked | {"given": ("omp_nthreads",)}
    server.begin(Settings(tmp_path / "bids", tmp_path / "out", ("participant",), **given))
    server.begin(Settings(tmp_path / "bids", tmp_path / "out", ("participant",), **asked, plugin="linear"))
    assert [settings.omp_nthreads for settings in started] == [4, 8, 8, 8]


def settings_of(tmp_path, **changes) -> Settings:
    (tmp_path / "bids" / "sub-01").mkdir(parents=True, exist_ok=True)
    return Settings(tmp_path / "bids", tmp_path / "out", ("participant",), **changes)


def test_a_copy_has_no_threads_and_no_settings_of_its_own(tmp_path):
    plain = settings_of(tmp_path)
    assert server.copies(plain) == (sys.platform == "linux")
    assert not server.copies(replace(plain, plugin="linear"))
    assert not server.copies(replace(plain, reproducible=True))
    waiting = threading.Event()
    other = threading.Thread(target=waiting.wait)
    other.start()
    assert not server.copies(plain)
    waiting.set()
    other.join()


def test_a_copy_is_not_started_before_the_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "start", lambda settings: pytest.fail("it would import everything again"))
    monkeypatch.setattr(server, "copies", lambda settings: True)
    for name in server.THREADS:
        monkeypatch.setenv(name, "7")
    server.begin(settings_of(tmp_path, nprocs=2, omp_nthreads=2))
    assert {os.environ[name] for name in server.THREADS} == {"2"}  # the libraries read them when imported


COPYING = """
import multiprocessing as mp, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from brainseg.bidsapp.config.settings import Settings
from brainseg.bidsapp.execution.scheduler import server

def seen():
    import slow
    return os.getpid(), os.getppid(), slow.IMPORTED_BY

if __name__ == "__main__":
    root = Path(sys.argv[1])
    server.PRELOAD[:] = ["slow"]
    settings = Settings(root / "bids", root / "out", ("participant",))
    server.begin(settings)
    server.copy(settings)
    server.start(settings)
    with ProcessPoolExecutor(2, mp_context=mp.get_context("forkserver")) as pool:
        worker, parent, imported_by = pool.submit(seen).result()
    print(os.getpid(), parent, worker, imported_by)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, processes are not copied")
def test_workers_have_what_the_main_process_imported_and_end_with_it(tmp_path):
    settings_of(tmp_path)
    (tmp_path / "slow.py").write_text("import os\nIMPORTED_BY = os.getpid()\n")
    (tmp_path / "copying.py").write_text(COPYING)
    way = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    run = subprocess.run(
        [sys.executable, tmp_path / "copying.py", tmp_path],
        env=os.environ | {"PYTHONPATH": way},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0 and not run.stderr, run.stderr
    main, parent, worker, imported_by = map(int, run.stdout.split())
    assert imported_by == main and len({main, parent, worker}) == 3
    # What the copy kept open would keep this pipe open: the run above would not have ended.
    for number in (parent, worker):
        with pytest.raises(ProcessLookupError):
            for _ in range(100):
                os.kill(number, 0)
                threading.Event().wait(0.1)


def test_a_missing_dataset_is_told_by_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "start", lambda settings: pytest.fail("nothing can be computed"))
    server.begin(Settings(tmp_path / "nowhere", tmp_path / "out", ("participant",)))


def test_imports_leave_the_collector_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "a_new_module.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = gc.get_freeze_count()
    assert imports.resolve("a_new_module:answer")() == 42
    assert gc.isenabled() and gc.get_freeze_count() > before
    del sys.modules["a_new_module"]
    frozen = gc.get_freeze_count()
    with imports.quick_imports():
        assert not gc.isenabled()
    assert (
        gc.isenabled() and gc.get_freeze_count() == frozen
    )  # objects that are no modules can still be freed
    with pytest.raises(ModuleNotFoundError):
        imports.resolve("no_such_module:answer")
    assert gc.isenabled()
