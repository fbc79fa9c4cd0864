"""The image: its steps, its definition for Apptainer, and the versions of its packages."""

import doctest
import re
import sys

import pytest

from helpers import ROOT

sys.path.insert(0, str(ROOT / "container"))

import dockerfile
import image

LABELS = ("title", "version", "revision", "source", "licenses")


@pytest.fixture(scope="module")
def stages():
    return dockerfile.read(ROOT / "Dockerfile")


def test_examples():
    assert doctest.testmod(dockerfile).failed == 0


def test_apptainer_builds_from_the_steps_of_the_dockerfile(stages):
    text = (ROOT / "apptainer.def").read_text()
    assert text == image.definition(), "run: make apptainer.def"
    for stage in stages:
        for word, step in stage.steps:
            if word == "RUN":
                assert step in text


def test_the_image_says_what_it_is(stages):
    labels = {k for word, text in stages[-1].steps if word == "LABEL" for k in dockerfile.pairs(text)}
    assert {f"org.opencontainers.image.{name}" for name in LABELS} <= labels


def test_results_name_the_image(stages):
    text = (ROOT / "apptainer.def").read_text()
    line = '    export BRAINSEG_BIDS_IMAGE="brainseg-bids:{{ VERSION }}"'
    assert line in text.partition("%environment")[2].splitlines()
    environment = [dockerfile.pairs(text) for word, text in stages[-1].steps if word == "ENV"]
    assert {"BRAINSEG_BIDS_IMAGE": "brainseg-bids:${VERSION}"} in environment


def test_every_package_of_the_image_has_its_version(stages):
    lines = (ROOT / "container" / "constraints.txt").read_text().splitlines()
    pinned = [line.partition("==")[0].lower() for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines if not line.startswith("#"))
    assert {"torch", "numpy", "nipype", "antspyx", "pybids", "setuptools"} <= set(pinned)
    assert "simpleitk" not in pinned
    installs = [
        step for stage in stages for word, step in stage.steps if word == "RUN" and "pip install" in step
    ]
    assert installs and all("--constraint container/constraints.txt" in step for step in installs)


def test_every_step_copies_what_is_there(stages):
    for word, text in stages[0].steps:
        if word == "COPY":
            assert all((ROOT / name).exists() for name in text.split()[:-1]), text


def test_unknown_instructions_are_not_passed_over(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM a\nHEALTHCHECK NONE\n")
    with pytest.raises(ValueError, match="HEALTHCHECK"):
        dockerfile.read(tmp_path / "Dockerfile")


def test_arguments_reach_the_base_image(tmp_path):
    (tmp_path / "Dockerfile").write_text(
        "ARG BASE=a:1\nFROM ${BASE} AS x\nRUN one \\\n    && two\nFROM ${BASE}\n"
    )
    first, last = dockerfile.read(tmp_path / "Dockerfile", {"BASE": "b@sha256:0"})
    assert (first.name, first.base, last.base) == ("x", "b@sha256:0", "b@sha256:0")
    assert first.steps == [("RUN", "one      && two")]
