"""The plan of a run needs few libraries, so that ``--dry-run`` answers soon; and the threads of one step."""

import subprocess
import sys
from dataclasses import replace

import pytest

from brainseg.bidsapp.config.settings import Settings
from brainseg.bidsapp.execution import estimate


@pytest.mark.slow
def test_the_plan_imports_neither_nipype_nor_figures():
    code = "import sys, brainseg.bidsapp.execution.plan; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"nipype", "niworkflows", "matplotlib", "nilearn", "rich"} & set(loaded)


def test_participants_at_once_come_before_threads(nifti, tmp_path):
    """One participant has all CPUs; many have one each, as far as the memory goes; a given number stays."""
    images = [nifti(tmp_path / f"sub-{number:02}_T1w.nii.gz") for number in range(20)]
    base = Settings(tmp_path, tmp_path / "out", ("participant",), nprocs=8, omp_nthreads=8, mem_gb=100.0)
    each = estimate.needed(images).gb

    def threads(count, **changes):
        return estimate.with_threads(replace(base, **changes), images[:count]).omp_nthreads

    assert [threads(1), threads(2), threads(3), threads(20)] == [8, 4, 2, 1]
    assert threads(20, mem_gb=2.5 * each) == 4 and threads(20, mem_gb=0.1) == 8
    assert threads(20, given=("omp_nthreads",)) == 8 and threads(0) == 8
    assert threads(20, omp_nthreads=1, mem_gb=0.1) == 1
    assert threads(20, plugin="linear") == 8, "one step at a time has all of them"
