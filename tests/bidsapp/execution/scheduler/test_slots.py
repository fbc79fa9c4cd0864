"""Slots of GPUs, with stand-ins for the cards: one process for each, which sees no other."""

import doctest
import json
import os
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline import engine as pe

from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.execution.scheduler import devices, plugins, server, slots
from brainseg.models.errors import UsageError

BASE = ["/b", "/o", "participant"]
IMPORTS = ["import json", "import os", "import time", "from pathlib import Path"]


@pytest.fixture
def cards(monkeypatch):
    """Says how many cards torch sees."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(count):
        monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(devices.torch.cuda, "get_device_name", lambda name: f"Card {name[-1]}")
        monkeypatch.setattr(devices, "precision", lambda name: devices.torch.bfloat16)

    return install


def test_examples():
    assert doctest.testmod(slots).failed == 0


@pytest.mark.parametrize(
    ("count", "words", "environ", "expected"),
    [
        (0, [], {}, ["cpu"]),
        (0, [], {"SLURM_GPUS_ON_NODE": "2"}, ["cpu"]),
        (4, [], {}, ["cuda:0"]),  # of a computer that others use too
        (4, [], {"SLURM_GPUS_ON_NODE": "2"}, ["cuda:0", "cuda:1"]),
        (2, [], {"CUDA_VISIBLE_DEVICES": "1,3"}, ["cuda:0", "cuda:1"]),
        (1, [], {"SLURM_GPUS_ON_NODE": "4"}, ["cuda:0"]),
        (1, [], {"CUDA_VISIBLE_DEVICES": "MIG-1,MIG-2,MIG-3"}, ["cuda:0", "cuda:1", "cuda:2"]),
        (2, ["--device", "cuda:1"], {"CUDA_VISIBLE_DEVICES": "0,1"}, ["cuda:1"]),
        (2, ["--device", "cpu"], {"CUDA_VISIBLE_DEVICES": "0,1"}, ["cpu"]),
        (3, ["--n-gpus", "2"], {"CUDA_VISIBLE_DEVICES": "0,1,2"}, ["cuda:0", "cuda:1"]),
        (2, ["--plugin", "linear"], {"CUDA_VISIBLE_DEVICES": "0,1"}, ["cuda:0"]),
        (2, ["--n-gpus", "0"], {}, ["cpu"]),
    ],
)
def test_devices_of_a_run(cards, count, words, environ, expected):
    cards(count)
    assert devices.devices(parse([*BASE, *words]), environ) == expected


def test_more_than_there_are(cards):
    cards(2)
    with pytest.raises(UsageError, match="2 are available"):
        devices.devices(parse([*BASE, "--n-gpus", "3"]), {})


def test_parts_of_a_card_are_named_though_this_process_sees_one(cards):
    cards(1)
    assert devices.arithmetic("cuda:2")["device"] == "Card 0"
    assert devices.arithmetic("cuda:2")["precision"] == "bfloat16"


def stand_in(x, folder, device="cpu", use_gpu=False):
    """Write what the node sees, and when it ran."""
    start = time.monotonic()
    time.sleep(1.5)  # two processes start within that time on a busy machine, too
    seen = {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "pid": os.getpid(), "device": device}
    seen |= {"start": start, "end": time.monotonic(), "used": use_gpu}
    (Path(folder[5:]) / f"{x}.json").write_text(json.dumps(seen))
    return x


@pytest.mark.slow
def test_one_process_for_each_card(tmp_path, monkeypatch):
    """Both cards work at once; each has one process, and no other process sees a card."""
    monkeypatch.setattr(server, "PRELOAD", ["nipype.pipeline.engine"])
    found = slots.slots(["cuda:0", "cuda:1"], {"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"})
    plugin = plugins.WorkersPlugin(
        {"n_procs": 8, "memory_gb": 8},
        on_failure=lambda node, fault: pytest.fail(str(fault)),
        order=lambda node: 0,
        seed=0,
        log_file=tmp_path / "log",
        slots=found,
    )
    looked, look = [], plugin._send_procs_to_workers
    monkeypatch.setattr(
        plugin, "_send_procs_to_workers", lambda **how: looked.append(time.monotonic()) or look(**how)
    )
    workflow = pe.Workflow("cards", base_dir=str(tmp_path / "work"))
    workflow.config["execution"] = {"poll_sleep_duration": "0.02", "crashdump_dir": str(tmp_path)}
    (tmp_path / "seen").mkdir()
    for number in range(8):
        names = ["x", "folder", *(["device", "use_gpu"] if number < 6 else [])]
        function = Function(names, ["out"], stand_in, imports=IMPORTS)
        node = pe.Node(function, name=f"n{number}", mem_gb=0.1, n_procs=2)
        node.inputs.trait_set(x=number, folder=f"file:{tmp_path / 'seen'}")
        if number < 6:
            node.inputs.trait_set(use_gpu=True, device="cuda:7")
        workflow.add_nodes([node])
    try:
        workflow.run(plugin=plugin)
    finally:
        plugin.close()
    seen = [json.loads(path.read_text()) for path in sorted((tmp_path / "seen").iterdir())]
    by_card = defaultdict(list)
    for one in seen[:6]:
        by_card[one["gpu"]].append(one)
        assert one["device"] == "cuda:0"  # the only one that the process sees
    assert sorted(by_card) == ["MIG-a", "MIG-b"]
    for found in by_card.values():
        assert len({one["pid"] for one in found}) == 1
        times = sorted((one["start"], one["end"]) for one in found)
        assert all(end <= start for (_, end), (start, _) in pairwise(times))
    first, second = by_card.values()
    assert any(a["start"] < b["end"] and b["start"] < a["end"] for a in first for b in second)
    assert {one["gpu"] for one in seen[6:]} == {""}
    seconds = looked[-1] - looked[0]
    assert len(looked) < 2 * len(seen) + seconds, "looks when a node has ended, and once a second"
