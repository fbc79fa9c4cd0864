"""Time and memory of the networks and of their stages on a GPU, against the CPU.

``python benchmarks/gpu.py [--device cuda:0] [--image IMAGE] [--out benchmarks/README.md]`` needs a CUDA
device. The networks need only PyTorch, safetensors, NumPy and SciPy; the program need not be installed. The
stages need its other packages as well; without them their table is left out, and the page says so.

A time is the wall time of the fastest of three runs, with the copies to the device and back; ``first`` is
the first run, with the loading of the networks. Memory is the largest allocation on the GPU, and the growth
of the process on the CPU.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import tables
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
try:
    there = find_spec("brainseg.models") is not None
except ModuleNotFoundError:
    there = False
if not there:  # a bare machine: the folders of this repository are the package
    package = ModuleType("brainseg")
    package.__path__ = [str(ROOT)]
    sys.modules["brainseg"] = package

from brainseg.models.data import FOLDER  # noqa: E402
from brainseg.models.networks import device as devices  # noqa: E402
from brainseg.models.networks import zoo  # noqa: E402

RUNS, MIB, SLICES = 3, 2.0**20, 96
PERIOD = 0.01
"""Time (s) between two looks at the memory of the process."""


class Memory:
    """Largest memory (MiB) that is used within a ``with`` block, beyond that at its begin."""

    def __init__(self, device: str) -> None:
        self.device, self.peak = device, 0.0
        self._stop = threading.Event()

    def __enter__(self) -> Memory:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            return self
        self._start = _resident()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.startswith("cuda"):
            self.peak = torch.cuda.max_memory_allocated(self.device) / MIB
            return
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(PERIOD):
            self.peak = max(self.peak, _resident() - self._start)


def _resident() -> float:
    """Return the resident memory (MiB) of this process; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MIB
    return 0.0


def bundled() -> list[str]:
    """Return the names of the shipped networks."""
    return sorted(path.stem for path in (FOLDER / "weights").glob("*.safetensors"))


