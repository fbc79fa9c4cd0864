"""Convert the published network of deepbet (Fisch et al. 2024) to weights with a model card.

``python -m brainseg.training.data.deepbet WHEEL [--out FOLDER]`` reads ``data/models/model.pt`` in the wheel
from PyPI, and its license.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from ...models.data import FOLDER
from ...models.networks import zoo
from ...models.networks.link_net import LinkNet

MEMBER = "data/models/model.pt"
CHANNELS = [16, 32, 64, 128]
CARD = {
    "name": "deepbet",
    "kind": "t1w-mask",
    "architecture": {"class": "LinkNet", "arguments": {"channels": CHANNELS, "outputs": 2}},
    "spacing": 0.7,
    "shape": [256, 256, 256],
    "training_data": "7837 T1-weighted images of 191 OpenNeuro datasets, real images only",
    "source": "deepbet, https://github.com/wwu-mmll/deepbet, converted and rounded to eight bits",
    "citation": "Fisch et al. 2024, doi:10.48550/arXiv.2308.07003",
}
NAMES = (
    (r"^init\.", "stem."),
    (r"^down(\d)\.block(\d)\.double_conv", lambda m: f"down.{m[1]}.{int(m[2]) - 1}.body"),
    (r"^down(\d)\.block(\d)\.downsample", lambda m: f"down.{m[1]}.{int(m[2]) - 1}.skip"),
    (r"^up(\d)\.conv1\.0", r"up.\1.0"),
    (r"^up(\d)\.tp_conv\.0", r"up.\1.3"),
    (r"^up(\d)\.conv2\.0", r"up.\1.6"),
    (r"^tp_conv1\.0", "head.0"),
    (r"^conv\.0", "head.3"),
    (r"^tp_conv2", "head.6"),
)
"""Published names of the layers, and ours."""


def renamed(name: str) -> str:
    """Return our name of a published weight.

    Parameters
    ----------
    name : str
        Published name.

    Examples
    --------
    >>> renamed("down1.block2.double_conv.0.weight"), renamed("tp_conv2.bias")
    ('down.1.1.body.0.weight', 'head.6.bias')
    """
    for pattern, ours in NAMES:
        name = re.sub(pattern, ours, name)  # type: ignore[arg-type]
    return name


def convert(wheel: Path, folder: Path) -> Path:
    """Convert the network in a wheel.

    Parameters
    ----------
    wheel : Path
        The wheel of deepbet.
    folder : Path
        Folder of the weights and their card.

    Returns
    -------
    Path
        The weights.
    """
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MEMBER)
        terms = next(n for n in archive.namelist() if n.endswith("dist-info/LICENSE"))
        text = archive.read(terms).decode()
    published = torch.jit.load(io.BytesIO(content), map_location="cpu")
    state: dict[str, Tensor] = {renamed(k): v for k, v in published.state_dict().items()}
    LinkNet(CHANNELS).load_state_dict(state)
    card = CARD | {
        "license": "MIT (copyright (c) 2023 Medical Machine Learning Lab, University of Münster)",
        "license_text": text,
        "published_sha256": hashlib.sha256(content).hexdigest(),
    }
    return zoo.save(folder, zoo.quantized(state), card)


def main(argv: list[str] | None = None) -> int:
    """Convert the wheel named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="deepbet-*.whl from PyPI")
    parser.add_argument("--out", type=Path, default=FOLDER / "weights", help="folder of the weights")
    args = parser.parse_args(argv)
    print(convert(args.wheel, args.out))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
