"""The single-file commands: what they say, write and refuse. The networks themselves are tested elsewhere."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.bidsapp.cli import main
from helpers import own_networks, quick_science


@pytest.fixture
def scan(fake, tmp_path):
    """A scan in an orientation of its own."""
    image = fake.head((24, 30, 22), 4.0)
    turned = image.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
    turned.header["sform_code"] = turned.header["qform_code"] = 2
    path = tmp_path / "scan.nii.gz"
    nib.save(turned, path)
    return path


@pytest.fixture
def science(monkeypatch):
    """Quick answers in place of the networks'."""
    quick_science.install(monkeypatch.setattr)


def _run(*words) -> int:
    return main.main([str(word) for word in words])


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_segment_writes_ids_on_the_grid_of_the_scan(scan, science, tmp_path, capsys, ending):
    out, table = tmp_path / "new" / f"out{ending}", tmp_path / "volumes.csv"
    assert _run("segment", scan, out, "--volumes", table, "--device", "cpu", "--threads", "1") == 0
    source, found = nib.load(scan), nib.load(out)
    assert np.allclose(found.affine, source.affine)
    assert found.shape == source.shape
    assert found.get_data_dtype() == np.int16
    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (2, 2)
    assert set(np.unique(found.dataobj)) == {0, 17}
    rows = {int(row["index"]): row for row in csv.DictReader(table.read_text().splitlines())}
    assert float(rows[17]["volume_mm3"]) == 1234.5
    assert (rows[17]["volume_low_mm3"], rows[17]["volume_high_mm3"]) == ("1200.00", "1300.00")
    assert rows[17]["name"] == "Left-Hippocampus"
    said = capsys.readouterr().out
    assert "note: look at it" in said and "1 structures; brain mask: network deepbet" in said


def test_segment_takes_several_scans_and_writes_tissues(scan, science, tmp_path, capsys):
    other, out = tmp_path / "b.nii.gz", tmp_path / "out"
    other.write_bytes(scan.read_bytes())
    assert _run("segment", scan, other, out, "--device", "cpu", "--threads", "1") == 0
    assert sorted(path.name for path in out.iterdir()) == ["b_dseg.nii.gz", "scan_dseg.nii.gz"]
    assert _run("segment", scan, tmp_path / "one.nii.gz", "--tissues", tmp_path / "new" / "t.nii.gz") == 0
    tissues = nib.load(tmp_path / "new" / "t.nii.gz")
    assert tissues.get_data_dtype() == np.uint8 and set(np.unique(tissues.dataobj)) == {0, 5}
    for words, said in (
        ((scan, other, tmp_path / "x.nii.gz"), "several scans are segmented into a folder"),
        ((scan, other, out, "--tissues", tmp_path / "t.nii.gz"), "--tissues is for one image"),
        ((scan, tmp_path, out), "it is a folder beside other scans"),
        ((scan, tmp_path / "x" / scan.name, out), "it has the name of"),
    ):
        assert _run("segment", *words) == 2
        assert said in capsys.readouterr().err
    assert _run("segment", scan, tmp_path / "g.nii.gz", "--gpu") == (0 if torch.cuda.is_available() else 2)


