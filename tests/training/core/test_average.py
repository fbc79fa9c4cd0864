"""The mean of the weights of several trainings."""

import json

import torch

from brainseg.bidsapp.cli import main
from brainseg.models.networks import zoo

ARGUMENTS = {"inputs": 4, "channels": [4, 8], "tasks": {"structure": {"outputs": 19}}}
ORIGIN = {"name": "first", "sha256": "abc", "steps": 10, "hours": 0.5}


def _network(folder, name, **card):
    torch.manual_seed(sum(map(ord, name)))
    spec = {"class": "StemUNet", "arguments": ARGUMENTS}
    card = {
        "name": name,
        "kind": "whole-head",
        "architecture": spec,
        "label_table": "adult",
        "spacing": 3.0,
        "training_data": "maps",
        "license": "CC0",
        "steps": 20,
        "hours": 0.25,
        "begun_from": [ORIGIN],
        "scores": {"maps": {"mean": 0.5}},
        "selection": "step 20",
    } | card
    folder.mkdir(exist_ok=True)
    return zoo.save(folder, zoo.build(card["architecture"]).state_dict(), card)


def test_weights_are_the_mean_and_the_card_says_of_what(tmp_path, capsys):
    first = _network(tmp_path, "first", steps=10, hours=0.5, begun_from=[])
    origin = {key: zoo.read_card(str(first))[key] for key in ("name", "sha256", "steps", "hours")}
    one = _network(tmp_path, "one", begun_from=[origin])
    other = _network(tmp_path, "other", begun_from=[origin], license="CC BY")
    out = tmp_path / "mean.safetensors"
    assert main.main(["train", "average", str(out), str(first), str(one), str(other)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    found, given = zoo.load(str(out)), [zoo.load(str(path)) for path in (first, one, other)]
    for key, value in found.network.state_dict().items():
        mean = torch.stack([each.network.state_dict()[key] for each in given]).mean(0)
        torch.testing.assert_close(value, mean, rtol=0, atol=1e-3)
    card = found.card
    assert (card["name"], card["steps"], card["hours"]) == ("mean", 40, 0.5)
    assert card["begun_from"] == [origin], "the weights at the beginning do not count twice"
    assert [each["name"] for each in card["averaged"]] == ["first", "one", "other"]
    assert card["license"] == "CC0; CC BY" and card["scores"] == {} and "selection" not in card

    small = tmp_path / "small.safetensors"
    argv = ["train", "average", str(small), str(first), str(one), str(other), "--eight-bits"]
    assert main.main(argv) == 0 and small.stat().st_size < out.stat().st_size
    for key, value in zoo.load(str(small)).network.state_dict().items():
        expected = found.network.state_dict()[key]
        assert float((value - expected).abs().max()) <= 0.01 * max(float(expected.abs().max()), 0.1)


def test_networks_without_a_mean_are_refused(tmp_path, capsys):
    one = _network(tmp_path, "one")
    spacing = _network(tmp_path, "spacing", spacing=2.0)
    stranger = _network(tmp_path, "stranger", begun_from=[])
    out = str(tmp_path / "mean.safetensors")
    for second, words in ((spacing, "its spacing differs"), (stranger, "did not begin from the same")):
        assert main.main(["train", "average", out, str(one), str(second)]) == 2
        assert words in capsys.readouterr().err
    assert main.main(["train", "average", out, str(one)]) == 2
    assert main.main(["train", "average", str(tmp_path / "mean"), str(one), str(one)]) == 2
    assert main.main(["train", "average", out, str(one), str(one)]) == 2
    assert "it is there twice" in capsys.readouterr().err
    assert main.main(["train", "average", out, str(one), "nothing"]) == 126
    damaged = json.loads(one.with_suffix(".json").read_text()) | {"sha256": "0"}
    one.with_suffix(".json").write_text(json.dumps(damaged))
    assert main.main(["train", "average", out, str(stranger), str(one)]) == 126
