"""Networks and chain on a GPU: results as on the CPU, and a fall-back where the memory does not suffice.

Tests with the mark ``gpu`` need a CUDA device; the others check on the CPU what can be checked there.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from brainseg.interfaces import base
from brainseg.models.networks import device as devices
from brainseg.models.networks import inference, zoo
from brainseg.models.pipeline import process
from brainseg.models.population import labels
from brainseg.models.registration import registration
from brainseg.models.segmentation import segmentation, skullstrip
from brainseg.training.evaluation.metrics import dice_by_class
from helpers import ROOT
from helpers.graphs import participant_wf as chain

GPU = "cuda:0"
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [pytest.param("cpu"), pytest.param(GPU, marks=[pytest.mark.gpu, NEEDS_GPU])]
NETWORKS = sorted(path.stem for path in (ROOT / "models" / "data" / "weights").glob("*.safetensors"))


@pytest.fixture
def bench(monkeypatch):
    """The script of the benchmark, which makes inputs of every network and compares results."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu")


@pytest.fixture
def exact():
    """Convolutions on a GPU in float32, not in TensorFloat-32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_what_it_gives_on_the_cpu(bench, exact, name, device):
    here, there = zoo.load(name), zoo.load_once(name, device)
    # On the CPU the smallest inputs suffice to check that every network can be compared.
    x, prior = bench.inputs_of(here, 16 if device == "cpu" else None)
    right = bench.outputs(here.network, x, prior, "cpu", torch.float32)
    assert right and all(bool(values.isfinite().all()) for values in right.values())
    error, same = bench.difference(bench.outputs(there.network, x, prior, device, torch.float32), right)
    assert error < 1e-3 and same > 0.999
    if device != "cpu":
        fast = bench.outputs(there.network, x, prior, device, devices.precision(device))
        error, same = bench.difference(fast, right)
        assert error < 0.1 and same > 0.97


def test_differences_are_found(bench):
    right = {"structure": torch.eye(3).view(3, 3, 1, 1)}
    assert bench.difference(right, right) == (0.0, 1.0)
    error, same = bench.difference({"structure": right["structure"].roll(1, 0)}, right)
    assert error > 1 and same == 0


@pytest.mark.slow
def test_stages_without_memory_on_the_gpu_run_on_the_cpu_and_say_so(stages, tmp_path, monkeypatch):
    stages.install(monkeypatch.setattr)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    used = []
    for module, name in ((skullstrip, "skullstrip"), (segmentation, "segment")):
        quick = getattr(module, name)

        def work(*args, device="cpu", quick=quick, name=name, **more):
            used.append((name, device))
            if device != "cpu":
                raise torch.OutOfMemoryError("CUDA out of memory")
            return quick(*args, **more)

        monkeypatch.setattr(module, name, work)
    participant_session = stages.participant_session(tmp_path)
    workflow = chain(participant_session, device=GPU)
    workflow.base_dir = str(tmp_path / "work")
    workflow.config["execution"] = {
        "create_report": "false",
        "crashdump_dir": str(tmp_path),
        "remove_unnecessary_outputs": "false",
    }
    workflow.run(plugin="Linear")
    assert used == [("skullstrip", GPU), ("skullstrip", "cpu"), ("segment", GPU), ("segment", "cpu")]
    about = participant_session.out / "sub-01" / "anat" / "sub-01_desc-aseg_volumes.json"
    assert (
        f"The memory of the device {GPU} did not suffice: the CPU was used."
        in json.loads(about.read_text())["Notes"]
    )


@pytest.mark.gpu
@NEEDS_GPU
def test_a_network_too_large_for_the_gpu_runs_in_tiles_or_on_the_cpu(bench):
    model = zoo.load_once("segmentation", GPU)
    x, prior = bench.inputs_of(model)

    def run(device: str, notes: list[str]) -> torch.Tensor:
        network = zoo.load_once("segmentation", device).network
        return inference.run(network, x[0, 0], x[0, 1:], prior[0], device, notes=notes)["structure"]

    torch.cuda.reset_peak_memory_stats(GPU)
    before, whole = torch.cuda.memory_allocated(GPU), run(GPU, [])
    needed = torch.cuda.max_memory_allocated(GPU) - before
    total = torch.cuda.get_device_properties(GPU).total_memory
    try:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((before + 0.8 * needed) / total, GPU)
        notes: list[str] = []
        tiled = run(GPU, notes)
        assert "tiles" in notes[0]
        assert float((tiled.argmax(0) == whole.argmax(0)).float().mean()) > 0.8
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((before + 0.05 * needed) / total, GPU)
        found, notes = base.on_device(lambda device: run(device, []), GPU)
        assert notes == [f"The memory of the device {GPU} did not suffice: the CPU was used."]
        assert float((found.argmax(0) == whole.argmax(0)).float().mean()) > 0.97
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)


@pytest.mark.gpu
@pytest.mark.slow
@NEEDS_GPU
def test_the_chain_on_a_gpu_gives_what_it_gives_on_the_cpu(scans):
    scan = scans.headed(scans.template())
    here, there = (process.process(scan, device=device) for device in ("cpu", GPU))
    assert here.brain.source == there.brain.source and here.notes == there.notes
    dice = dice_by_class(there.segmentation.structures.data, here.segmentation.structures.data, least=300)
    assert np.mean([*dice.values()]) > 0.97 and min(dice.values()) > 0.9
    for label in labels.load("adult"):
        volume = here.segmentation.volumes.get(label.index, 0.0)
        if label.index != 24 and volume > 3000:
            assert there.segmentation.volumes[label.index] == pytest.approx(volume, rel=0.05), label.name
    moved = registration.register(here.anatomy, there.anatomy)
    np.testing.assert_allclose(moved.matrix, np.eye(4), atol=1.0)


def bare(*words: str) -> subprocess.CompletedProcess:
    """Run the benchmark where only the packages of the networks can be imported."""
    script = f"""
import runpy, sys
from pathlib import Path
refused = {{"nibabel", "nipype", "niworkflows", "ants", "bids", "pandas", "templateflow", "jinja2", "psutil"}}
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.split(".")[0])
sys.meta_path.insert(0, Bare())
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
sys.argv = {["gpu.py", *words]!r}
runpy.run_path({str(ROOT / "benchmarks" / "gpu.py")!r}, run_name="__main__")
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_benchmark_runs_on_a_bare_machine():
    done = bare("--device", "cpu", "--side", "16", "--runs", "1")
    assert done.returncode == 0, done.stderr
    for name in NETWORKS:
        assert f"| {name} (" in done.stdout
    assert "the CPU against itself" in done.stdout and "Stages were left out: the package" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_benchmark_says_that_there_is_no_gpu(bench, tmp_path):
    page = tmp_path / "page.md"
    with pytest.raises(SystemExit, match=r"no GPU: PyTorch .* finds no CUDA device; nothing was measured"):
        bench.main(["--out", str(page)])
    with pytest.raises(SystemExit, match="--out is for figures of a GPU"):
        bench.main(["--device", "cpu", "--out", str(page)])
    assert not Path(page).exists()
