"""A chain of three quick nodes in place of the real one, and small datasets for it.

Run as a program, it is ``brainseg-bids`` with that chain. The variable FAKE_CHAIN says what happens to
a participant-session: JSON ``{key: {stage: behavior}}``, where a behavior is ``raise``, ``input``,
``missing``, ``full``, ``fill`` (3 GB), ``numpy memory``, ``torch memory``, ``kill``, ``SIGINT``, ``SIGTERM``,
``light`` (nothing heavy is imported) or seconds to sleep; FAKE_CALLS names a file in which every node that
runs writes a line.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np


def conform(in_file, key, behavior, calls):
    """Read the image as the real chain does."""
    from pathlib import Path

    if calls != "file:":  # a bare path would be hashed by its content's age
        with Path(calls[5:]).open("a") as log:
            log.write(f"{key} conform\n")
    if behavior != "light":
        from brainseg.models.io.conform import read

        read(in_file)
    return in_file


def work(in_file, key, behavior, calls):
    """Do nothing, or what was asked for."""
    import os
    import signal
    import time
    from pathlib import Path

    from brainseg.models.errors import InputError, MissingFileError

    if calls != "file:":  # a bare path would be hashed by its content's age
        with Path(calls[5:]).open("a") as log:
            log.write(f"{key} segmentation\n")
    if behavior == "raise":
        raise ValueError("three is no brain")
    if behavior == "input":
        raise InputError(None, "its brain mask is empty", "Look at the mask")
    if behavior == "missing":
        raise MissingFileError("/weights/x.safetensors", "the weights are missing", "Fetch them")
    if behavior == "full":
        raise OSError(28, "No space left on device")
    if behavior in ("numpy memory", "torch memory"):
        __import__(behavior.split()[0]).ones(2**50)
    if behavior in ("SIGINT", "SIGTERM"):
        os.kill(os.getpid(), signal.Signals[behavior])
        time.sleep(60)
    if behavior == "fill":
        taken = bytearray(3 * 10**9)
        taken[:: 2**12] = b"x" * len(taken[:: 2**12])
        time.sleep(60)
    if behavior == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if behavior:
        time.sleep(float(behavior))
    return in_file


def write(in_file, key, behavior, calls, out_dir):
    """Write two derivatives."""
    import json
    from pathlib import Path

    if calls != "file:":  # a bare path would be hashed by its content's age
        with Path(calls[5:]).open("a") as log:
            log.write(f"{key} outputs\n")
    participant, _, session = key.partition("_")
    folder = Path(out_dir) / participant / session / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    prefix = Path(in_file).name.split(".")[0].rsplit("_", 1)[0]
    volumes = folder / f"{prefix}_desc-aseg_volumes.json"
    volumes.write_text(json.dumps({"Notes": ["a note from the science"]}))
    preproc = folder / f"{prefix}_desc-preproc_T1w.json"
    preproc.write_text(json.dumps({"SkullStripped": True}))
    mask = folder / f"{prefix}_desc-brain_mask.json"
    mask.write_text(json.dumps({"MaskSource": "deepbet"}))
    return [str(volumes), str(preproc), str(mask)]


def page(out_dir, key, behavior, out_files=None):
    """Write a report of one line."""
    from pathlib import Path

    if behavior == "raise":
        raise ValueError("no ink")
    status = (Path(out_dir) / "logs" / "status" / f"{key}.json").read_text()
    path = Path(out_dir) / f"{key}.html"
    path.write_text(f"<pre>{status}</pre>")
    return str(path)


def chain(*, name, inputs, **_):
    """Stand in for ``init_participant_wf``."""
    from nipype.interfaces.utility import Function, IdentityInterface
    from nipype.pipeline import engine as pe
    from niworkflows.engine.workflows import LiterateWorkflow

    source_file, out_dir, key = inputs.source_file, inputs.out_dir, inputs.key
    wanted = json.loads(os.environ.get("FAKE_CHAIN", "{}")).get(key, {})
    if "build" in wanted:
        raise RuntimeError("this one cannot be built")
    workflow = LiterateWorkflow(name)
    workflow.__desc__ = "Nothing was done to the images.\n"
    inner = LiterateWorkflow("segmentation_wf")
    names = ["in_file", "key", "behavior", "calls"]

    def node(function, label, out, **more):
        known = {
            "key": key,
            "behavior": str(wanted.get(label, "")),
            "calls": f"file:{os.environ.get('FAKE_CALLS', '')}",
        }
        one = pe.Node(Function(names + list(more), [out], function), name=label, mem_gb=0.1, n_procs=1)
        one.inputs.trait_set(**known, **more)
        return one

    first, last = node(conform, "conform", "out"), node(write, "outputs", "out_files", out_dir=out_dir)
    first.inputs.in_file = source_file
    middle = node(work, "segmentation", "out")
    inner.add_nodes([middle])
    outputnode = pe.Node(IdentityInterface(["out_files"]), name="outputnode")
    workflow.connect(
        [
            (first, inner, [("out", "segmentation.in_file")]),
            (inner, last, [("segmentation.out", "in_file")]),
            (last, outputnode, [("out_files", "out_files")]),
        ]
    )
    return workflow


def describe(out_dir, bids_root, links, sloppy=False, label_files=None):
    """Stand in for the description of the output as a dataset; several runs may write it at once."""
    from brainseg.models.io import atomic

    description = {"Name": "x", "BIDSVersion": "1.10.0", "GeneratedBy": [{"Name": "brainseg-bids"}]}
    atomic.write_text(out_dir / "dataset_description.json", json.dumps(description))


def report_node(out_dir, key):
    """Stand in for the node that writes the report."""
    from nipype.interfaces.utility import Function
    from nipype.pipeline import engine as pe

    wanted = json.loads(os.environ.get("FAKE_CHAIN", "{}")).get(key, {})
    names = ["out_dir", "key", "out_files", "behavior"]
    known = {"out_dir": str(out_dir), "key": key, "behavior": str(wanted.get("report", ""))}
    node = pe.Node(Function(names, ["out_report"], page), name="report", mem_gb=0.1, overwrite=True)
    node.inputs.trait_set(**known)

    return node


def install(patch=setattr) -> None:
    """Put the stand-ins in place."""
    from brainseg.bidsapp.execution import nodes
    from brainseg.bidsapp.execution import workflow as graph
    from brainseg.bidsapp.execution.scheduler import server
    from brainseg.bidsapp.jobs import scripts as jobs

    patch(jobs, "program", lambda: [sys.executable, __file__])
    patch(graph, "init_participant_wf", chain)
    patch(nodes, "report_node", report_node)
    patch(graph, "describe_dataset", describe)
    patch(server, "PRELOAD", ["nipype.pipeline.engine", "nipype.interfaces.utility"])


def head(shape=(24, 26, 22), spacing=3.0) -> nib.Nifti1Image:
    """An image that can be read."""
    data = np.random.default_rng(1).integers(0, 900, shape).astype(np.int16)
    image = nib.Nifti1Image(data, np.diag([spacing] * 3 + [1.0]))
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    return image


def dataset(root: Path, names=("sub-01", "sub-02"), suffix="T1w", **images) -> Path:
    """Write a BIDS dataset; ``names`` are participant-sessions, such as ``sub-01`` or ``sub-01_ses-2``."""
    for name in names:
        participant, _, session = name.partition("_")
        folder = root / participant / session / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        nib.save(images.get(name.replace("-", "_"), head()), folder / f"{name}_{suffix}.nii.gz")
        (folder / f"{name}_{suffix}.json").write_text("{}\n")
    description = {
        "Name": "test",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["A"],
    }
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README.md").write_text("A dataset for tests. " * 20)
    return root


if __name__ == "__main__":
    from brainseg.bidsapp.cli.bids import main

    install()
    raise SystemExit(main(sys.argv[1:]))
