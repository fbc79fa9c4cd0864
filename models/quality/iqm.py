"""Image quality metrics of a structural scan: MRIQC's families, from the program's own results.

The formulas are those of MRIQC's code (24.0, ``mriqc/qc/anatomical.py``), which differs from its
documentation: medians instead of means in FBER, deviations of white and gray matter in CNR, deviations from
the median in CJV. Intensities are first scaled to a median of 1000 in white matter, as in MRIQC. Inputs that
MRIQC takes from other programs (head mask, background above the nasion, smoothness) are computed by the
methods in :data:`DEFINITIONS`.

Background metrics are None for a skull-stripped scan.
"""

from __future__ import annotations

import math
import tomllib
from typing import Any

import numpy as np
import torch

from ..data import FOLDER
from ..geometry.axes import occupied, triple
from ..geometry.trilinear import sample
from ..geometry.volume import Grid, Volume, coordinate_channels, transform_points
from ..population.labels import DSEG_NAMES
from . import formulas
from .background import LEAST_VOXELS, artifacts_in, noise_misfit, surroundings

TISSUES = tuple(sorted(map(str.lower, DSEG_NAMES)))
"""Names of the tissues in MRIQC's order."""

EVERY = 2
"""Voxels along each axis of which one is compared with the template's maps, which are smooth."""

WM_LEVEL = 1000.0
"""Median of white matter after scaling, as MRIQC's."""


def measure(
    image: Volume,
    mask: Volume,
    probabilities: dict[str, Volume],
    *,
    field: Volume | None = None,
    matrix: np.ndarray | None = None,
    tissue_maps: tuple[Grid, dict[str, torch.Tensor]] | None = None,
    stripped: bool = False,
) -> dict[str, float | None]:
    """Return all metrics of a scan by name in :data:`DEFINITIONS`; None for an unknown value.

    Parameters
    ----------
    image, mask : Volume
        Bias-corrected scan and brain mask on one grid.
    probabilities : dict of str to Volume
        ``GM``, ``WM`` and ``CSF`` on the same grid.
    field : Volume, optional
        The bias field.
    matrix : ndarray, shape (4, 4), optional
        From the scan's mm to the template's mm.
    tissue_maps : tuple, optional
        The template's grid and its probabilities of ``csf``, ``gm`` and ``wm``.
    stripped : bool
        Whether the scan is skull-stripped; then there is no background.
    """
    whole = {name: probabilities[name.upper()].data.numpy() for name in TISSUES}
    # Most measures are of the brain only, which fills a fifth of the image.
    part = _box([mask.data.numpy(), *whole.values()])
    maps = {name: np.ascontiguousarray(values[part]) for name, values in whole.items()}
    data = _scaled(image, maps["wm"], part)
    head, background, frame, away = (
        (None, None, data == 0, None)
        if stripped
        else surroundings(image.with_data(torch.from_numpy(data)), mask, matrix)
    )
    if background is not None and np.count_nonzero(data[background]) < LEAST_VOXELS:
        head, background = None, None
    found: dict[str, dict[str, float]] = {
        name: formulas.statistics(data[part], weight) for name, weight in maps.items()
    }
    outside: dict[str, float | None] = dict.fromkeys(("fber", "qi_1", "qi_2"))
    found["bg"] = {}
    if head is not None and background is not None and away is not None:
        found["bg"], outside = _outside(data, head, background, frame, away)
    out: dict[str, float | None] = {}
    out |= _contrast(found)
    out["fber"] = outside["fber"]
    out["efc"] = formulas.efc(data[~frame]) if (~frame).any() else None
    out["wm2max"] = found["wm"]["median"] / float(np.percentile(data, 99.95)) if found["wm"] else None
    out |= {"qi_1": outside["qi_1"], "qi_2": outside["qi_2"]}
    inside = mask.data.numpy()[part] > 0
    out |= _smoothness(data[part], inside) | _volume_fractions(maps, data.size)
    out |= _bias(field.data.numpy()[part] if field is not None else None, inside)
    out |= _tissue_overlap(image, whole, part, matrix, tissue_maps)
    for name in (*TISSUES, "bg"):
        for key in ("mean", "median", "p05", "p95", "stdv", "k", "mad", "n"):
            out[f"summary_{name}_{key}"] = found[name].get(key)
    return {name: _known(value) for name, value in out.items()}


def _outside(
    data: np.ndarray, head: np.ndarray, background: np.ndarray, frame: np.ndarray, away: np.ndarray
) -> tuple[dict[str, float], dict[str, float | None]]:
    """Return the summary of the background without artifacts, and the metrics that need it."""
    artifacts = artifacts_in(data, away, background)
    clean = background & ~artifacts
    return formulas.statistics(data, clean.astype(np.float32)), {
        "fber": formulas.fber(data, head, ~head & ~frame),
        "qi_1": float(artifacts.sum() / max(background.sum(), 1)),
        "qi_2": noise_misfit(data[clean]),
    }


def _box(masks: list[np.ndarray]) -> tuple[slice, ...]:
    """Return the box around what is not zero in any of some arrays; all if nothing is."""
    boxes = [found for one in masks if (found := occupied(one))[0].stop]
    if not boxes:
        return tuple(slice(0, size) for size in masks[0].shape)
    return tuple(
        slice(min(s.start for s in line), max(s.stop for s in line)) for line in zip(*boxes, strict=True)
    )


def _scaled(image: Volume, white_matter: np.ndarray, part: tuple[slice, ...]) -> np.ndarray:
    """Return the intensities, float32, scaled to the reference median of white matter in a box."""
    inside = white_matter > 0.5
    level = float(np.median(image.data.numpy()[part][inside])) if inside.any() else 0.0
    data = image.data.numpy()
    known = data if math.isfinite(float(image.data.sum())) else np.nan_to_num(data)
    data = np.clip(known, 0, None).astype(np.float32, copy=False)
    data *= WM_LEVEL / level if level > 0 else 1.0
    return data