def test_segment_by_a_network_of_own_labels(scan, science, tmp_path, capsys):
    """Its labels, its tissues if it has them, and the mirror image by ``--effort accurate`` everywhere."""
    path, out = own_networks.make(tmp_path / "networks"), tmp_path / "out.nii.gz"
    command = ("segment", scan, out, "--device", "cpu", "--threads", "1")
    more = ("--model", path, "--tissues", tmp_path / "t.nii.gz", "--volumes", tmp_path / "v.csv")
    assert _run(*command, *more, "--effort", "accurate", "--population", "fetal") == 0
    said = capsys.readouterr().out
    assert "labels; brain mask: network deepbet" in said and "1 gray matter, 2 white matter, 3 CSF" in said
    assert "not averaged" not in said
    values, tissues = (np.asarray(nib.load(one).dataobj) for one in (out, tmp_path / "t.nii.gz"))
    assert set(np.unique(values)) <= {0, 2, 3} and (values > 0).any()
    assert (np.array([0, 3, 1, 2])[values] == tissues).mean() > 0.99
    rows = list(csv.DictReader((tmp_path / "v.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["CSF", "GM", "WM"]
    blind = own_networks.make(tmp_path / "networks", "blind", flip=0.0)
    assert _run(*command, "--model", blind, "--effort", "accurate") == 0
    assert "blind was not averaged with the mirror image" in capsys.readouterr().out
    lone = own_networks.make(tmp_path / "networks", "lone", [{"index": 7, "name": "Core"}], dark=1, other=0)
    out.unlink()
    for given, reason in (
        ((lone, "--tissues", tmp_path / "t.nii.gz"), "no gray and white matter"),
        ((path, "--posteriors", tmp_path / "p.nii.gz"), "--posteriors is not for networks with labels"),
        ((path, "--corpus-callosum"), "--corpus-callosum is not for networks with labels"),
    ):
        assert _run(*command, "--model", *given) == 2
        assert reason in capsys.readouterr().err and not out.exists()


def test_skullstrip_writes_image_or_mask(scan, science, tmp_path, capsys):
    assert _run("skullstrip", scan, tmp_path / "brain.nii.gz") == 0
    assert _run("skullstrip", scan, tmp_path / "mask.nii.gz", "--mask", "--skull-strip", "skip") == 0
    source, brain, mask = (nib.load(tmp_path / f"{name}.nii.gz") for name in ("scan", "brain", "mask"))
    inside = np.asarray(mask.dataobj) > 0
    assert mask.get_data_dtype() == np.uint8
    assert brain.get_data_dtype() == np.int16
    assert (np.asarray(brain.dataobj) == np.where(inside, np.asarray(source.dataobj), 0)).all()
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(" mL; mask: network deepbet")
    assert said[1].endswith(" mL; mask: extent of the skull-stripped image")


def test_a_stack_is_refused_before_birth_and_licenses_are_told_once(fake, science, tmp_path, capsys):
    for name, thickness, slices in (("a", 4.0, 20), ("b", 0.8, 80)):
        image = fake.head((80, 80, slices), 0.8)
        image = nib.Nifti1Image(np.asarray(image.dataobj), np.diag([0.8, 0.8, thickness, 1]))
        nib.save(image, tmp_path / f"{name}.nii.gz")
    stack, mask = tmp_path / "a.nii.gz", tmp_path / "mask.nii.gz"
    assert _run("segment", stack, tmp_path / "x.nii", "--population", "fetal") == 1
    said = capsys.readouterr().err
    assert "low-resolution stack (voxels of 0.8 x 0.8 x 4 mm" in said and "skullstrip --mask" in said
    assert not (tmp_path / "x.nii").exists()
    assert _run("segment", tmp_path, tmp_path / "out", "--population", "fetal") == 1
    assert capsys.readouterr().err.count("note: The networks for fetal brains") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b_dseg.nii.gz"]
    assert _run("skullstrip", stack, mask, "--mask", "--population", "fetal") == 0
    assert "note: The networks for fetal brains" in capsys.readouterr().err
    assert _run("segment", stack, tmp_path / "adult.nii") == 0
    assert "note: The networks" not in capsys.readouterr().err


def test_mistakes_are_told_in_one_line(scan, science, tmp_path, capsys):
    here, fetal = tmp_path, ("--population", "fetal")
    training = ["--data", scan, "--out", here]
    for words, code, text in [
        (["segment", scan, scan], 2, "the output is the input itself"),
        (["segment", scan, here / "o.nii", "--corpus-callosum"], 2, "does not segment the corpus callosum"),
        (["segment", scan, here / "o.nii", *fetal, "--effort", "accurate"], 2, "not available for fetal"),
        (
            ["segment", scan, here / "o.nii", *fetal, "--posteriors", here / "p.nii"],
            2,
            "not available for fetal",
        ),
        (["segment", scan, here / "out.mgz"], 2, "End its name with .nii.gz"),
        (["segment", scan, "/proc/x.nii.gz"], 2, "/proc: the folder cannot be written"),
        (
            ["segment", here / "gone.nii.gz", here / "o.nii"],
            1,
            "gone.nii.gz: the file does not exist. Check the path.",
        ),
        (["segment", scan, scan / "out.nii"], 2, "cannot be written"),
        (["segment", scan, here / "o.nii", "--skull-strip", "force"], 1, "scan.nii.gz: no brain was found"),
        (["segmnt", scan], 2, "Did you mean segment? See brainseg --help"),
        (["segment", scan, here / "o.nii", "--threads", "0"], 2, "--threads 0 is too few"),
        (["synth"], 2, "Commands are synth preview, synth sample, synth seeds"),
        (["synth", "preveiw"], 2, "no command 'synth preveiw'"),
        (["train", "nothing", *training], 2, "no recipe 'nothing'"),
        (["train", "segmentation", "minutes", *training], 2, "'minutes' is not key=value"),
        (["train", "segmentation", "--data", here / "x.npz", "--out", here], 2, "train prepare"),
        (["train", "prepare", here / "x.npz", here / "gone.nii.gz"], 2, "does not exist"),
        (["models", "show", "nothing"], 126, "no weights named"),
        (["evaluate", here / "a", here / "b"], 126, "no such file"),
    ]:
        assert _run(*words) == code, words
        said = capsys.readouterr().err.strip().splitlines()
        assert text in said[-1], said
        assert "Traceback" not in "".join(said)


def test_evaluate(scan, science, tmp_path, capsys):
    assert _run("segment", scan, tmp_path / "a.nii.gz") == 0
    assert (
        _run("evaluate", tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", "--out", tmp_path / "scores.tsv") == 0
    )
    assert "mean Dice 1.0000 over 1 structures" in capsys.readouterr().out
    assert "Left-Hippocampus" in (tmp_path / "scores.tsv").read_text()


def test_training_gets_recipe_data_and_changes(scan, tmp_path, monkeypatch, capsys):
    made = []

    def run(trainer):
        made.append(trainer)
        return "weights.safetensors"

    monkeypatch.setattr("brainseg.bidsapp.tools.train.train", run)
    assert (
        _run(
            "train",
            "segmentation",
            "--data",
            scan,
            "minutes=3",
            "--out",
            tmp_path,
            "seed=7",
            "--device",
            "cpu",
        )
        == 0
    )
    (one,) = made
    assert (one.recipe.minutes, one.recipe.seed) == (3, 7)
    assert (one.data, one.folder, one.validation, one.device) == (scan, tmp_path, None, "cpu")
    assert _run("train", "segmentation", "--data", scan, "--out", tmp_path, "minuts=3") == 2
    assert "minuts" in capsys.readouterr().err


def test_prepare(toy, tmp_path, capsys):
    maps = toy.write(tmp_path)
    assert _run("train", "prepare", tmp_path / "heads.npz", *maps) == 0
    assert f"{len(maps)} maps" in capsys.readouterr().out
    assert (tmp_path / "heads.npz").stat().st_size > 1000


def test_models_are_listed_shown_and_verified(tmp_path, capsys):
    from brainseg.models.networks import zoo
    from brainseg.models.networks.stem_unet import StemUNet

    arguments = {"inputs": 1, "channels": [2, 4], "tasks": {"structure": {"outputs": 3}}}
    network = StemUNet(**arguments)
    card = {"name": "toy", "architecture": {"class": "StemUNet", "arguments": arguments}, "license": "CC0"}
    path = zoo.save(tmp_path, network.state_dict(), card | {"label_table": "adult", "spacing": 2.0})
    assert _run("models", "list", path) == 0
    assert "toy" in capsys.readouterr().out
    assert _run("models", "list") == 0
    assert "?" not in capsys.readouterr().out, "one that makes a mask has no labels"
    assert _run("models", "show", path) == 0
    assert json.loads(capsys.readouterr().out)["license"] == "CC0"
    assert _run("models", "verify", path) == 0
    assert "good" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert _run("models", "verify", path) == 126
    assert "BAD" in capsys.readouterr().out


def test_help(capsys):
    assert main.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in main.COMMANDS)
    for name in main.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main.main([*name.split(), "--help"])
        assert stop.value.code == 0
    capsys.readouterr()
    assert main.main(["synth", "--help"]) == 0
    said = capsys.readouterr().out
    assert "brainseg synth preview NPZ PNG" in said and "brainseg segment" not in said
    with pytest.raises(SystemExit):
        main.main(["train", "--help"])
    assert "brainseg train prepare" in capsys.readouterr().out
