"""Completion as users have it: a real shell in a terminal, a line, and the tab key."""

import os
import pty
import select
import shutil
import signal
import sys
import time

import pytest

from brainseg.bidsapp.cli import bids, completion, main
from brainseg.models.templates import spaces

SHELLS = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
    "tcsh": ["-f", "-i"],
}
PROGRAMS = {"brainseg-bids": "bids", "brainseg": "main"}
STUB = """\
#!/bin/sh
if [ "$1" = --complete ]; then exec "{python}" -m brainseg.bidsapp.cli.{module} "$@"; fi
printf 'RAN'; printf '|%s' "$@"; echo
"""
RUN = "brainseg-bids data out participant"
LINES = {
    "brainseg-bids data out parti": "data|out|participant",
    "brainseg-bids dat": "data",
    f"{RUN} --participant-label Al": "data|out|participant|--participant-label|Alpha",
    f"{RUN} --participant-label Alpha gr": "data|out|participant|--participant-label|Alpha|group",
    "brainseg-bids --sloppy data out partic": "--sloppy|data|out|participant",
    f"{RUN} --steps lesion no-pos": "data|out|participant|--steps|lesion|no-posteriors",
    f"{RUN} --population fe": "data|out|participant|--population|fetal",
    f"{RUN} --device=cu": "data|out|participant|--device=cuda",
    f"{RUN} --dry": "data|out|participant|--dry-run",
    "brainseg train hippocampus-r": "train|hippocampus-registration",
    "brainseg synth pre": "synth|preview",
    "brainseg models show skul": "models|show|skullstrip",
}


@pytest.fixture
def here(tmp_path):
    """A folder with a dataset, and the programs; they only print their arguments."""
    (tmp_path / "bin").mkdir()
    for name, module in PROGRAMS.items():
        path = tmp_path / "bin" / name
        path.write_text(STUB.format(python=sys.executable, module=module))
        path.chmod(0o755)
    for label in ("Alpha", "Beta"):
        (tmp_path / "data" / f"sub-{label}" / f"ses-{label}1").mkdir(parents=True)
    return tmp_path


def typed(shell, lines, folder):
    """Type lines into a shell, each ended by tab and enter; return what the programs were called with."""
    keys = "autoload -Uz compinit; compinit -D -u\n" if shell == "zsh" else ""
    for name in PROGRAMS:
        (folder / f"{name}.{shell}").write_text(completion.script(name, shell))
        keys += f"source {name}.{shell}\n"
    keys += "".join(f"{line}\t\n" for line in lines) + "echo THE''END\n"
    process, terminal = pty.fork()
    if process == 0:
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        os.chdir(folder)
        variables = {"PATH": path, "HOME": str(folder), "TERM": "vt100"}
        variables |= {k: v for k, v in os.environ.items() if k.startswith("PYTHON")}
        os.execvpe(shell, [shell, *SHELLS[shell]], variables)
    os.write(terminal, keys.encode())
    out, end = b"", time.monotonic() + 90
    try:
        while b"THEEND" not in out and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                out += os.read(terminal, 65536)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)
    lines = out.decode(errors="replace").splitlines()
    return [line.partition("RAN|")[2].strip() for line in lines if "RAN|" in line]


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_the_tab_key_completes_in_a_real_shell(shell, here):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    ran = typed(shell, LINES, here)
    found = [line.rstrip("/") for line in ran]
    assert found == [*LINES.values()]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_a_script(program, shell, capsys):
    if program == "brainseg":
        assert main.main(["--completion", shell]) == 0
    else:
        with pytest.raises(SystemExit) as stop:
            bids.main(["--completion", shell])
        assert stop.value.code == 0
    assert f"{program} --complete" in capsys.readouterr().out or shell in ("bash", "zsh")


def offered(line, capsys, run=bids.main):
    """Return the words that bash is offered at the end of a line."""
    assert run(["--complete", "bash", line]) == 0
    return capsys.readouterr().out.splitlines()[1:]


def test_participants_and_sessions_of_the_dataset_are_offered(here, capsys):
    line = f"brainseg-bids {here / 'data'} out participant "
    assert offered(f"{line}--participant-label ", capsys) == ["Alpha", "Beta"]
    assert offered(f"{line}--participant_label Alpha ", capsys) == ["Beta", "group"]
    assert offered(f"{line}--session-label ", capsys) == ["Alpha1", "Beta1"]
    assert offered(f"{line}--participant-label sub-Beta --session-label ", capsys) == ["Beta1"]
    assert offered(f"brainseg-bids '{here / 'data'}' out participant --participant-label A", capsys) == [
        "Alpha"
    ]


def test_recipes_networks_templates_and_commands_are_offered(capsys):
    def ask(line):
        return offered(line, capsys, main.main)

    assert {"segmentation", "lesion", "prepare"} <= set(ask("brainseg train "))
    assert {"segmentation", "lesion"} <= set(ask("brainseg segment a.nii b.nii --model "))
    assert ask("brainseg synth ") == ["preview", "sample", "seeds"]
    assert set(ask("brainseg ")) == {name.split()[0] for name in main.COMMANDS}
    assert ask("brainseg train segmentation --dat") == ["--data"]
    assert ask("brainseg segment a b --population fe") == ["fetal"]
    assert set(spaces.embedded()) <= set(offered("brainseg-bids a b participant --output-spaces ", capsys))


def test_a_line_that_is_no_command_offers_nothing(capsys):
    assert offered("brainseg nonsense ", capsys, main.main) == []
    assert offered("brainseg-bids 'unclosed ", capsys) == []
