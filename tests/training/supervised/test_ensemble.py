"""Several networks in one file."""

import json

import numpy as np
import pytest
import torch

from brainseg.bidsapp.cli import main
from brainseg.models.errors import InputError, UsageError
from brainseg.models.geometry.volume import Volume
from brainseg.models.networks import purpose, zoo
from brainseg.models.segmentation.own import labels as own
from brainseg.models.segmentation.own.inputs import sees_tissues
from brainseg.training.supervised import ensemble
from helpers import own_networks


def test_networks_become_one(stages, tmp_path, capsys):
    ancestor = {"name": "first", "sha256": "abc", "steps": 10, "hours": 0.5}
    trained = {"steps": 20, "hours": 0.25, "begun_from": [ancestor]}
    one = own_networks.make(tmp_path / "a", "one", **trained)
    before = {"name": "one", "sha256": zoo.read_card(str(one))["sha256"], "steps": 20, "hours": 0.25}
    trained |= {"begun_from": [before, ancestor]}
    other = own_networks.make(tmp_path / "b", "other", other=1, **trained)
    out = tmp_path / "c" / "both.safetensors"
    assert main.main(["train", "combine", str(out), str(one), str(other)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    card = zoo.read_card(str(out))
    assert [member["name"] for member in card["members"]] == ["one", "other"] and card["name"] == "both"
    assert card["training_data"] == "two scans of mine"
    assert (card["steps"], card["hours"], card["begun_from"]) == (40, 0.5, [ancestor]), "each once"
    purpose.check(str(out), "labels")
    data = stages.scan()
    scan = Volume(torch.from_numpy(data.astype("f4")), stages.affine())
    mask = scan.with_data(torch.from_numpy(stages.mask_of(data)))
    found = own.probabilities([scan], mask, str(out))
    parts = torch.stack([own.probabilities([scan], mask, str(p)).data for p in (one, other)])
    torch.testing.assert_close(found.data, parts.mean(0), atol=2e-3, rtol=0)


@pytest.mark.slow
def test_networks_of_other_architectures_and_windows(tmp_path):
    """Each member sees windows of its own size; labels were drawn for them with other weights."""
    pytest.importorskip("monai")
    torch.manual_seed(0)
    paths = []
    for name, size, more in (
        ("UNet3D", 16, {"channels": [4, 8]}),
        ("SegResNet", 32, {"init_filters": 8}),
        ("UNETR", 32, {"shape": [32, 32, 32], "hidden": 48, "heads": 4}),
    ):
        arguments = {"inputs": 1, "outputs": 4} | more
        card = json.loads(own_networks.make(tmp_path, name).with_suffix(".json").read_text())
        card |= {"architecture": {"class": name, "arguments": arguments}, "shape": [size] * 3}
        card["inputs"] = {"sampler": "patches", "weights": {"1": len(paths) + 1}, "margin": 4.0}
        paths.append(zoo.save(tmp_path, zoo.build(card["architecture"]).state_dict(), card))
    out = tmp_path / "all.safetensors"
    assert main.main(["train", "combine", str(out), *map(str, paths)]) == 0
    scan = Volume(torch.rand(20, 22, 24), np.diag([4.0, 4.0, 4.0, 1.0]))
    mask = scan.with_data(torch.ones(20, 22, 24, dtype=torch.uint8))
    found = own.probabilities([scan], mask, str(out))
    parts = torch.stack([own.probabilities([scan], mask, str(path)).data for path in paths])
    torch.testing.assert_close(found.data, parts.mean(0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("first", ["plain", "sighted"])
def test_a_network_with_tissues_beside_one_that_sees_the_image_alone(tmp_path, first):
    """The ensemble needs the tissues; the plain member sees the image, in whatever order they are given."""
    torch.manual_seed(0)
    paths = {}
    for name, inputs in (("plain", {}), ("sighted", {"tissues": "adult"})):
        card = json.loads(own_networks.make(tmp_path, name).with_suffix(".json").read_text())
        arguments = {"inputs": 1 + 4 * bool(inputs), "outputs": 4, "channels": [4, 8]}
        card |= {"architecture": {"class": "UNet3D", "arguments": arguments}, "shape": [16] * 3}
        card["inputs"] = {"sampler": "patches", "margin": 4.0} | inputs
        card |= {"tissues_sha256": "0123"} if inputs else {}
        paths[name] = zoo.save(tmp_path, zoo.build(card["architecture"]).state_dict(), card)
    second = next(name for name in paths if name != first)
    out = tmp_path / "both.safetensors"
    assert main.main(["train", "combine", str(out), str(paths[first]), str(paths[second])]) == 0
    made = zoo.read_card(str(out))
    assert sees_tissues(made) and made["tissues_sha256"] == "0123"
    scan = Volume(torch.rand(20, 22, 24), np.diag([4.0, 4.0, 4.0, 1.0]))
    mask = scan.with_data(torch.ones(20, 22, 24, dtype=torch.uint8))
    tissues = [scan.with_data(torch.rand(20, 22, 24)) for _ in range(4)]
    found = own.probabilities([scan], mask, str(out), tissues=tissues)
    parts = [
        own.probabilities([scan], mask, str(paths["plain"])).data,
        own.probabilities([scan], mask, str(paths["sighted"]), tissues=tissues).data,
    ]
    torch.testing.assert_close(found.data, torch.stack(parts).mean(0), atol=1e-3, rtol=0)
    with pytest.raises(InputError, match="sees the tissues"):
        own.probabilities([scan], mask, str(out))


def test_networks_that_saw_tissues_of_different_weights_are_no_ensemble(tmp_path):
    inputs = {"sampler": "slices", "axes": [2], "margin": 4.0, "tissues": "adult"}
    one, other = (
        own_networks.make(tmp_path, name, inputs=inputs, tissues_sha256=name) for name in ("one", "other")
    )
    with pytest.raises(UsageError, match=r"saw the tissues of other weights than one\.safetensors"):
        ensemble.combine([one, other], tmp_path / "both.safetensors")


def test_networks_that_do_not_fit_together(tmp_path, capsys):
    first = own_networks.make(tmp_path, "first")
    rows = [{"index": 1, "name": "Other"}]
    table = own_networks.make(tmp_path, "table", rows, dark=1, other=0)
    spacing = own_networks.make(tmp_path, "spacing", spacing=2.0)
    inputs = own_networks.make(tmp_path, "inputs", inputs={"sampler": "slices", "normalize": "zscore"})
    for second, words in (
        (table, "has another label table"),
        (spacing, "its spacing differs"),
        (inputs, "its normalize differs"),
        ("segmentation", "it is of the kind cascade"),
    ):
        assert main.main(["train", "combine", str(tmp_path / "o.safetensors"), str(first), str(second)]) == 2
        assert words in capsys.readouterr().err
    assert main.main(["train", "combine", str(tmp_path / "o.safetensors"), str(first)]) == 2
    assert main.main(["train", "combine", str(tmp_path / "o"), str(first), str(first)]) == 2
    assert main.main(["train", "combine", str(tmp_path / "o.safetensors"), str(first), "nothing"]) == 126
