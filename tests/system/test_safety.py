"""Nothing leaves the machine, nothing is unpickled, and no name leads out of the output folder."""

import ast
import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from brainseg.bidsapp.config import environment
from brainseg.bidsapp.reports import derivatives
from brainseg.interfaces.io import files
from brainseg.models.io import atomic
from brainseg.models.networks import zoo
from helpers import ROOT, WATCH

FOLDERS = ("bidsapp", "workflows", "interfaces", "models", "training")


def test_the_watch_sees_what_it_is_for(tmp_path):
    code = (
        "import socket, pathlib\n"
        "try: socket.create_connection(('127.0.0.1', 9), timeout=0.1)\n"
        "except OSError: pass\n"
        f"pathlib.Path({str(tmp_path / 'data' / 'x')!r}).write_text('x')\n"
        f"pathlib.Path({str(tmp_path / 'elsewhere')!r}).write_text('x')\n"
    )
    (tmp_path / "data").mkdir()
    env = {
        "PYTHONPATH": str(WATCH),
        "WATCH_LOG": str(tmp_path / "log"),
        "WATCH_READONLY": str(tmp_path / "data"),
    }
    subprocess.run([sys.executable, "-c", code], env=os.environ | env, check=True)
    kinds = [line.split("\t")[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert set(kinds) == {"network", "write"}
    assert kinds.count("write") == 1


def test_telemetry_is_off_whatever_the_environment_says(monkeypatch):
    for name in ("NO_ET", "NIPYPE_NO_ET"):
        monkeypatch.delenv(name, raising=False)
    environment.quiet_environment()
    assert os.environ["NO_ET"] and os.environ["NIPYPE_NO_ET"]
    monkeypatch.setenv("NO_ET", "")
    environment.quiet_environment()
    assert os.environ["NO_ET"] == "1"


@pytest.mark.slow
def test_nothing_is_unpickled_or_evaluated():
    """No pickles, no ``torch.load`` that would take them, no text that becomes code, no shell."""
    for path in [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}, path
            if not isinstance(node, ast.Call):
                continue
            name, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert name not in ("eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"), (
                path
            )
            assert given.get("shell", "False") == "False", path
            assert given.get("allow_pickle", "False") == "False", path
            assert name != "torch.load" or given.get("weights_only") == "True", path


def test_weights_that_are_not_those_of_the_card_are_refused(tmp_path):
    from brainseg.models.networks.zoo import path_of

    for end in (".safetensors", ".json"):
        source = path_of("head-coarse").with_suffix(end)
        (tmp_path / f"mine{end}").write_bytes(source.read_bytes())
    content = bytearray((tmp_path / "mine.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "mine.safetensors").write_bytes(bytes(content))
    with pytest.raises(zoo.ModelError, match="SHA-256 differs"):
        zoo.load(str(tmp_path / "mine.safetensors"))
    # a pickle under that name, its digest on the card, is no weights either
    pickled = b"\x80\x04cos\nsystem\n(S'touch /tmp/owned'\ntR."
    (tmp_path / "mine.safetensors").write_bytes(pickled)
    card = json.loads((tmp_path / "mine.json").read_text()) | {"sha256": hashlib.sha256(pickled).hexdigest()}
    (tmp_path / "mine.json").write_text(json.dumps(card))
    with pytest.raises(zoo.ModelError):
        zoo.load(str(tmp_path / "mine.safetensors"))


@pytest.mark.parametrize("label", ["../../elsewhere", "/etc", "01/../../elsewhere", "*", "", "01\n", "a b"])
def test_labels_do_not_lead_out_of_the_output(app, fake, tmp_path, label, capsys):
    bids, out = fake.dataset(tmp_path / "bids", ["sub-01"]), tmp_path / "out"
    for flag in ("--participant-label", "--session-label"):
        code = app(bids, out, "participant", "--dry-run", flag, label)
        assert code in (0, 2)
        assert code == 2 or label in ("", "01\n"), flag
    assert "Traceback" not in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} <= {"bids", "work", "calls.txt"}


@pytest.mark.parametrize(
    "key", ["../x", "sub-01/../../x", "sub-..", "sub-01_ses-../x", "sub-", "x", "sub-01\n"]
)
def test_keys_that_are_none_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match="is neither"):
        derivatives.load(tmp_path, key)


@pytest.mark.parametrize("space", ["../../x=image.nii.gz", "a/b", "x;y", "..", "=image.nii.gz"])
def test_names_of_spaces_do_not_lead_out_of_the_output(app, fake, tmp_path, space):
    bids = fake.dataset(tmp_path / "bids", ["sub-01"])
    assert app(bids, tmp_path / "out", "participant", "--dry-run", "--output-spaces", space) == 2


def test_a_link_in_the_output_is_replaced_and_not_followed(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    for number, write in enumerate(
        (
            lambda path: files.write_text(path, "new"),
            lambda path: atomic.write_text(path, "new"),
            lambda path: files.write_image(path, np.zeros((3, 3, 3), np.uint8), np.eye(4)),
        )
    ):
        link = tmp_path / "out" / f"{number}.nii.gz"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(precious)
        write(link)
        assert not link.is_symlink()
        assert precious.read_text() == "precious"
