"""ANTs SyN, the standard reference method, with the same inputs and outputs as our registration."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import lazy_loader
import numpy as np
import torch

from ..deformation import diffeomorphic
from ..deformation.warp import Warp
from ..geometry.volume import Volume
from ..io import images
from .result import Anatomy, RegistrationResult

ants = lazy_loader.load("ants")
"""Imported at its first use: it takes seconds."""

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


ROOM = 10**9
"""Space (bytes) that ANTs' files may need."""


def register(
    moving: Anatomy, fixed: Anatomy, linear: RegistrationResult, start: bool = True
) -> RegistrationResult:
    """Register two brains by antspyx's SyN with its default settings.

    Parameters
    ----------
    moving, fixed : Anatomy
        Two brains; their skull-stripped images are compared.
    linear : RegistrationResult
        Our affine.
    start : bool
        Whether to start from our affine; otherwise ANTs computes its own.

    Returns
    -------
    RegistrationResult
        Alignment, moving to fixed.
    """
    with tempfile.TemporaryDirectory(dir=_roomy()) as folder:
        own = Path(folder) / "start.mat"
        if start:
            ants.write_transform(_affine(linear.forward.matrix), str(own))
        pair = [_image(one) for one in (fixed, moving)]
        found = ants.registration(
            *pair,
            type_of_transform="SyN",
            initial_transform=[str(own)] if start else None,
            outprefix=f"{folder}/syn_",
            random_seed=1,
        )
        affine = next(path for path in found["fwdtransforms"] if path.endswith(".mat"))
        fields = [
            next(p for p in found[k] if p.endswith(".nii.gz")) for k in ("fwdtransforms", "invtransforms")
        ]
        matrix = _matrix(ants.read_transform(affine))
        forward, inverse = (_field(path) for path in fields)
    size = forward.grid.spacing[:, None, None, None]
    folds = diffeomorphic.folds(_along_axes(forward) / torch.from_numpy(size).float())
    return replace(
        linear,
        matrix=np.linalg.inv(matrix),
        forward=Warp((forward, matrix)),
        inverse=Warp((np.linalg.inv(matrix), inverse)),
        folds=folds,
        engine="ants",
    )


def _roomy() -> Path | None:
    """Return a folder for ANTs' files: the current one if that of temporary files is too small.

    In containers, ``/tmp`` often has 64 MB.
    """
    here, there = Path.cwd(), Path(tempfile.gettempdir())
    free = {path: shutil.disk_usage(path).free for path in (here, there)}
    return here if free[there] < ROOM < free[here] and os.access(here, os.W_OK) else None


def _image(one: Anatomy) -> Any:
    volume = one.image.with_data(one.image.data * (one.mask.data > 0)).canonical()
    lps = TO_LPS @ volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    return ants.from_numpy(
        volume.data.float().numpy(),
        origin=lps[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=lps[:3, :3] / spacing,
    )


def _affine(matrix: np.ndarray) -> Any:
    """Return an ANTs affine from a matrix (RAS mm, fixed to moving)."""
    lps = TO_LPS @ matrix @ TO_LPS
    values = [*lps[:3, :3].ravel().tolist(), *lps[:3, 3].tolist()]
    return ants.create_ants_transform("AffineTransform", parameters=values, fixed_parameters=[0.0, 0.0, 0.0])


def _matrix(transform: Any) -> np.ndarray:
    """Return the matrix (RAS mm, fixed to moving) of an ANTs affine."""
    values, center = np.asarray(transform.parameters), np.asarray(transform.fixed_parameters)
    out = np.eye(4)
    out[:3, :3] = values[:9].reshape(3, 3)
    out[:3, 3] = values[9:] + center - out[:3, :3] @ center
    return TO_LPS @ out @ TO_LPS


def _field(path: str) -> Volume:
    """Return a displacement field from ANTs, in RAS mm."""
    field = images.read(path, np.float32)
    data = field.data.squeeze().permute(3, 0, 1, 2).clone(memory_format=torch.contiguous_format)
    data[:2] *= -1
    return field.with_data(data)


def _along_axes(field: Volume) -> torch.Tensor:
    """Return the displacements (mm) along the axes of the array."""
    turn = np.linalg.inv(field.affine[:3, :3] / field.grid.spacing)
    return torch.einsum("ij,jxyz->ixyz", torch.from_numpy(turn).float(), field.data)
