"""Every command line of the page on clusters runs, in its order; science and batch system are stand-ins."""

import os
import re
import subprocess
import sys

import pytest

from helpers import ROOT, TESTS, fake_batch

pytestmark = pytest.mark.slow

FAKE = TESTS / "helpers" / "fake_chain.py"


def _commands():
    text = (ROOT / "docs" / "hpc.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines() if line.strip()]


def test_the_documented_commands(fake, tmp_path):
    bids, out = fake.dataset(tmp_path / "study"), tmp_path / "derivatives"
    place = fake_batch.install(tmp_path / "bin")
    program = place / "brainseg-bids"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    program.chmod(0o755)
    container = place / "apptainer"
    container.write_text(
        '#!/bin/sh\nif [ "$1" = build ]; then touch "$2"; exit; fi\n'
        'while [ "${1%.sif}" = "$1" ]; do shift; done\nshift\nexec brainseg-bids "$@"\n'
    )
    container.chmod(0o755)
    engine = place / "snakemake"  # snakemake participants|group --snakefile FOLDER/Snakefile ...
    engine.write_text(
        '#!/bin/sh\nset -e\ncd "$(dirname "$3")"\n'
        'if [ "$1" = group ]; then exec bash group.sh; fi\n'
        'for line in $(seq "$(wc -l < participants.txt)"); do bash task.sh "$line"; done\n'
    )
    engine.chmod(0o755)
    env = os.environ | {"PATH": f"{place}:{os.environ['PATH']}", "LOGNAME": "me"}
    commands = _commands()
    assert len(commands) > 7
    said = []
    for command in commands:
        if "--write-job snakemake" in command:  # everyone is done in the other folder
            out = tmp_path / "by-snakemake"
        here = command.replace("/data/study", str(bids)).replace("/data/derivatives", str(out))
        here = here.replace("/scratch", str(tmp_path / "scratch"))
        done = subprocess.run(
            ["bash", "-c", here], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (here, done.stdout, done.stderr)
        said.append(done.stdout)
    # the array of the first job did everyone, and the group level followed
    assert "2 in all: 2 done" in said[2]
    for folder in (tmp_path / "derivatives", tmp_path / "by-snakemake"):
        assert (folder / "group.html").is_file()
    assert len(list((out / "logs" / "status").glob("*.json"))) == 2
