"""Environment variables that libraries read when they are imported."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

JOBS = {
    "SLURM_JOB_ID": ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"),
    "PBS_JOBID": ("PBS_JOBID", ""),
    "LSB_JOBID": ("LSB_JOBID", "LSB_JOBINDEX"),
    "JOB_ID": ("JOB_ID", "SGE_TASK_ID"),
}
"""Variables with the number of the job of a batch system, and those with the numbers of array and task."""


def quiet_environment() -> None:
    """Keep libraries from sending usage data, opening windows, indexing templates and waiting in loops.

    It must run before Nipype, matplotlib, PyTorch and TemplateFlow are imported.
    """
    if sys.flags.ignore_environment:
        # Where Python ignores the host's modules, as in the container, programs that it starts do too.
        for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"):
            os.environ.pop(name, None)
    try:
        Path.home()
    except RuntimeError:  # neither HOME nor an entry in passwd, as in a container; libraries would fail
        os.environ["HOME"] = tempfile.gettempdir()
    os.environ["NIPYPE_NO_ET"] = os.environ["NO_ET"] = "1"
    os.environ.setdefault("MPLBACKEND", "Agg")
    # Threads that wait in a loop take a fifth of the CPU time, and gain nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Those of NumPy's and SciPy's library always do; its matrices here are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "MPLCONFIGDIR" not in os.environ and not _writable_home():
        # Else every process that imports matplotlib warns on the terminal.
        with suppress(OSError):
            os.environ["MPLCONFIGDIR"] = str(_temporary("matplotlib"))
    if "TEMPLATEFLOW_HOME" in os.environ:
        return
    # With an empty home every process would unpack and index thousands of templates not needed here.
    with suppress(OSError):
        home = _temporary("templateflow")
        (home / ".no-templates-needed").touch()
        os.environ["TEMPLATEFLOW_HOME"] = str(home)


def job(environ: Mapping[str, str] = os.environ) -> str:
    """Return the job of the batch system that this process is part of; empty if there is none.

    Examples
    --------
    >>> job({"SLURM_JOB_ID": "78", "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "3"})
    '77_3'
    >>> job({"PBS_JOBID": "12[3].server"}), job({"JOB_ID": "5", "SGE_TASK_ID": "undefined"}), job({})
    ('12[3].server', '5', '')
    """
    for name, (array, task) in JOBS.items():
        if environ.get(name):
            number = environ.get(task, "")
            whole = number.isdigit() and number != "0" and environ.get(array)
            return f"{environ[array]}_{number}" if whole else environ[name]
    return ""


def _temporary(name: str) -> Path:
    """Return a temporary folder of this user for a library."""
    folder = Path(tempfile.gettempdir()) / f"brainseg-{name}-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):  # somebody else's
        return Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
    return folder


def _writable_home() -> bool:
    """Return whether matplotlib can write its folder in the home of the user."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "matplotlib"
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return False
    return os.access(folder, os.W_OK)
