"""``brainseg templates``: what is listed and fetched, with TemplateFlow's client on a small folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import templateflow.client
from templateflow.client import TemplateFlowClient

from brainseg.bidsapp.cli import main
from brainseg.bidsapp.config import output_spaces
from brainseg.bidsapp.tools.templates import client
from brainseg.models.parcellation import names
from brainseg.models.templates import spaces

FILES = (
    "tpl-MNIInfant/template_description.json",
    *(
        f"tpl-MNIInfant/cohort-{cohort}/tpl-MNIInfant_cohort-{cohort}_res-{end}.nii.gz"
        for cohort in (1, 2)
        for end in ("1_T1w", "2_T1w", "1_desc-brain_mask", "1_desc-aseg_dseg")
    ),
    "tpl-OASIS30ANTs/tpl-OASIS30ANTs_res-01_atlas-DK_desc-th25_dseg.nii.gz",
    "tpl-OASIS30ANTs/tpl-OASIS30ANTs_atlas-DK_dseg.tsv",
    "tpl-OASIS30ANTs/tpl-OASIS30ANTs_res-01_T1w.nii.gz",
)
PARSER = """
import json, sys
from niworkflows.utils.spaces import NONSTANDARD_REFERENCES, Reference
print(json.dumps({"native": NONSTANDARD_REFERENCES, "found": [
    [[one.space, one.spec] for one in Reference.from_string(text)] for text in sys.argv[1:]
]}))
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A folder of TemplateFlow with the names of a few files, as its client lists them before it fetches."""
    root = tmp_path / "templateflow"
    for name in FILES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if path.suffix == ".json" else "")
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(root))
    found = TemplateFlowClient(root=root)
    monkeypatch.setattr(client, "client", lambda: found)
    return root


def _run(*words: str) -> int:
    return main.main(["templates", *words])


def test_templates_are_listed(home, capsys):
    assert _run("list") == 0
    said = capsys.readouterr().out
    assert "MNI152NLin2009cAsym        with the program" in said
    assert "MNIInfant                  TemplateFlow" in said
    assert str(home) in said
    assert _run("list", "MNIInfant", "MNI152NLin2009cAsym") == 0
    said = capsys.readouterr().out
    assert "cohort-1 cohort-2 res-1 res-2" in said
    assert "with the program  res-1 res-2" in said
    assert "Louis Collins, McConnell Brain Imaging Centre" in said
    assert _run("list", "BrainsegFetal") == 0
    families = "cohort-21 to cohort-38, cohort-21sb to cohort-25sb, cohort-25sbop to cohort-33sbop"
    assert capsys.readouterr().out.strip().endswith(f"with the program  {families}")


def test_what_a_registration_needs_is_fetched(home, monkeypatch, capsys):
    fetched = []

    def fetch(config, path):
        fetched.append(path.name)
        path.write_bytes(b"image")

    monkeypatch.setattr(templateflow.client, "_s3_get", fetch)
    assert _run("get", "MNIInfant:cohort-02") == 0
    stem = "tpl-MNIInfant_cohort-2_res-1"
    ends = ("T1w", "desc-brain_mask", "desc-aseg_dseg")
    assert fetched == [f"{stem}_{end}.nii.gz" for end in ends]
    found = spaces.find(spaces.parse("MNIInfant:cohort-2"))
    assert found.mask is not None and found.labels is not None
    assert capsys.readouterr().out.splitlines() == [
        str(home / "tpl-MNIInfant" / "cohort-2" / f"{stem}_{end}.nii.gz") for end in ends
    ]
    assert _run("get", "MNIInfant:cohort-2", "MNI152NLin2009cAsym") == 0
    assert len(fetched) == 3
    assert "it comes with the program" in capsys.readouterr().out


def test_atlases_are_fetched_with_their_tables(home, monkeypatch, capsys):
    monkeypatch.setattr(
        templateflow.client, "_s3_get", lambda config, path: path.write_text("index\tname\n1\tOne\n")
    )
    assert _run("get", "OASIS30ANTs", "--atlas", "DK:desc-th25") == 0
    assert capsys.readouterr().out.splitlines() == [str(home / name) for name in FILES[-3:]]
    found = names.find(names.parse("DK:desc-th25:OASIS30ANTs"))
    assert (found.image, found.table) == (home / FILES[-3], home / FILES[-2])
    assert _run("get", "OASIS30ANTs", "--atlas", "Yeo") == 2
    assert "It has: DK:desc-th25" in capsys.readouterr().err


def test_without_network_a_remedy_is_told_and_no_part_of_a_file_is_left(home, monkeypatch, capsys):
    def fetch(config, path):
        path.write_bytes(b"ima")
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(templateflow.client, "_s3_get", fetch)
    assert _run("get", "OASIS30ANTs:res-1") == 126
    said = capsys.readouterr().err
    assert "Name or service not known" in said
    assert "on a machine with internet access: brainseg templates get OASIS30ANTs:res-1" in said
    assert not (home / FILES[-1]).stat().st_size


def test_causes_of_failed_downloads_are_short():
    resolve = "Failed to resolve 'x.org' ([Errno -3] Temporary failure in name resolution)"
    pool = f'HTTPSConnectionPool(host="x.org"): Max retries (Caused by NameError("{resolve}"))'
    assert client.cause(OSError(pool)) == "Temporary failure in name resolution"
    assert client.cause(OSError("(..., 'Connection to x.org timed out. (timeout=10)')")) == (
        "Connection to x.org timed out"
    )
    long = client.cause(RuntimeError("Failed (" + "x" * 300 + ")"))
    assert len(long) < 170 and long.endswith("...") and "(" not in long
    assert client.cause(RuntimeError()) == "RuntimeError"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Moon", "TemplateFlow has no template Moon"),
        ("MNIInfant", "It has cohorts"),
        ("MNIInfant:cohort-7", "It has cohort-1, cohort-2"),
        ("OASIS30ANTs:res-2", "It has res-1"),
        ("Mine=/a.nii.gz", "file of yours"),
    ],
)
def test_what_is_not_there_is_told(home, capsys, text, said):
    assert _run("get", text) == 2
    assert said.removeprefix("It has ") in capsys.readouterr().err


@pytest.mark.slow
def test_spaces_are_parsed_as_niworkflows_does(home):
    """Their parser runs in a process of its own, for it reads TemplateFlow's folder when it is imported."""
    texts = ["MNIInfant:cohort-1:cohort-2:res-1", "MNIInfant:res-2:cohort-2", "OASIS30ANTs", "anat", "T1w"]
    done = subprocess.run([sys.executable, "-c", PARSER, *texts], capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    for text, expected in zip(texts, theirs["found"], strict=True):
        ours = [(one.name, one.cohort, one.resolution) for one in spaces.expand(text)]
        assert ours == [(name, spec.get("cohort"), spec.get("res")) for name, spec in expected]
    known = {*output_spaces.NATIVE, *output_spaces.ABSENT}
    assert set(theirs["native"]) <= known
