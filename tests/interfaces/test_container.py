"""The container in the description of the results, and links that hold outside of it."""

import doctest
import json
from pathlib import Path

import pytest

from brainseg.interfaces.io import container, dataset

IMAGE = {"BRAINSEG_BIDS_IMAGE": "brainseg-bids:1.2.3"}
BOUND = {"APPTAINER_CONTAINER": "/images/b.sif"}
LINE = "36 35 {device} {root} {point} rw,noatime master:1 - {kind} /dev/x rw"


@pytest.fixture
def mounts(tmp_path):
    """Writes a list of mounts: device, root, place and type of each."""

    def write(*rows) -> Path:
        names = ("device", "root", "point", "kind")
        lines = [LINE.format(**dict(zip(names, row, strict=True))) for row in rows]
        path = tmp_path / "mountinfo"
        path.write_text("\n".join(["", "damaged", *lines]) + "\n")
        return path

    return write


def test_examples():
    assert doctest.testmod(container).failed == 0


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {}),
        ({"SINGULARITY_CONTAINER": "b.sif"}, {"Type": "singularity", "URI": "b.sif"}),
        ({"BRAINSEG_BIDS_IMAGE": "brainseg-bids:unknown"}, {"Type": "docker"}),
        (IMAGE, {"Type": "docker", "Tag": "brainseg-bids:1.2.3"}),
    ],
)
def test_the_container_is_named(environ, expected, monkeypatch):
    monkeypatch.setattr(container, "MARKS", {})
    assert container.description(environ) == expected


def test_bound_folders_of_apptainer_give_links_that_hold_outside(mounts):
    none = mounts()

    def link(binds, folder="/bids", origin="/out"):
        return container.link(Path(folder), Path(origin), BOUND | {"APPTAINER_BIND": binds}, none)

    assert link("/data/study:/bids:ro,/data/results:/out") == "../study"
    assert link("/data/study:/bids:ro,/scratch/me/results:/out") == "file:///data/study"
    assert link("/data:/bids", "/bids/raw", "/bids/raw/derivatives/x") == "../.."
    assert link("/data", "/data/raw", "/data/out") == "../raw"
    assert link("/data/a b:/bids,/scratch:/out") == "file:///data/a%20b"
    assert link("") is None


def test_mounts_of_one_file_system_give_relative_links(mounts):
    rows = [("0:9", "/", "/", "overlay"), ("8:1", "/data/the\\040study", "/bids", "ext4")]
    path = mounts(*rows, ("8:1", "/me/results", "/out", "ext4"))
    assert container.link(Path("/bids"), Path("/out"), IMAGE, path) == "../../data/the study"
    assert container.link(Path("/bids"), Path("/out/sub"), IMAGE, path) == "../../../data/the study"
    # the last mount on a place hides the earlier one
    path = mounts(*rows, ("8:1", "/other", "/bids", "ext4"), ("8:1", "/me", "/out", "ext4"))
    assert container.link(Path("/bids"), Path("/out"), IMAGE, path) == "../other"
    assert container.link(Path("/bids"), Path("/out"), {}, path) is None  # no container


@pytest.mark.parametrize(("device", "kind"), [("8:2", "ext4"), ("8:1", "btrfs")])
def test_what_is_not_known_is_not_guessed(mounts, device, kind):
    path = mounts(("8:1", "/study", "/bids", kind), (device, "/results", "/out", kind))
    assert container.link(Path("/bids"), Path("/out"), IMAGE, path) is None
    assert container.link(Path("/bids"), Path("/out"), IMAGE, path.with_name("gone")) is None


def test_a_link_that_the_user_wrote_is_kept_where_the_places_are_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr(container, "link", lambda folder, origin: None)
    bids, out = tmp_path / "bids", tmp_path / "out"
    bids.mkdir()
    dataset.write_dataset_description(out, bids, "1.2.3")
    path = out / "dataset_description.json"
    content = json.loads(path.read_text())
    assert "Container" not in content["GeneratedBy"][0]
    path.write_text(json.dumps(content | {"DatasetLinks": {"raw": "https://example.org/study"}}))
    monkeypatch.setenv("BRAINSEG_BIDS_IMAGE", "brainseg-bids:1.2.3")
    dataset.write_dataset_description(out, bids, "1.2.3", {"theirs": tmp_path / "theirs"})
    content = json.loads(path.read_text())
    assert content["DatasetLinks"] == {"raw": "https://example.org/study", "theirs": "../theirs"}
    assert content["SourceDatasets"][0]["URL"] == "https://example.org/study"
    assert content["GeneratedBy"][0]["Container"]["Tag"] == "brainseg-bids:1.2.3"
    monkeypatch.delenv("BRAINSEG_BIDS_IMAGE")
    dataset.write_dataset_description(out, bids, "1.2.3")
    assert json.loads(path.read_text())["DatasetLinks"]["raw"] == "../bids"
