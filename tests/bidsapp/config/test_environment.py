"""The environment of libraries: nothing on the terminal, even where the home folder cannot be written."""

import os
import subprocess
import sys

import pytest

CODE = """
from brainseg.bidsapp.config.environment import quiet_environment
quiet_environment()
import matplotlib.pyplot
"""


@pytest.mark.slow
def test_a_home_that_cannot_be_written_is_not_worth_a_word(tmp_path):
    (tmp_path / "file").touch()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MPL", "XDG", "TEMPLATEFLOW"))}
    for home in ("/proc", str(tmp_path / "file")):
        done = subprocess.run(
            [sys.executable, "-c", CODE],
            env=kept | {"HOME": home},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (done.stdout, done.stderr) == ("", "")
