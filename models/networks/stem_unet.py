"""A U-Net with a stem, one shared encoder and one decoder for each task.

With a stem of stride 2 most layers work at half the resolution of the input; a light refiner at full
resolution sharpens the logits of each task. On a CPU this is several times faster than a U-Net of the same
size at full resolution, at nearly the same accuracy. At coarse voxel sizes, where half the resolution is too
little, a stem of stride 1 keeps the full one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.sums import one_thread

ABSENT = -3.0
"""Logarithm of the prior of classes that a prior does not have, times the trust in it."""

EPSILON = 1e-5
"""Added to the variance of normalizations."""


class InstanceNorm(nn.Module):
    """Instance normalization with learned scale and shift, fast for channels-last bfloat16 on CPUs.

    Parameters
    ----------
    channels : int
        Number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``x`` (B, C, X, Y, Z) over space."""
        if len(x) == 1 and x.device.type == "cpu" and not torch.is_grad_enabled():
            return F.batch_norm(x, *_moments(x), self.weight, self.bias, training=False, eps=EPSILON)
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if len(x) == 1:
            # The same for one example, but it keeps the memory format, which saves two copies.
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=EPSILON)
        return F.instance_norm(x, weight=weight, bias=bias, eps=EPSILON)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the channels of one example (1, C, X, Y, Z) on the CPU, float32.

    They are computed on one thread, which takes hardly longer (:mod:`brainseg.models.geometry.sums`).
    """
    zeros = torch.zeros(x.shape[1])
    with one_thread():
        return torch.batch_norm_update_stats(x, zeros, torch.ones_like(zeros), 0.0)


class Block(nn.Sequential):
    """Two 3x3x3 convolutions, each normalized and rectified."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__(
            nn.Conv3d(inner, outer, 3, padding=1, bias=False),
            InstanceNorm(outer),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv3d(outer, outer, 3, padding=1, bias=False),
            InstanceNorm(outer),
            nn.LeakyReLU(0.01, inplace=True),
        )


class Decoder(nn.Module):
    """Decoder from the encoder's features to the logits of one task, at the stem's and at full resolution.

    Parameters
    ----------
    encoder : sequence of int
        Channels of the encoder, from the finest level.
    widths : sequence of int
        Channels of this decoder at every level but the deepest, from the finest.
    outputs : int
        Number of logits.
    refine : int
        Channels of the full-resolution refiner; 0 interpolates the stem's logits instead.
    detail : int
        Channels of the refiner's full-resolution input features.
    stem : int
        Stride of the stem.
    """

    def __init__(
        self,
        encoder: Sequence[int],
        widths: Sequence[int],
        outputs: int,
        refine: int,
        detail: int,
        stem: int = 2,
    ) -> None:
        super().__init__()
        self.stem = stem
        deeper = [*widths[1:], encoder[-1]]
        self.up = nn.ModuleList(
            Block(deeper[level] + encoder[level], widths[level]) for level in reversed(range(len(widths)))
        )
        self.low = nn.Conv3d(widths[0], outputs, 1)
        self.refine = refine
        if refine:
            self.lift = nn.Conv3d(widths[0], refine, 1)
            self.sharpen = nn.Sequential(
                nn.Conv3d(refine + detail, refine, 3, padding=1, bias=False),
                InstanceNorm(refine),
                nn.LeakyReLU(0.01, inplace=True),
                nn.Conv3d(refine, outputs, 1),
            )

    def forward(self, features: Sequence[Tensor], detail: Tensor | None, skip: Tensor | None) -> tuple:
        """Return the logits at full and at the stem's resolution; ``skip`` is added to the latter."""
        x = features[-1]
        for block, shallow in zip(self.up, reversed(features[:-1]), strict=True):
            x = block(torch.cat([_double(x), shallow], 1))
        low = self.low(x)
        if skip is not None:
            if low.shape[1] > skip.shape[1]:  # classes that the prior does not have
                skip = F.pad(skip, (0, 0, 0, 0, 0, 0, 0, low.shape[1] - skip.shape[1]), value=ABSENT)
            low = low + skip.to(low.dtype)
        if self.stem == 1:
            return low, low
        full = F.interpolate(low, scale_factor=2, mode="trilinear", align_corners=False)
        if self.refine:
            full = full + self.sharpen(torch.cat([_double(self.lift(x)), cast(Tensor, detail)], 1))
        return full, low


