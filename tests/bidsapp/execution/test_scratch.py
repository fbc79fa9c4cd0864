"""Temporary files of a run lie in one folder, and none is left."""

import doctest
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from brainseg.bidsapp.execution import scratch

pytestmark = pytest.mark.skipif(scratch.fcntl is None, reason="no locks on this system")


@pytest.fixture
def base(monkeypatch):
    """A short folder for temporary files."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def test_examples():
    assert doctest.testmod(scratch).failed == 0


def test_files_carry_user_and_job_and_are_removed(base):
    with scratch.scratch({"SLURM_JOB_ID": "4711"}):
        (folder,) = base.iterdir()
        assert folder.name.startswith(f"brainseg-run-{os.getuid()}-4711-")
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(b"left")
        assert Path(file.name).parent == folder
        done = subprocess.run(
            [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == str(folder)
    assert not list(base.iterdir())
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(base)


def test_what_a_killed_run_left_is_removed_but_not_what_a_living_one_has(base):
    code = (
        "import sys, time\nfrom brainseg.bidsapp.execution.scratch import scratch\n"
        "with scratch():\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    killed, living = (
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environ) for _ in range(2)
    )
    try:
        for one in (killed, living):
            assert one.stdout.readline() == b"ready\n"
        killed.kill()
        killed.wait()
        assert len(list(base.iterdir())) == 2
        scratch.sweep(base)
        (left,) = base.iterdir()
        assert f"-{living.pid}-" in left.name
    finally:
        for one in (killed, living):
            one.kill()
            one.wait()


def test_the_folder_of_multiprocessing_stays_until_the_process_ends(base):
    code = (
        "import multiprocessing.util as util\n"
        "from brainseg.bidsapp.execution.scratch import scratch\n"
        "with scratch():\n    kept = util.get_temp_dir()\n"
        "import os\nprint(os.path.isdir(kept))"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True
    )
    assert done.stdout.strip() == "True" and not done.stderr
    assert not list(base.iterdir())


def test_folders_of_others_stay(base):
    (base / "brainseg").mkdir()
    (base / f"brainseg-run-{os.getuid()}-1-abcdefgh").mkdir()
    old = base / f"brainseg-run-{os.getuid()}-2-abcdefgh"
    old.mkdir()
    os.utime(old, times=(time.time() - 2 * scratch.YOUNG,) * 2)
    scratch.sweep(base)
    assert sorted(path.name[-10:] for path in base.iterdir()) == ["1-abcdefgh", "brainseg"]


def test_an_unwritable_folder_does_not_stop_a_run(base, monkeypatch):
    def full(*_, **__):
        raise OSError("no space")

    monkeypatch.setattr(scratch.tempfile, "mkdtemp", full)
    with scratch.scratch():
        assert tempfile.gettempdir() == str(base)
