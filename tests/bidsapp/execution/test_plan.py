"""The plan of a run needs few libraries, so that ``--dry-run`` answers soon."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_plan_imports_neither_nipype_nor_figures():
    code = "import sys, brainseg.bidsapp.execution.plan; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"nipype", "niworkflows", "matplotlib", "nilearn", "rich"} & set(loaded)
