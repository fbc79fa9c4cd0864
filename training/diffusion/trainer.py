"""The trainer of latent diffusion: first the autoencoder, then the U-Net on its latent images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.networks.generative.latent_diffusion import PARTS, LatentDiffusion
from ..core.example import Example, ExampleSource
from ..core.trainer import Trainer
from ..synthesis.deformation import uniform

KIND = "latent-diffusion"
"""Kind of recipes of this trainer."""

LOSSES = ("reconstruction", "kl", "noise")
"""Losses: mean absolute error of the autoencoder's image, divergence of its latent image from a normal
distribution, and mean squared error of the noise that the U-Net finds."""

SEEN = 8
"""Images from which the scale of latent images is computed."""


class Brains:
    """Draws prepared images, half of them mirrored left and right.

    Parameters
    ----------
    path : Path
        Images from :func:`brainseg.training.diffusion.prepare.prepare`.
    device : str
        Device of the examples.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        with np.load(path) as arrays:
            count = len(json.loads(str(arrays["meta"]))["names"])
            self.images = [torch.from_numpy(arrays[f"x{k}"]).float() for k in range(count)]
        self.device = device

    def examples(self, number: int | None = None) -> list[Example]:
        """Return image ``number``, or a random one, as an example."""
        if number is not None:
            image = self.images[number % len(self.images)]
        else:
            image = self.images[int(torch.randint(len(self.images), ()))]
            image = image.flip(0) if uniform(0, 1) < 0.5 else image
        x = image[None, None].to(self.device)
        return [Example(x, None, {"image": x})]


class LatentDiffusionTrainer(Trainer):
    """Trains the parts of a network that draws images; a stage of the recipe names its ``part``."""

    scored: ClassVar[str] = "images that did not train"

    def samples(self, stage: dict[str, Any], data: Path) -> Brains:
        """Return the source of a stage's examples."""
        return Brains(data, self.device)

    def source(self) -> ExampleSource:
        """Return the source of the current stage's examples, and let the stage's part train."""
        found = super().source()
        network, part = cast(LatentDiffusion, self.network), self.stage().get("part", PARTS[-1])
        if part == PARTS[1] and (network.part != part or network.scale == 1.0):
            network.part = part
            network.scale = self._scale(cast(Brains, found))
        network.part = part
        network.autoencoder.requires_grad_(part == PARTS[0])
        return found

    @property
    def trained_steps(self) -> int:
        """Training steps of the part that trains now: its average begins anew, without its random start."""
        network = cast(LatentDiffusion, self.network)
        part = network.autoencoder if network.part == PARTS[0] else network.unet
        state = self.optimizer.state.get(next(part.parameters()), {})
        return int(state.get("step", 0))

    @torch.no_grad()
    def _scale(self, source: Brains) -> float:
        """Return the factor that brings the latent images of the first images to a deviation of 1."""
        network = cast(LatentDiffusion, self.network)
        network.scale = 1.0
        first = range(min(SEEN, len(source.images)))
        latent = torch.cat([network.encoded(source.examples(k)[0].x) for k in first])
        return round(float(1 / latent.std().clamp(min=1e-6)), 6)

    def losses(self, out: dict[str, Any], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return every weighted loss of the part that trains."""
        wanted = self.recipe.losses
        if "noise" in out:
            return {"noise": wanted["noise"] * F.mse_loss(out["noise"].float(), out["added"].float())}
        mean, deviation = out["mean"].float(), out["deviation"].float()
        divergence = 0.5 * (mean**2 + deviation**2 - 2 * deviation.clamp(min=1e-6).log() - 1)
        error = F.l1_loss(out["image"].float(), targets["image"])
        found = {"reconstruction": error, "kl": divergence.flatten(1).sum(1).mean()}
        return {name: wanted[name] * value for name, value in found.items() if name in wanted}

    def validate(self) -> dict[str, float]:
        """Return nothing: no score says which weights draw the better images; the last ones are exported."""
        return {}

    @torch.no_grad()
    def scores(self) -> dict[str, dict[str, float]]:
        """Return the mean absolute error of the autoencoder in the brains of images that did not train."""
        if self.validation is None:
            return {}
        with self.averaged():
            network, errors = cast(LatentDiffusion, self.network), []
            for image in Brains(self.validation, self.device).images:
                x = image[None, None].to(self.device)
                again = network.autoencoder.decode(network.encoded(x) / network.scale)
                errors.append(float((again - x).abs()[x > 0].mean()))
        return {self.scored: {"error of the autoencoder": sum(errors) / len(errors)}}

    def card(self) -> dict[str, Any]:
        """Return the content of the model card, with the scale of latent images."""
        found = super().card()
        arguments = found["architecture"]["arguments"] | {"scale": cast(LatentDiffusion, self.network).scale}
        return found | {"architecture": found["architecture"] | {"arguments": arguments}}
