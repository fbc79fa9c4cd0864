"""Latent diffusion: an autoencoder, and a U-Net that takes noise out of its latent images.

Rombach et al. (2022), doi:10.1109/CVPR52688.2022.01042. Both networks are MONAI's (extra ``zoo``); the noise
schedule and the deterministic sampling are those of Ho et al. (2020) and Song et al. (2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..monai_networks import monai_class

PARTS = ("autoencoder", "diffusion")
"""Parts of the network, which train one after the other."""

BETAS = (0.0015, 0.0195)
"""Variances of the first and the last step of noise; their square roots lie on a line."""


class LatentDiffusion(nn.Module):
    """Autoencoder and diffusion U-Net.

    Parameters
    ----------
    inputs : int
        Channels of an image.
    channels : sequence of int
        Channels of the autoencoder; each level but the first halves the sides.
    latent : int
        Channels of a latent image.
    diffusion : sequence of int
        Channels of the U-Net; each level but the first halves the sides. The last one has attention.
    groups : int
        Groups of the normalization, which divide all channels.
    timesteps : int
        Steps of noise.
    scale : float
        Factor that brings latent images to a deviation of 1.

    Raises
    ------
    UsageError
        If MONAI is not installed.
    """

    levels: Tensor
    """Share of the signal's variance by step, shape (timesteps,)."""

    def __init__(
        self,
        inputs: int = 1,
        channels: Sequence[int] = (32, 64, 64),
        latent: int = 3,
        diffusion: Sequence[int] = (64, 128, 192),
        groups: int = 16,
        timesteps: int = 1000,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.autoencoder = monai_class("AutoencoderKL")(
            spatial_dims=3,
            in_channels=inputs,
            out_channels=inputs,
            channels=list(channels),
            attention_levels=[False] * len(channels),
            latent_channels=latent,
            num_res_blocks=1,
            norm_num_groups=groups,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )
        self.unet = monai_class("DiffusionModelUNet")(
            spatial_dims=3,
            in_channels=latent,
            out_channels=latent,
            channels=list(diffusion),
            attention_levels=[*[False] * (len(diffusion) - 1), True],
            num_res_blocks=1,
            norm_num_groups=groups,
            num_head_channels=diffusion[-1],
        )
        self.latent, self.scale, self.part = latent, scale, PARTS[-1]
        self.shrink = 2 ** (len(channels) - 1)
        self.stride = self.shrink * 2 ** (len(diffusion) - 1)
        betas = torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, timesteps) ** 2
        self.register_buffer("levels", torch.cumprod(1 - betas, 0), persistent=False)

    def forward(self, x: Tensor, prior: Tensor | None = None) -> dict[str, Tensor]:
        """Return what the losses of the part that trains compare.

        Parameters
        ----------
        x : Tensor, shape (B, inputs, X, Y, Z)
            Images.
        prior : None
            Not used.

        Returns
        -------
        dict of str to Tensor
            Of the autoencoder ``image``, ``mean`` and ``deviation`` of the latent image; of the diffusion the
            ``noise`` that the U-Net finds and that was ``added``.
        """
        if self.part == PARTS[0]:
            mean, deviation = self.autoencoder.encode(x)
            drawn = self.autoencoder.sampling(mean, deviation)
            return {"image": self.autoencoder.decode(drawn), "mean": mean, "deviation": deviation}
        latent = self.encoded(x)
        added = torch.randn_like(latent)
        steps = torch.randint(len(self.levels), (len(x),), device=x.device)
        level = self.levels[steps].view(-1, 1, 1, 1, 1)
        noisy = level.sqrt() * latent + (1 - level).sqrt() * added
        return {"noise": self.unet(noisy, timesteps=steps), "added": added}

    @torch.no_grad()
    def encoded(self, x: Tensor) -> Tensor:
        """Return the latent images of images, with a deviation of about 1."""
        mean, _ = self.autoencoder.encode(x)
        return mean * self.scale

    @torch.no_grad()
    def sample(self, shape: Sequence[int], steps: int = 50) -> Tensor:
        """Draw an image from the noise of torch's random numbers.

        Parameters
        ----------
        shape : sequence of int
            Number of voxels (X, Y, Z), multiples of the stride.
        steps : int
            Number of steps, without noise of their own (Song et al. 2021).

        Returns
        -------
        Tensor, shape (inputs, X, Y, Z)
            The image.
        """
        device = self.levels.device
        z = torch.randn(1, self.latent, *(n // self.shrink for n in shape)).to(device)
        times = torch.linspace(len(self.levels) - 1, 0, steps).round().long().unique().flip(0)
        for k, time in enumerate(times.tolist()):
            level = self.levels[time]
            later = self.levels[times[k + 1]] if k + 1 < len(times) else level.new_tensor(1.0)
            noise = self.unet(z, timesteps=torch.tensor([time], device=device))
            clean = (z - (1 - level).sqrt() * noise) / level.sqrt()
            z = later.sqrt() * clean + (1 - later).sqrt() * noise
        image: Tensor = self.autoencoder.decode(z / self.scale)[0]
        return image
