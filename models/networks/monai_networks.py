"""Networks of MONAI with the interface of the others; MONAI comes with the extra ``zoo``.

Every network takes (B, C, X, Y, Z); one of two dimensions sees the slices along the last axis as a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import Any

from torch import Tensor, nn

from ..errors import UsageError

PACKAGE = "monai.networks.nets"
"""Resolved only when a network is built, for MONAI need not be installed."""


def monai_class(network: str) -> Any:
    """Return a class of :mod:`monai.networks.nets`.

    Raises
    ------
    UsageError
        If MONAI is not installed.
    """
    try:
        return resolve_name(f"{PACKAGE}:{network}")
    except ImportError as error:
        raise UsageError(
            None, f"the network {network} needs MONAI ({error})", "pip install 'brainseg-bids[zoo]'"
        ) from None


class MonaiNetwork(nn.Module):
    """A network of MONAI as one with the task ``structure``.

    Parameters
    ----------
    network : str
        Class of :mod:`monai.networks.nets`.
    inputs, outputs : int
        Channels of the input, and classes.
    names : tuple of str
        Names of both among the arguments of the class.
    dimensions : {2, 3}
        2 for a network of slices.
    stride : int
        Number that divides every side of the input.
    **arguments : Any
        Further arguments of the class.

    Raises
    ------
    UsageError
        If MONAI is not installed.
    """

    def __init__(
        self,
        network: str,
        inputs: int = 1,
        outputs: int = 2,
        names: tuple[str, str] = ("in_channels", "out_channels"),
        dimensions: int = 3,
        stride: int = 16,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.stride, self.dimensions = stride, dimensions
        made = monai_class(network)
        spatial = {"spatial_dims": dimensions, names[0]: inputs, names[1]: outputs}
        self.body = made(**spatial | arguments)

    def forward(self, x: Tensor, prior: Tensor | None = None) -> dict[str, tuple[Tensor, None]]:
        """Return the logits of ``structure``, shape (B, outputs, X, Y, Z), and None at half resolution."""
        if self.dimensions == 3:
            found = self.body(x)
            return {"structure": (found[0] if isinstance(found, list | tuple) else found, None)}
        b, _, _, _, slices = x.shape
        flat = x.permute(0, 4, 1, 2, 3).flatten(0, 1)
        found = self.body(flat.contiguous())
        return {"structure": (found.unflatten(0, (b, slices)).permute(0, 2, 3, 4, 1), None)}


def unet(
    inputs: int = 1,
    outputs: int = 2,
    channels: Sequence[int] = (16, 32, 64, 128, 256),
    residual: int = 2,
    **more: Any,
) -> MonaiNetwork:
    """Return a 3D U-Net with residual units."""
    strides = [2] * (len(channels) - 1)
    arguments: dict[str, Any] = {
        "channels": list(channels),
        "strides": strides,
        "num_res_units": residual,
    } | more
    return MonaiNetwork("UNet", inputs, outputs, stride=2 ** len(strides), **arguments)


def attention_unet(
    inputs: int = 1, outputs: int = 2, channels: Sequence[int] = (16, 32, 64, 128, 256), **more: Any
) -> MonaiNetwork:
    """Return a 3D Attention U-Net."""
    strides = [2] * (len(channels) - 1)
    arguments: dict[str, Any] = {"channels": list(channels), "strides": strides} | more
    return MonaiNetwork("AttentionUnet", inputs, outputs, stride=2 ** len(strides), **arguments)


def segresnet(
    inputs: int = 1, outputs: int = 2, filters: int = 16, down: Sequence[int] = (1, 2, 2, 4), **more: Any
) -> MonaiNetwork:
    """Return a SegResNet."""
    arguments: dict[str, Any] = {
        "init_filters": filters,
        "blocks_down": list(down),
        "blocks_up": [1] * (len(down) - 1),
    } | more
    return MonaiNetwork("SegResNet", inputs, outputs, stride=2 ** (len(down) - 1), **arguments)


def unetr(
    inputs: int = 1,
    outputs: int = 2,
    shape: Sequence[int] = (64, 64, 64),
    features: int = 16,
    hidden: int = 384,
    heads: int = 6,
    **more: Any,
) -> MonaiNetwork:
    """Return a UNETR, a transformer for windows of the size ``shape`` only."""
    arguments: dict[str, Any] = {"img_size": tuple(shape), "feature_size": features, "hidden_size": hidden}
    arguments |= {"mlp_dim": 4 * hidden, "num_heads": heads} | more
    return MonaiNetwork("UNETR", inputs, outputs, stride=16, **arguments)


def efficient_unet(
    inputs: int = 1, outputs: int = 2, model: str = "efficientnet-b0", **more: Any
) -> MonaiNetwork:
    """Return a 2D U-Net with an EfficientNet as its encoder, not pretrained."""
    arguments: dict[str, Any] = {"backbone": model, "pretrained": False} | more
    return MonaiNetwork("FlexibleUNet", inputs, outputs, dimensions=2, stride=32, **arguments)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "UNet3D": unet,
    "AttentionUNet": attention_unet,
    "SegResNet": segresnet,
    "UNETR": unetr,
    "EfficientUNet": efficient_unet,
}
"""Architectures by their name in a recipe."""
