"""Precision and instructions: what the hardware has, and what is forced."""

import pytest
import torch

from brainseg.models.networks import device

CPUS = {
    "AMX": "fpu avx avx2 avx512f avx512_vnni avx512_bf16 amx_bf16",
    "AVX-512 BF16": "fpu avx avx2 avx512f avx512_vnni avx512_bf16",
    "AVX-512": "fpu avx avx2 avx512f",
    "AVX2": "fpu sse4_2 avx avx2",
}


@pytest.fixture
def cpu(tmp_path, monkeypatch):
    """Writes the description of a CPU."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)

    def write(flags, name="flags"):
        path = tmp_path / f"cpuinfo{len(list(tmp_path.iterdir()))}"
        path.write_text(f"processor\t: 0\nmodel name\t: A CPU\n{name}\t\t: {flags}\n\nprocessor\t: 1\n")
        return path

    return write


@pytest.mark.parametrize(("expected", "flags"), CPUS.items())
def test_instructions_by_their_names(cpu, monkeypatch, expected, flags):
    path = cpu(flags)
    assert (device.instructions(path), device.processor(path)) == (expected, "A CPU")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert device.instructions(path) == "AVX2"


def test_other_processors(cpu, tmp_path, monkeypatch):
    assert device.instructions(cpu("fp asimd sve", "Features")) == "SVE"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert device.instructions(cpu("fpu sse4_2")) == "SSE4.2"
    assert device.instructions(tmp_path / "gone") and device.processor(tmp_path / "gone")


def test_precision_is_that_of_the_hardware_unless_it_is_forced(monkeypatch):
    monkeypatch.delenv(device.PRECISION, raising=False)
    monkeypatch.setattr(device, "flags", lambda: frozenset(CPUS["AMX"].split()))
    device._fastest.cache_clear()
    assert device.precision("cpu") == torch.bfloat16
    monkeypatch.setenv(device.PRECISION, "float32")
    assert device.precision("cpu") == torch.float32
    device._fastest.cache_clear()


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_no_emulated_bfloat16_on_a_gpu(monkeypatch, native, expected):
    monkeypatch.delenv(device.PRECISION, raising=False)
    known = lambda including_emulation=True: including_emulation or native  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", known)
    device._fastest.cache_clear()
    assert device.precision("cuda:0") == expected
    device._fastest.cache_clear()


def test_no_network_runs_in_a_precision_that_the_hardware_lacks():
    """Emulated bfloat16 is up to seventy times slower than float32."""
    import re
    from pathlib import Path

    from brainseg import models, training

    for package in (models, training):
        for path in Path(package.__path__[0]).rglob("*.py"):
            for call in re.findall(r"autocast\(.*", path.read_text(encoding="utf-8")):
                assert "enabled=" in call, f"{path}: {call}"
