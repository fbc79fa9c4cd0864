"""Every network of the zoo trains by a recipe of patches or slices, and its weights can be used."""

import numpy as np
import pytest
import torch

from brainseg.bidsapp.cli import main
from brainseg.models.geometry.volume import Volume
from brainseg.models.networks import zoo
from brainseg.models.segmentation.own import labels as own
from helpers import labeled_images

pytest.importorskip("monai")

SMALL = {
    "UNet3D": "{channels: [4, 8]}",
    "AttentionUNet": "{channels: [4, 8]}",
    "SegResNet": "{init_filters: 8}",
    "UNETR": "{hidden: 48, heads: 4, features: 4}",
    "StemUNet": "{channels: [4, 8]}",
    "CoarseToFine": "{channels: [4, 8]}",
    "SliceUNet": "{channels: [4, 8]}",
    "EfficientUNet": "{}",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_network_trains(tmp_path, name):
    flat = name in ("SliceUNet", "EfficientUNet")
    labeled_images.write(tmp_path / "images", 2)
    (tmp_path / "labels.tsv").write_text(labeled_images.TABLE)
    shape = [32, 32] if flat else [16, 16, 16]
    changes = [f"network={name}", f"architecture={SMALL[name]}", "minutes=0.003", "loggers=[]"]
    changes += [f"stages=[{{until: 1.0, shape: {shape}, spacing: 3.0}}]", "batch=2", "repeat=2"]
    files = ["--maps", tmp_path / "images", "--table", tmp_path / "labels.tsv", "--out", tmp_path / "run"]
    command = ["train", "labels-slices" if flat else "labels", *changes, *map(str, files)]
    assert main.main([*command, "--device", "cpu", "--threads", "1"]) == 0
    path = next((tmp_path / "run").glob("*.safetensors"))
    assert zoo.read_card(str(path))["architecture"]["class"] == name
    image, truth = labeled_images.ball(9)
    scan = Volume(torch.from_numpy(image), np.diag([3.0, 3.0, 3.0, 1.0]))
    mask = scan.with_data(torch.from_numpy((truth > 0).astype(np.uint8)))
    found = own.segment(scan, mask, str(path), effort="accurate")
    assert found.notes == [] and set(found.labels.data.unique().tolist()) <= {0, 1, 2, 3}