class StemUNet(nn.Module):
    """U-Net with a stem, a shared encoder and one decoder for each task.

    Parameters
    ----------
    inputs : int
        Channels of the input: the image first, then head coordinates.
    channels : sequence of int
        Channels of the encoder's levels; the first works at the resolution of the stem's output.
    tasks : mapping of str to mapping
        For each task ``outputs`` and, if wanted, ``refine`` (16) and ``width`` (1.0), which scales the
        decoder's channels.
    prior : int
        Channels of a prior at half resolution (a coarser network's posteriors), 0 for none.
    prior_task : str
        Task of the prior, with the same number of outputs.
    link : {'log', 'linear'}
        Whether the logits of that task start from the prior's logarithm (probabilities) or from the prior
        (a distance).
    detail : int
        Channels of the full-resolution features.
    merge : mapping of str to sequence of sequence of int
        For a task the outputs that each of its classes sums up, as probabilities. A network of coarser labels
        so begins as one of finer ones.
    stem : {2, 1}
        Stride of the stem. With 1 there are neither refiners nor a prior.

    Raises
    ------
    ValueError
        If the stem has another stride, or a refiner or a prior that it cannot have.

    Notes
    -----
    Every side of the input must be a multiple of ``stride``.
    """

    def __init__(
        self,
        inputs: int = 4,
        channels: Sequence[int] = (24, 48, 96, 192),
        tasks: Mapping[str, Mapping] | None = None,
        prior: int = 0,
        prior_task: str = "structure",
        link: str = "log",
        detail: int = 8,
        merge: Mapping[str, Sequence[Sequence[int]]] | None = None,
        stem: int = 2,
    ) -> None:
        super().__init__()
        self.merge = {name: [list(group) for group in groups] for name, groups in (merge or {}).items()}
        tasks = tasks or {"structure": {"outputs": 19}}
        refine = {name: spec.get("refine", 16 if stem == 2 else 0) for name, spec in tasks.items()}
        if stem not in (1, 2) or (stem == 1 and (prior or any(refine.values()))):
            raise ValueError("the stem has stride 2, or 1 without a prior and without refiners")
        self.stride = stem * 2 ** (len(channels) - 1)
        self.prior_task = prior_task if prior else None
        self.link = link
        first = channels[0]
        self.stem = nn.Sequential(
            nn.Conv3d(inputs, first, 4 if stem == 2 else 3, stride=stem, padding=1, bias=False),
            InstanceNorm(first),
            nn.LeakyReLU(0.01, inplace=True),
        )
        if prior:
            self.condition = nn.Conv3d(prior, first, 1)
            # Zero at the start, so that the weights of a network without prior can initialize this one.
            for weight in self.condition.parameters():
                nn.init.zeros_(weight)
            self.trust = nn.Parameter(torch.tensor(0.5 if link == "log" else 1.0))
        self.down = nn.ModuleList(
            Block(channels[max(level - 1, 0)], width) for level, width in enumerate(channels)
        )
        if stem == 2:
            self.detail = nn.Sequential(
                nn.Conv3d(1, detail, 3, padding=1, bias=False),
                InstanceNorm(detail),
                nn.LeakyReLU(0.01, inplace=True),
            )
        self.decoders = nn.ModuleDict()
        for name, spec in tasks.items():
            widths = [max(8, round(width * spec.get("width", 1.0))) for width in channels[:-1]]
            self.decoders[name] = Decoder(channels, widths, spec["outputs"], refine[name], detail, stem)

    def forward(
        self, x: Tensor, prior: Tensor | None = None, tasks: Collection[str] | None = None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Compute the logits of the tasks.

        Parameters
        ----------
        x : Tensor, shape (B, inputs, X, Y, Z)
            Image in [0, 1], then coordinates; orientation RAS.
        prior : Tensor, shape (B, prior, X/2, Y/2, Z/2), optional
            Probabilities that sum to one, or a distance.
        tasks : collection of str, optional
            Tasks to compute; all of them by default.

        Returns
        -------
        dict
            For each task the logits at full and at the stem's resolution.
        """
        h = self.stem(x)
        skip = None
        if self.prior_task:
            if prior is None:
                raise ValueError("the network needs a prior; give one")
            h = h + self.condition(prior)
            start = torch.log(prior.float().clamp(min=1e-3)) if self.link == "log" else prior.float()
            skip = self.trust * start
        features = []
        for level, block in enumerate(self.down):
            h = block(h if level == 0 else F.max_pool3d(h, 2))
            features.append(h)
        wanted = {name: decoder for name, decoder in self.decoders.items() if tasks is None or name in tasks}
        needs_detail = any(decoder.refine for decoder in wanted.values())
        detail = self.detail(x[:, :1]) if needs_detail else None
        out = {
            name: decoder(features, detail, skip if name == self.prior_task else None)
            for name, decoder in wanted.items()
        }
        for name, groups in self.merge.items():
            if name not in out:
                continue
            full, low = out[name]
            out[name] = _merged(full, groups), _merged(low, groups)
        return out


def _merged(logits: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Return the logits of classes whose probabilities are sums of outputs'."""
    return torch.stack([logits[:, group].float().logsumexp(1) for group in groups], 1)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
