"""The wheel: everything the program needs is in it, as a user who installs it finds."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from brainseg.bidsapp.demo import template_image
from helpers import ROOT

pytestmark = pytest.mark.slow

TOP = {"bidsapp", "workflows", "interfaces", "models", "training"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, built and unpacked by pip into a folder that comes before the checkout on the path."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = folder / "source"  # setuptools builds in the source tree
    for top in TOP:
        shutil.copytree(ROOT / top, source / top, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, cwd=folder)
    env = os.environ | {"PYTHONPATH": str(site)}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], env=env, cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return SimpleNamespace(run=run, site=site, wheel=wheel)


def test_it_holds_no_tests_and_no_benchmarks(installed):
    top = {path.name for path in (installed.site / "brainseg").iterdir()} - {"__pycache__"}
    assert top == TOP
    assert installed.wheel.stat().st_size < 60e6


def test_it_segments_a_scan(installed, tmp_path):
    where = installed.run("-c", "import brainseg.models; print(brainseg.models.__file__)")
    assert where.startswith(str(installed.site))
    scan = tmp_path / "scan.nii.gz"
    nib.save(
        template_image().slicer[::2, ::2, ::2], scan
    )  # voxels of 2 mm: what is computed is not of interest
    command = [str(installed.site / "bin" / "brainseg"), "segment", str(scan), str(tmp_path / "dseg.nii.gz")]
    command += ["--threads", "1"]
    installed.run(*command)
    labels = np.asarray(nib.load(tmp_path / "dseg.nii.gz").dataobj)
    assert labels.shape == nib.load(scan).shape
    assert {2, 3, 10, 17, 41, 42, 49, 53} <= set(np.unique(labels))


def test_it_offers_the_recipes_and_pages(installed):
    assert "segmentation" in installed.run("-m", "brainseg.bidsapp", "--help") + installed.run(
        str(installed.site / "bin" / "brainseg"), "train", "--help"
    )
    for name in ("bidsapp/reports/assets/style.css", "training/recipes/segmentation.yaml"):
        assert (installed.site / "brainseg" / name).is_file()
