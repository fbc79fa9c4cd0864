"""A participant ends where Apptainer runs an image on a cluster; the image itself: make image-check."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import brainseg.bidsapp
from helpers import ROOT

BWRAP = shutil.which("bwrap")
CONFINED = [
    str(BWRAP), "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
    "--size", str(64 * 2**20), "--tmpfs", "/tmp", "--unshare-user", "--uid", "54321", "--gid", "54321",
    "--unshare-net", "--unshare-pid", "--unshare-ipc", "--chdir", "/",
]  # fmt: skip
ABOVE = Path(brainseg.bidsapp.__file__).parents[2]
PLACE = ABOVE if (ABOVE / "brainseg").is_dir() else ROOT
"""Folder for the module path; an editable installation has its own finder."""
PROGRAM = (
    f"import sys; sys.path.insert(0, {str(PLACE)!r})\n"
    "from brainseg.bidsapp.cli.bids import main; sys.exit(main(sys.argv[1:]))"
)


def _confined(words, bound, read_only, variables):
    # What lies below /tmp, which is replaced, is bound again.
    needed = {ROOT, PLACE, Path(sys.prefix), Path(sys.base_prefix)}
    kept = [path for path in sorted(needed) if path.is_relative_to("/tmp")]
    places = [("--ro-bind", path, path) for path in kept]
    places += [("--bind", path, target) for target, path in bound.items()]
    places += [("--ro-bind", path, target) for target, path in read_only.items()]
    command = [*CONFINED, *(str(word) for place in places for word in place), "--clearenv"]
    for name, value in variables.items():
        command += ["--setenv", name, value]
    return subprocess.run([*command, *words], capture_output=True, text=True, check=False)


@pytest.fixture
def confined():
    """Runs a command under the conditions of a cluster; skips where bubblewrap does not run."""
    if BWRAP is None or subprocess.run([*CONFINED, "true"], capture_output=True, check=False).returncode:
        pytest.skip("bubblewrap is missing, or not allowed here")
    return _confined


def test_modules_of_the_host_are_not_imported_by_programs_that_the_container_starts(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(PLACE)!r})\n"
        "from brainseg.bidsapp.config.environment import quiet_environment as quiet\n"
        "quiet(); import os; print([k for k in os.environ if k.startswith('PYTHON')])"
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": "/of/the/host", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-E", "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("home", ["/nowhere", None])
def test_a_participant_ends_in_a_container_of_a_cluster(confined, tmp_path, demo_dataset, home):
    bids, out = tmp_path / "bids", tmp_path / "out"
    shutil.copytree(demo_dataset, bids)
    broken = bids / "code"
    broken.mkdir()
    for name in ("numpy", "torch", "sitecustomize"):
        (broken / f"{name}.py").write_text("raise ImportError('of the host')\n")
    out.mkdir()
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": "/tmp/bids/code", "OMP_NUM_THREADS": "1"}
    variables |= {"HOME": home} if home else {}
    words = [sys.executable, "-E", "-c", PROGRAM, "/tmp/bids", "/tmp/out", "participant"]
    words += ["--participant-label", "01", "--sloppy", *(("--stop-after", "skullstrip") if home else ())]
    done = confined(words, {"/tmp/out": out}, {"/tmp/bids": bids}, variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The work folder is /tmp/out/.brainseg-work-54321" in done.stdout + done.stderr
    assert list(out.glob("sub-01/anat/*_desc-brain_mask.nii.gz")) and (out / "sub-01.html").is_file()
    assert not list(out.glob(".brainseg*")), "no work folder is left"
