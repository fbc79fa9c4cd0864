"""Fixtures that several modules share."""

import gc
import json
import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from helpers import fake_chain, fake_tree, stage_results, template_scans, toy_heads

THREADS = torch.get_num_threads()
"""Threads that torch starts with."""

QUICK = 10.0
"""Seconds of processor time that a test without the mark ``slow`` may take, and so may its fixtures."""


def pytest_collection():
    """Leave the garbage collector out of the imports."""
    gc.disable()


def pytest_collection_finish():
    """What is imported stays: the garbage collector never looks at it again."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config, items):
    """Begin with the files of most slow tests where processes share them: none has one left at the end."""
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


def _quickly(item):
    """Fail what takes as long as a slow test and has no mark."""
    before = sum(os.times()[:4])
    result = yield
    seconds = sum(os.times()[:4]) - before
    if seconds > QUICK and not item.get_closest_marker("slow"):
        pytest.fail(f"{seconds:.1f} s of processor time: make it quicker, or mark it slow", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """Keep fixtures of quick tests quick.

    Small arrays gain nothing from a second thread, and lose much where other work runs; runs of the program
    leave the number of threads that they were given.
    """
    torch.set_num_threads(THREADS if item.get_closest_marker("slow") else 1)
    return (yield from _quickly(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Keep quick tests quick."""
    return (yield from _quickly(item))


@pytest.fixture(scope="session")
def toy():
    """The module that makes label maps of toy heads."""
    return toy_heads


@pytest.fixture(scope="session")
def scans():
    """The module that makes scans from the template."""
    return template_scans


@pytest.fixture(scope="session")
def phantoms():
    """The module that writes derivatives of ellipsoids."""
    return fake_tree


@pytest.fixture(scope="session")
def browser():
    """A browser without a window; skips where there is none."""
    from helpers.browser import Browser

    browser = Browser()
    yield browser
    browser.driver.quit()


@pytest.fixture(scope="session")
def toy_arrays(toy, tmp_path_factory):
    """Arrays prepared from two toy heads."""
    from brainseg.training.data.prepare import prepare

    folder = tmp_path_factory.mktemp("heads")
    out = folder / "heads.npz"
    prepare(toy.write(folder), out)
    return out


@pytest.fixture(scope="session")
def fake():
    """The module with the quick chain and small datasets."""
    return fake_chain


@pytest.fixture
def app(fake, monkeypatch, tmp_path):
    """``brainseg-bids`` with the quick chain, in this process and its own work folder."""
    from brainseg.bidsapp.cli.bids import main
    from brainseg.bidsapp.execution import workflow

    fake.install(monkeypatch.setattr)
    monkeypatch.setattr(workflow, "POLL", 0.01)
    monkeypatch.setenv("FAKE_CALLS", str(tmp_path / "calls.txt"))
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # a run sets it for its workers
    monkeypatch.chdir(tmp_path)

    def run(*argv, **behaviors) -> int:
        wanted = {key.replace("_", "-", 1): value for key, value in behaviors.items()}
        monkeypatch.setenv("FAKE_CHAIN", json.dumps(wanted))
        given = [str(word) for word in argv]
        more = {"--plugin": "linear", "--device": "cpu", "--work-dir": str(tmp_path / "work")}
        more = [word for flag, value in more.items() if flag not in given for word in (flag, value)]
        return main([*given, "--skip-bids-validation", *more])

    run.calls = lambda: (
        (tmp_path / "calls.txt").read_text().splitlines() if (tmp_path / "calls.txt").exists() else []
    )
    return run


@pytest.fixture(scope="session")
def stages():
    """The module that makes what the stages leave for the outputs, and stand-ins for the science."""
    return stage_results


@pytest.fixture(scope="session")
def nifti():
    """Writes small NIfTI files: ``nifti(path, shape=..., spacing=..., dtype=...)`` returns the path."""
    import nibabel as nib
    import numpy as np

    def write(path: Path, shape=(12, 13, 14), spacing=6.0, dtype="int16") -> Path:
        data = np.random.default_rng(1).integers(0, 200, shape).astype(dtype)
        image = nib.Nifti1Image(data, np.diag([spacing] * 3 + [1.0]))
        image.set_sform(image.affine, 1)
        image.set_qform(image.affine, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, path)
        return path

    return write


@pytest.fixture(scope="session")
def demo_dataset(tmp_path_factory):
    """The demonstration dataset: the template as sub-01 and a deformed copy as sub-02."""
    from brainseg.bidsapp.demo import build

    return build(tmp_path_factory.mktemp("demo") / "bids")
