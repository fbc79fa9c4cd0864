"""Compare the CPU time of the segmentation network in PyTorch and in OpenVINO, on one thread.

``python benchmarks/backends.py [--out benchmarks/README.md]`` needs ``pip install openvino``.
The program segments one scan per process, so conversion and compilation of the network count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tables
import torch
from torch import Tensor, nn

from brainseg.models.networks import device, zoo

SHAPE = (112, 128, 112)
RUNS = 3


class Structures(nn.Module):
    """The network with a single output, as the conversion requires."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        """Return the logits of the structures."""
        return self.network(x, prior)["structure"][0]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU time (s) of the fastest of several runs, and the result."""
    best, result = float("inf"), None
    for _ in range(RUNS):
        began = time.process_time()
        result = work()
        best = min(best, time.process_time() - began)
    return best, result


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="page whose table is replaced")
    args = parser.parse_args(argv)
    try:
        import openvino
    except ModuleNotFoundError:
        raise SystemExit("this benchmark needs OpenVINO: pip install openvino") from None
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.rand(1, 4, *SHAPE).contiguous(memory_format=torch.channels_last_3d)
    prior = torch.rand(1, 19, *(n // 2 for n in SHAPE)).softmax(1)
    network = Structures(zoo.load_once("segmentation").network)
    rows = []
    with torch.inference_mode():
        exact = None
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                used, found = seconds(lambda: network(x, prior))
            labels = found.argmax(1)
            exact = labels if exact is None else exact
            rows.append([f"PyTorch, {name}", 0.0, used, float((labels == exact).float().mean())])
    began = time.process_time()
    graph = openvino.convert_model(Structures(zoo.load("segmentation").network), example_input=(x, prior))
    converted = time.process_time() - began
    for name, hint in (("float32", "f32"), ("bfloat16", "bf16")):
        began = time.process_time()
        options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        compiled = openvino.Core().compile_model(graph, "CPU", options)
        start = converted + time.process_time() - began
        used, found = seconds(lambda c=compiled: c([x.contiguous().numpy(), prior.numpy()])[0])
        same = float((torch.from_numpy(found).argmax(1) == exact).float().mean())
        rows.append([f"OpenVINO {openvino.__version__.split('-')[0]}, {name}", start, used, same])
    header = ["backend", "converting and compiling (CPU s)", "one brain (CPU s)", "labels as in float32"]
    used = f"The program uses {str(device.precision('cpu')).removeprefix('torch.')} on this machine."
    text = f"{tables.markdown(header, rows)}\n\n{used}\n\n{tables.stamp('segmentation')}"
    print(text)
    if args.out:
        tables.put(args.out, "backends", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
