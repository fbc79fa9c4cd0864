"""Transforms as ITK, ANTs, nitransforms and fMRIPrep read them: composite transforms in HDF5.

Written with h5py instead of ITK: displacements in compressed float32 (ITK writes float64, ten times the
size), the same bytes for the same transform. ITK's transforms take points (LPS mm) of the target to points
of the source, and a composite applies its last part first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import torch
from isal import isal_zlib

from ..deformation.warp import Warp
from ..errors import InputError
from ..geometry.volume import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Between RAS (NIfTI) and LPS (ITK) millimeters."""

STEP = 1024
"""Displacements are kept to this part of a millimeter: finer digits are noise that does not compress."""

CHUNK = 1 << 18
"""Values of a field that are compressed together."""


def write(path: str | Path | BinaryIO, warp: Warp, *, compress: bool = True) -> None:
    """Write ``warp`` as a composite transform.

    Parameters
    ----------
    path : path-like or file
        ``from-A_to-B_mode-image_xfm.h5`` for the warp that resamples image A onto B.
    warp : Warp
        Points of B to points of A.
    compress : bool
        Whether to compress fields, which takes longer than to compute with them.

    Notes
    -----
    The types say ``float`` because nitransforms and ITK read the parameters' type off their names; texts are
    ASCII, which ITK insists on.
    """
    text = h5py.string_dtype("ascii")
    with h5py.File(path, "w", track_order=False) as file:
        for key, value in (("HDFVersion", h5py.version.hdf5_version), ("ITKVersion", "5.4.0")):
            file.create_dataset(key, data=np.array([value.encode()], dtype=object), dtype=text)
        group = file.create_group("TransformGroup")

        def part(number: int, kind: str) -> Any:
            out = group.create_group(str(number))
            name = f"{kind}_float_3_3".encode()
            out.create_dataset("TransformType", data=np.array([name], dtype=object), dtype=text)
            return out

        part(0, "CompositeTransform")
        for number, step in enumerate(reversed(warp.steps or (np.eye(4),)), 1):
            if isinstance(step, Volume):
                _write_field(part(number, "DisplacementFieldTransform"), step, compress)
            else:
                _write_affine(part(number, "AffineTransform"), step)


def write_matrix(path: str | Path | BinaryIO, matrix: np.ndarray) -> None:
    """Write an affine as a composite transform.

    Parameters
    ----------
    path : path-like or file
        ``from-A_to-B_mode-image_xfm.h5`` for the affine that resamples image A onto B.
    matrix : ndarray, shape (4, 4)
        Points (RAS mm) of A to points of B. ITK stores the inverse, in LPS.
    """
    write(path, Warp((np.linalg.inv(matrix),)))


def _write_affine(group: Any, matrix: np.ndarray) -> None:
    stored = LPS @ matrix @ LPS
    values = np.concatenate([stored[:3, :3].ravel(), stored[:3, 3]])
    # An affine alone is small: its digits are kept.
    group.create_dataset("TransformParameters", data=values.astype(np.float64))
    group.create_dataset("TransformFixedParameters", data=np.zeros(3))


def _write_field(group: Any, field: Volume, compress: bool) -> None:
    size = field.grid.shape
    spacing = field.grid.spacing
    lps = LPS @ field.affine
    direction = lps[:3, :3] / spacing
    fixed = np.concatenate([size, lps[:3, 3], spacing, direction.ravel()]).astype(np.float64)
    values = np.multiply(field.data.numpy(), STEP, dtype=np.float32)  # exact, and so is the division
    np.divide(np.rint(values, out=values), STEP, out=values)
    values[:2] *= -1
    # ITK's order: the component runs fastest, then x, y, z; no negative zeros.
    flat = values.transpose(3, 2, 1, 0).ravel() + np.float32(0)
    group.create_dataset("TransformFixedParameters", data=fixed)
    if not compress:
        group.create_dataset("TransformParameters", data=flat)
        return
    chunk = min(len(flat), CHUNK)
    packing = {"chunks": (chunk,), "compression": "gzip", "compression_opts": 4, "shuffle": True}
    dataset = group.create_dataset("TransformParameters", len(flat), np.float32, **packing)
    for first in range(0, len(flat), chunk):
        part = np.zeros(chunk, np.float32)
        part[: len(flat) - first] = flat[first : first + chunk]
        # What HDF5 would do itself: the bytes of equal rank together, then zlib.
        shuffled = np.ascontiguousarray(part.view(np.uint8).reshape(-1, 4).T)
        dataset.id.write_direct_chunk((first,), isal_zlib.compress(shuffled.data, 2))


def read(path: str | Path) -> Warp:
    """Read a composite transform of affines and displacement fields.

    Raises
    ------
    InputError
        If the file is none.
    """
    try:
        with h5py.File(path, "r") as file:
            group = file["TransformGroup"]
            parts = [_read_part(group[str(k)]) for k in range(len(group))]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            path, f"it is not a composite transform ({error})", "Give an ITK .h5 file of affines and fields"
        ) from None
    return Warp(tuple(reversed([part for part in parts if part is not None])))


def _read_part(group: Any) -> np.ndarray | Volume | None:
    kind = group["TransformType"][0].decode().split("_")[0]
    if kind == "CompositeTransform":
        return None
    names = ("TransformParameters", "TransformFixedParameters")
    # ITK's own spelling of some versions.
    found = [group[n] if n in group else group[n.replace("Transform", "Tranform", 1)] for n in names]
    values, fixed = (np.asarray(f, np.float64) for f in found)
    if kind in ("AffineTransform", "MatrixOffsetTransformBase"):
        matrix = np.eye(4)
        matrix[:3, :3] = values[:9].reshape(3, 3)
        center = np.zeros(3) if len(fixed) < 3 else fixed[:3]
        matrix[:3, 3] = values[9:12] + center - matrix[:3, :3] @ center
        return LPS @ matrix @ LPS
    if kind != "DisplacementFieldTransform":
        raise ValueError(f"a {kind} is neither an affine nor a displacement field")
    size = fixed[:3].astype(int)
    lps = np.eye(4)
    lps[:3, :3] = fixed[9:18].reshape(3, 3) * fixed[6:9]
    lps[:3, 3] = fixed[3:6]
    data = values.reshape(*size[::-1], 3).transpose(3, 2, 1, 0).astype(np.float32)
    data[:2] *= -1
    return Volume(torch.from_numpy(np.ascontiguousarray(data)), LPS @ lps)