def inputs_of(model: zoo.Model, side: int | None = None) -> tuple[Tensor, Tensor | None]:
    """Return random inputs of a network, and its prior if it has one.

    Parameters
    ----------
    model : Model
        The network.
    side : int, optional
        Voxels along every side, rounded up to a multiple of the network's stride; by default the shape on
        the card.
    """
    spec = model.card["architecture"]
    kind, options = spec["class"], spec["arguments"]
    channels = {"LinkNet": 1, "VelocityUNet": 2 * options.get("inputs", 1)}.get(
        kind, options.get("inputs", 1)
    )
    stride = getattr(model.network, "stride", 16)
    # Instance normalization needs more than one voxel at the deepest level.
    shape = [max(2 * stride, side or n) for n in model.card["shape"]]
    shape = [n + (-n) % stride for n in shape]
    if len(shape) == 2:  # a network of slices
        shape.append(4 if side else SLICES)
    random = torch.Generator().manual_seed(0)
    x = torch.rand(1, channels, *shape, generator=random)
    count = options.get("prior", 0)
    if not count:
        return x, None
    prior = torch.randn(1, count, *(n // 2 for n in shape), generator=random)
    return x, prior if count == 1 else prior.softmax(1)


@torch.inference_mode()
def outputs(
    network: nn.Module, x: Tensor, prior: Tensor | None, device: str, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the results of a network by task, computed on a device with an arithmetic, on the CPU."""
    x = x.to(device).contiguous(memory_format=torch.channels_last_3d)
    prior = None if prior is None else prior.to(device)
    with torch.autocast(device.split(":")[0], dtype=dtype, enabled=dtype != torch.float32):
        found = network(x, prior)
    whole = {task: value[0] if isinstance(value, tuple) else value for task, value in found.items()}
    return {task: value[0].float().cpu() for task, value in whole.items()}


def difference(found: dict[str, Tensor], exact: dict[str, Tensor]) -> tuple[float, float]:
    """Return how results differ: root mean square relative to their spread, and share of equal decisions.

    A decision is the most probable class, or the sign of a single number. The worst task counts.
    """
    relative, same = 0.0, 1.0
    for task, right in exact.items():
        values = found[task]
        error = (values - right).square().mean().sqrt() / right.std().clamp(min=1e-12)
        relative = max(relative, float(error))
        many = right.shape[0] > 1 and task != "velocity"
        pairs = (values.argmax(0), right.argmax(0)) if many else (values > 0, right > 0)
        same = min(same, float((pairs[0] == pairs[1]).float().mean()))
    return relative, same


def timed(work: Callable[[], Any], device: str, runs: int = RUNS) -> tuple[float, float, float]:
    """Return the first and the fastest wall time (s) of several runs, and the peak memory (MiB)."""
    taken = []
    with Memory(device) as memory:
        for _ in range(runs + 1):
            began = time.perf_counter()
            work()
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - began)
    return taken[0], min(taken[1:] or taken), memory.peak


def network_rows(device: str, side: int | None = None, runs: int = RUNS) -> list[list[Any]]:
    """Return the rows of the table of networks."""
    rows = []
    for name in bundled():
        here, there = zoo.load_once(name, "cpu"), zoo.load_once(name, device)
        x, prior = inputs_of(here, side)
        exact = outputs(here.network, x, prior, "cpu", torch.float32)
        row: list[Any] = [f"{name} ({' × '.join(map(str, x.shape[2:]))})"]
        for where, model in (("cpu", here), (device, there)):
            work = partial(outputs, model.network, x, prior, where, devices.precision(where))
            _, best, peak = timed(work, where, runs)
            row += [best, round(peak)]
        full = outputs(there.network, x, prior, device, torch.float32)
        fast = outputs(there.network, x, prior, device, devices.precision(device))
        rows.append([*row, f"{difference(full, exact)[0]:.1e}", f"{100 * difference(fast, exact)[1]:.2f}"])
        tables.say(f"{name} {rows[-1][1:]}")
    return rows


def stage_rows(device: str, image: Path | None) -> list[list[Any]]:
    """Return the rows of the table of stages, of a scan or of the template.

    Raises
    ------
    ModuleNotFoundError
        If a package of the program is missing.
    """
    from brainseg.models.preprocessing import scan as reader
    from brainseg.models.segmentation import lesion, segmentation, skullstrip
    from brainseg.models.templates import bundled as templates

    scan = reader.read(image, notes=[]) if image else templates.load(templates.DEFAULT).image
    brain = skullstrip.skullstrip(scan, mode="auto" if image else "force").mask
    stages: dict[str, Callable[[str], Any]] = {
        "skull-stripping": lambda where: skullstrip.skullstrip(scan, mode="force", device=where),
        "segmentation": lambda where: segmentation.segment(scan, brain, device=where),
        "segmentation, accurate": lambda where: segmentation.segment(
            scan, brain, effort="accurate", device=where
        ),
        "lesion": lambda where: lesion.find(scan, brain, device=where),
    }
    rows = []
    for name, work in stages.items():
        row: list[Any] = [name]
        for where in ("cpu", device):
            zoo.load_once.cache_clear()
            first, best, peak = timed(partial(work, where), where, 1)
            row += [first, best, round(peak)]
        rows.append(row)
        tables.say(f"{name} {row[1:]}")
    return rows


def report(networks: list[list[Any]], stages: list[list[Any]], missing: str, device: str) -> str:
    """Return the tables."""
    kinds = [f"{where}: {str(devices.precision(where)).removeprefix('torch.')}" for where in ("cpu", device)]
    header = ["network", "CPU (s)", "CPU (MiB)", "device (s)", "device (MiB)"]
    first = tables.markdown([*header, "difference in float32", "same decisions (%)"], networks)
    sides = [f"{where}, {what}" for where in ("CPU", "device") for what in ("first (s)", "again (s)", "MiB")]
    second = tables.markdown(["stage", *sides], stages) if stages else f"Stages were left out: {missing}."
    return (
        f"Device: {_name(device)}; arithmetic: {', '.join(dict.fromkeys(kinds))}.\n\n{first}\n\n"
        "Difference: root mean square, relative to the spread of the result on the CPU, both in float32. "
        "Same decisions: classes or signs of the device's own arithmetic as on the CPU in float32. "
        "Inputs are random.\n\n"
        f"{second}\n\n{_stamp()}"
    )


def _name(device: str) -> str:
    if not device.startswith("cuda"):
        return f"{device} (the CPU against itself: it checks this script only)"
    return f"{torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}"


def _stamp() -> str:
    """Return date, versions and machine; the program's version is unknown where it is not installed."""
    try:
        return tables.stamp()
    except Exception:
        return f"*{time.strftime('%Y-%m-%d')}; program not installed; PyTorch {torch.__version__}*"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0", help="cuda:N, or cpu to check this script")
    parser.add_argument("--image", type=Path, help="scan of the stages (default: the template)")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    parser.add_argument("--networks-only", action="store_true", help="leave the stages out")
    parser.add_argument("--side", type=int, help="voxels along every side of the networks' inputs, to try")
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of which the fastest counts")
    args = parser.parse_args(argv)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        built = torch.version.cuda or "the CPU only"
        raise SystemExit(
            f"no GPU: PyTorch {torch.__version__} (built for CUDA: {built}) finds no CUDA device; "
            "nothing was measured"
        )
    if args.out and not args.device.startswith("cuda"):
        raise SystemExit("--out is for figures of a GPU; leave it out with --device cpu")
    # Convolutions in float32 use TensorFloat-32 by default, which is not float32.
    torch.backends.cudnn.allow_tf32 = False
    networks = network_rows(args.device, args.side, args.runs)
    stages, missing = [], "on request"
    if not args.networks_only:
        try:
            stages = stage_rows(args.device, args.image)
        except ModuleNotFoundError as error:
            missing = f"the package {error.name} is not installed"
    text = report(networks, stages, missing, args.device)
    print(text)
    if args.out:
        tables.put(args.out, "gpu", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