def _contrast(found: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Return the ratios of the tissues' levels and deviations."""
    out: dict[str, float | None] = {}
    wm, gm, background = found["wm"], found["gm"], found["bg"]
    apart = wm and gm and wm["median"] != gm["median"]
    out["cjv"] = formulas.cjv(wm["median"], gm["median"], wm["mad"], gm["mad"]) if apart else None
    noise = background.get("stdv", 0.0)
    known = wm and gm and wm["stdv"] + gm["stdv"] + noise > 0
    out["cnr"] = formulas.cnr(wm["median"], gm["median"], noise, wm["stdv"], gm["stdv"]) if known else None
    for name in TISSUES:
        tissue = found[name]
        noisy = tissue and tissue["stdv"] > 0
        out[f"snr_{name}"] = formulas.snr(tissue["median"], tissue["stdv"], tissue["n"]) if noisy else None
        out[f"snrd_{name}"] = (
            formulas.snr_dietrich(tissue["median"], background["mad"], background["stdv"])
            if tissue and background
            else None
        )
    for family in ("snr", "snrd"):
        each = [value for name in TISSUES if (value := out[f"{family}_{name}"]) is not None]
        out[f"{family}_total"] = float(np.mean(each)) if len(each) == len(TISSUES) else None
    return out


def _smoothness(data: np.ndarray, inside: np.ndarray) -> dict[str, float | None]:
    """Return the smoothness along the axes and its mean, in voxels."""
    found = formulas.fwhm(data, inside)
    x, y, z = found
    return {"fwhm_x": x, "fwhm_y": y, "fwhm_z": z, "fwhm_avg": float(np.mean(found))}


def _volume_fractions(maps: dict[str, np.ndarray], size: int) -> dict[str, float | None]:
    """Return the tissues' shares of the intracranial volume, and their residual partial volume errors.

    ``size`` is the number of voxels of the image that the maps are a part of.
    """
    total = max(sum(float(weight.sum(dtype=np.float64)) for weight in maps.values()), 1e-6)
    out: dict[str, float | None] = {
        f"icvs_{name}": float(weight.sum(dtype=np.float64)) / total for name, weight in maps.items()
    }
    return out | {f"rpve_{name}": formulas.rpve(weight, size) for name, weight in maps.items()}


def _bias(field: np.ndarray | None, inside: np.ndarray) -> dict[str, float | None]:
    if field is None or not inside.any():
        return {"inu_range": None, "inu_med": None}
    values = field[inside]
    low, high = np.percentile(values, (5, 95))
    return {"inu_range": float(abs(high - low)), "inu_med": float(np.median(values))}


def _tissue_overlap(
    image: Volume,
    maps: dict[str, np.ndarray],
    part: tuple[slice, ...],
    matrix: np.ndarray | None,
    tissue_maps: tuple[Grid, dict[str, torch.Tensor]] | None,
) -> dict[str, float | None]:
    names = [f"tpm_overlap_{name}" for name in TISSUES]
    if matrix is None or tissue_maps is None:
        return dict.fromkeys(names)
    grid, expected = tissue_maps
    some = torch.zeros(grid.shape, dtype=torch.bool)
    for name in TISSUES:
        some |= expected[name] > 0
    moved = Volume(some, np.linalg.inv(matrix) @ grid.affine)
    window = _reach(image.grid, part, moved)
    window = tuple(slice(part.start, part.stop, EVERY) for part in window)
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in window]
    affine[:3, :3] *= EVERY
    shape = triple(len(range(*part.indices(part.stop))) for part in window)
    where = coordinate_channels(Grid(shape, affine), np.linalg.inv(moved.affine), 1.0)
    return {
        label: formulas.overlap(maps[name][window], sample(expected[name][None], where, "zeros")[0].numpy())
        for name, label in zip(TISSUES, names, strict=True)
    }


def _reach(grid: Grid, part: tuple[slice, ...], moved: Volume) -> tuple[slice, ...]:
    """Return the part of a grid that contains a part of it and the maps of a template."""
    ends = [(s.start, s.stop - 1) for s in occupied(moved.data.numpy())]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
    index = transform_points(np.linalg.inv(grid.affine) @ moved.affine, corners)
    margin = np.abs((np.linalg.inv(grid.affine) @ moved.affine)[:3, :3]).sum(1)
    window = []
    for axis, size in enumerate(grid.shape):
        low = min(part[axis].start, math.floor(index[:, axis].min() - margin[axis]))
        high = max(part[axis].stop - 1, math.ceil(index[:, axis].max() + margin[axis]))
        window.append(slice(max(0, low), max(1, min(size, high + 1))))
    return tuple(window)


def _known(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _definitions() -> dict[str, dict[str, str]]:
    """Return the definition of every metric, with the families filled in."""
    content = tomllib.loads((FOLDER / "norms" / "iqm.toml").read_text(encoding="utf-8"))
    out: dict[str, dict[str, str]] = {}
    for name, entry in content["metric"].items():
        for part, words in content["parts"].get(entry.get("family", ""), {"": ""}).items():
            filled = {k: v.format(words) for k, v in entry.items() if k != "family"}
            filled["definition"] = filled["definition"][:1].upper() + filled["definition"][1:]
            out[f"{name}_{part}" if part else name] = filled
    return out


DEFINITIONS: dict[str, dict[str, str]] = _definitions()
"""For every metric ``name``, ``definition``, ``unit``, ``better`` (higher, lower, neither) and ``source``."""
