"""Networks of a user in the chain: by name or file, refused before anything is computed, computed again."""

import json
import shutil
from pathlib import Path

import pytest

from brainseg.bidsapp.cli import bids, main
from brainseg.bidsapp.config import networks
from brainseg.models.errors import UsageError
from brainseg.models.networks import zoo
from brainseg.models.population import populations
from helpers import own_networks


@pytest.fixture
def dataset(tmp_path, nifti):
    root = tmp_path / "bids"
    for label in ("01", "02"):
        nifti(root / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    return root


def _run(*words):
    return bids.main([*map(str, words), "--skip-bids-validation"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("segmentation=nothing", "no weights named nothing"),
        ("segmentation=nothing", "available: deepbet"),
        ("segmentation=/no/such.safetensors", "no weights at /no/such.safetensors"),
        ("segmentation=such.safetensors", "such.safetensors: the file does not exist. Check the path."),
        ("segmentation=no/such", "no weights at no/such: the name of their file ends with .safetensors"),
        ("segmentation=lesion", "made to segment lesions"),
        ("segmentation=head-coarse", "made to find the brain in a head"),
        ("segmentation=fetal", "does not fit the segmentation of adult brains"),
        ("lesion=segmentation", "this network does not segment lesions"),
        ("skullstrip=segmentation", "this network does not skull-strip"),
        ("hippocampus=lesion", "this network does not segment the hippocampus"),
        ("bones=lesion", "is not STEP=NETWORK"),
        ("lesion", "is not STEP=NETWORK"),
        ("segmentation=DAMAGED", "SHA-256 differs"),
        ("segmentation=NO-CARD", "missing model card"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_computed(text, words, dataset, tmp_path, capsys):
    path = own_networks.make(tmp_path / "n")
    if "DAMAGED" in text:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    if "NO-CARD" in text:
        path.with_suffix(".json").unlink()
    text = text.replace("DAMAGED", str(path)).replace("NO-CARD", str(path))
    out = tmp_path / "out"
    assert _run(dataset, out, "participant", "--network", text) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.strip().splitlines()) == 1
    assert not out.exists()


def test_networks_by_name_and_by_file(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINSEG_MODELS", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    own_networks.make(tmp_path / "b", "byname")
    path = own_networks.make(tmp_path / "c", "byfile")
    assert networks.choose(["segmentation=byname"])[0] == (f"segmentation={tmp_path}/b/byname.safetensors",)
    assert networks.choose(["lesion=lesion"])[0] == ("lesion=lesion",), "a shipped one"
    monkeypatch.chdir(tmp_path)
    assert networks.choose("segmentation=c/byfile.safetensors")[0] == (f"segmentation={path}",)
    with pytest.raises(UsageError, match="two networks for segmentation"):
        networks.choose(["segmentation=byname", "segmentation=segmentation"])


def test_a_network_of_an_optional_step_switches_it_on():
    _, steps, notes = networks.choose(["lesion=lesion"], ("no-posteriors",))
    assert steps == ("no-posteriors", "lesion") and "was switched on" in notes[0]
    assert networks.choose(["lesion=lesion"], ("lesion",))[1:] == (("lesion",), ())
    with pytest.raises(UsageError, match="which --steps switches off"):
        networks.choose(["lesion=lesion"], ("no-lesion",))


def test_other_weights_under_the_same_name_are_other_settings(tmp_path):
    path = own_networks.make(tmp_path / "a")
    words = [str(tmp_path), str(tmp_path / "out"), "participant"]
    plain = bids.parse(words)
    first = bids.parse([*words, "--network", f"segmentation={path}"])
    assert "network" not in plain.that_matter, "status files of earlier versions stand"
    moved = shutil.copytree(tmp_path / "a", tmp_path / "moved") / path.name
    assert bids.parse([*words, "--network", f"segmentation={moved}"]).that_matter == first.that_matter
    before = first.that_matter
    own_networks.make(tmp_path / "a", dark=1)
    assert bids.parse([*words, "--network", f"segmentation={path}"]).that_matter != before
    assert bids.parse([*words, f"--network=segmentation={path}", "participant"]).network == first.network


def test_a_participant_is_computed_again_when_the_network_changes(app, fake, tmp_path):
    bids, path = fake.dataset(tmp_path / "bids", ["sub-01"]), own_networks.make(tmp_path / "networks")
    given = (bids, tmp_path / "out", "participant", "--network", f"segmentation={path}")
    assert app(*given) == 0
    before = len(app.calls())
    assert app(*given) == 0
    assert len(app.calls()) == before, "already done"
    own_networks.make(tmp_path / "networks", dark=1)
    assert app(*given) == 0
    assert len(app.calls()) > before
    assert (tmp_path / "out" / "desc-mine_dseg.tsv").read_text().splitlines()[2].startswith("1\tCSF\tCSF\t#")
    assert len(list((tmp_path / "out" / "logs" / "networks").iterdir())) == 2, "the card of each"


def test_dry_run_lists_network_and_files(dataset, tmp_path, capsys):
    path = own_networks.make(tmp_path / "networks", "mine-2")
    assert (
        _run(dataset, tmp_path / "out", "participant", "--network", f"segmentation={path}", "--dry-run") == 0
    )
    said = capsys.readouterr().out
    assert "mine-2 (0.0 MB)" in said and "sub-01_desc-mine2_dseg.nii.gz" in said
    assert not (tmp_path / "out").exists()


def test_the_users_folders_are_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("BRAINSEG_MODELS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    own_networks.make(tmp_path / "brainseg" / "weights", "listed")
    (tmp_path / "brainseg" / "ours.tsv").write_text("index\tname\n1\tBlob\n")
    (tmp_path / "brainseg" / "elders.toml").write_text('base = "adult"\n')
    assert main.main(["models", "list"]) == 0
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("listed"))
    assert "supervised" in line and f"yours, in {tmp_path / 'brainseg' / 'weights'}" in line
    assert "label table ours" in said and "population elders" in said
    assert str(Path(tmp_path / "brainseg")) in said.splitlines()[-1]


def test_a_label_table_beside_the_weights_is_added_with_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BRAINSEG_MODELS", str(tmp_path / "own"))
    path = own_networks.make(tmp_path / "made", "beside", label_table="besides")
    card = json.loads(path.with_suffix(".json").read_text())
    del card["labels"]
    path.with_suffix(".json").write_text(json.dumps(card))
    (tmp_path / "made" / "besides.tsv").write_text("index\tname\ttissue\n1\tA\tcsf\n2\tB\tgm\n3\tC\twm\n")
    assert main.main(["models", "add", str(path)]) == 0
    assert networks.choose(["segmentation=beside"])[0]
    assert (tmp_path / "own" / "besides.tsv").is_file()
    (tmp_path / "own" / "besides.tsv").unlink()
    assert zoo.read_card("beside")["label_table"] == "besides"


def test_populations_of_a_user(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINSEG_MODELS", str(tmp_path))
    (tmp_path / "elders60.toml").write_text(
        'base = "adult"\nages = [60, 120]\n[plausible]\nbrain_ml = [500, 2000]\n'
    )
    (tmp_path / "broken60.toml").write_text("ages = [60, 120]\nnonsense = 3\n")
    (tmp_path / "notoml60.toml").write_text("ages = [60,")
    record = populations.load("elders60")
    assert record.name == "elders60" and record.ages == (60, 120) and record.brain_ml == (500, 2000)
    assert record.segmentation == "segmentation", "the base's"
    assert "elders60" in populations.trained() and "broken60" not in populations.trained()
    assert populations.by_age(70, populations.YEARS).name == "adult", "age alone finds shipped ones only"
    with pytest.raises(UsageError, match=r"broken60\.toml: the record does not fit"):
        populations.load("broken60")
    with pytest.raises(UsageError, match="it is not valid TOML"):
        populations.load("notoml60")
    assert "not valid" in populations.unusable("notoml60")


def test_jobs_in_a_container_see_the_network(dataset, tmp_path):
    path, image, out = own_networks.make(tmp_path / "networks"), tmp_path / "app.sif", tmp_path / "out"
    image.write_text("image")
    given = ("--network", f"segmentation={path}", "--write-job", "slurm", "--image", image)
    assert _run(dataset, out, "participant", *given) == 0
    (job,) = (out / "logs" / "jobs").iterdir()
    texts = "\n".join(one.read_text() for one in job.iterdir() if one.is_file())
    assert f"--bind {path.parent}:{path.parent}" in texts and f"segmentation={path}" in texts
