"""Image quality metrics of a structural scan: MRIQC's families, from the program's own results.

Formulas are those of MRIQC's code (24.0, ``mriqc/qc/anatomical.py``), which differs from its documentation
in places: medians instead of means in FBER, deviations of white and grey matter in CNR, deviations from
the median in CJV. As there, intensities are first scaled so that white matter has a median of 1000. What
MRIQC takes from other programs (head mask, air above the nasion, smoothness) is found here by the means
that each definition names. :data:`DEFINITIONS` holds one for every metric.

Background metrics need the air around the head; for a scan without its skull they are None.
"""

from __future__ import annotations

import math
import tomllib
from typing import Any

import numpy as np
import torch

from ..data import FOLDER
from ..geometry.volume import Grid, Volume, resample, transform_points
from ..population.labels import DSEG_NAMES
from .background import AIR_LEFT, artefacts_in, noise_misfit, surroundings

TISSUES = tuple(sorted(map(str.lower, DSEG_NAMES)))
"""Names of the tissues in MRIQC's order."""

WM_LEVEL = 1000.0
"""Median of white matter after scaling, as MRIQC's."""

DIETRICH = 1 / math.sqrt(2 / (4 - math.pi))
"""Rayleigh's correction of the deviation in air (Dietrich et al. 2007, equation A.12)."""


def snr(mu: float, sigma: float, n: float) -> float:
    """Signal-to-noise ratio within a tissue of ``n`` voxels.

    Examples
    --------
    >>> round(snr(1000, 50, 101), 3)
    19.901
    """
    return mu / (sigma * math.sqrt(n / (n - 1)))


def snr_dietrich(mu: float, mad_air: float, sigma_air: float) -> float | None:
    """Signal-to-noise ratio against the air, corrected for its Rayleigh distribution; None without noise.

    Examples
    --------
    >>> round(snr_dietrich(1000, 20, 25), 2)
    32.76
    """
    if mad_air > 1:
        return DIETRICH * mu / mad_air
    return DIETRICH * mu / sigma_air if sigma_air > 1e-3 else None


def cnr(mu_wm: float, mu_gm: float, sigma_air: float, sigma_wm: float, sigma_gm: float) -> float:
    """Contrast-to-noise ratio.

    Examples
    --------
    >>> round(cnr(1000, 700, 0, 30, 40), 3)
    6.0
    """
    return abs(mu_wm - mu_gm) / math.sqrt(sigma_air**2 + sigma_wm**2 + sigma_gm**2)


def cjv(mu_wm: float, mu_gm: float, mad_wm: float, mad_gm: float) -> float:
    """Coefficient of joint variation of grey and white matter.

    Examples
    --------
    >>> round(cjv(1000, 700, 30, 60), 3)
    0.3
    """
    return (mad_wm + mad_gm) / abs(mu_wm - mu_gm)


def fber(image: np.ndarray, head: np.ndarray, air: np.ndarray) -> float | None:
    """Ratio of the energies of head and air (medians); None without signal in the air."""
    background = float(np.median(image[air].astype(np.float64) ** 2)) if air.any() else 0.0
    if background < 1e-3:
        return None
    return float(np.median(image[head].astype(np.float64) ** 2)) / background


def efc(image: np.ndarray) -> float:
    """Entropy focus criterion: the intensities' entropy over the largest that it could have.

    Examples
    --------
    >>> round(efc(np.ones(4096)), 6)
    1.0
    """
    values = image.ravel().astype(np.float64)
    count = values.size
    total = math.sqrt(float((values**2).sum()))
    largest = count / math.sqrt(count) * math.log(1 / math.sqrt(count))
    share = values / total
    return float((share * np.log((values + 1e-16) / total)).sum() / largest)


def statistics(image: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Weighted summary of a tissue's intensities.

    Parameters
    ----------
    image, weight : ndarray of the same shape
        Intensities, and the share of each voxel in the tissue.

    Returns
    -------
    dict
        ``mean``, ``median``, ``p05``, ``p95``, ``stdv`` (weighted), ``k`` (excess kurtosis) and
        ``mad`` (median absolute deviation from the median over 0.6745) of the voxels with more than half of
        the largest share, and ``n``, the shares' sum. Empty without such voxels.
    """
    chosen = weight > 0
    values, shares = np.rint(image[chosen].astype(np.float64)), np.round(weight[chosen].astype(np.float64), 3)
    total = shares.sum()
    sure = image[weight > 0.5 * float(weight.max())] if chosen.any() else np.zeros(0)
    if total <= 1 or sure.size < 2:
        return {}
    least, ranked = values.min(), None
    if np.ptp(values) < 1e6:  # whole numbers: counting is faster than sorting
        cumulated = np.cumsum(np.bincount((values - least).astype(np.int64), shares))
    else:
        order = np.argsort(values, kind="stable")
        ranked, cumulated = values[order], np.cumsum(shares[order])
    places = [min(int(np.searchsorted(cumulated, q * total)), cumulated.size - 1) for q in (0.05, 0.5, 0.95)]
    low, median, high = (float(least + k if ranked is None else ranked[k]) for k in places)
    mean = float((values * shares).sum() / total)
    return {
        "mean": mean,
        "median": median,
        "p05": low,
        "p95": high,
        "stdv": math.sqrt(float((shares * (values - mean) ** 2).sum() / total)),
        "k": kurtosis(sure) if np.ptp(sure) > 0 else 0.0,
        "mad": float(np.median(np.abs(sure - median)) / 0.6745),
        "n": float(weight.sum(dtype=np.float64)),
    }


def kurtosis(values: np.ndarray) -> float:
    """Fourth moment about the mean over the squared second, less the 3 of a normal distribution.

    Examples
    --------
    >>> kurtosis(np.array([0.0, 1.0]))
    -2.0
    """
    away = values.astype(np.float64) - values.mean(dtype=np.float64)
    return float((away**4).mean() / (away**2).mean() ** 2 - 3)


def rpve(probability: np.ndarray) -> float:
    """Residual partial voluming error of a tissue, as MRIQC's code has it: voxels without it count."""
    inside = probability[probability > 0]
    if not inside.size:
        return math.nan
    low, high = np.percentile(inside, (2, 98))
    kept = inside[(inside >= low) & (inside <= high)]
    beyond = probability.size - kept.size  # set to zero, so each counts as one
    major, minor = kept[kept > 0.5], kept[kept <= 0.5]
    return float((major.sum() + (1 - minor).sum() + beyond) / inside.size)


def fwhm(image: np.ndarray, mask: np.ndarray) -> list[float]:
    """Smoothness along each axis in voxels, from first differences (Forman et al. 1995)."""
    spread = float(image[mask].var()) if mask.any() else 0.0
    out = []
    for axis in range(3):
        first = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        second = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        both = mask[first] & mask[second]
        step = (image[second][both] - image[first][both]).var() if both.any() else 0.0
        correlation = 1 - float(step) / (2 * spread) if spread > 0 else 0.0
        known = 0 < correlation < 1
        out.append(math.sqrt(8 * math.log(2) * -1 / (4 * math.log(correlation))) if known else math.nan)
    return out


def overlap(found: np.ndarray, expected: np.ndarray) -> float:
    """Fuzzy Jaccard index of two maps of probability."""
    return float(np.minimum(found, expected).sum() / max(float(np.maximum(found, expected).sum()), 1e-6))


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
    """All metrics of a scan.

    Parameters
    ----------
    image : Volume
        Bias-corrected scan.
    mask : Volume
        Brain, on the same grid.
    probabilities : dict of str to Volume
        ``GM``, ``WM`` and ``CSF`` on the same grid.
    field : Volume, optional
        The bias field.
    matrix : ndarray, shape (4, 4), optional
        Scan's mm to the template's.
    tissue_maps : tuple, optional
        The template's grid and its probabilities of ``csf``, ``gm`` and ``wm``.
    stripped : bool
        Whether the scan came without its skull, so that there is no air.

    Returns
    -------
    dict of str to float or None
        By name, as in :data:`DEFINITIONS`; None where it cannot be known.
    """
    maps = {name: probabilities[name.upper()].data.numpy() for name in TISSUES}
    data = _scaled(image, maps["wm"])
    head, air, frame, away = (
        (None, None, data == 0, None)
        if stripped
        else surroundings(image.with_data(torch.from_numpy(data)), mask, matrix)
    )
    if air is not None and np.count_nonzero(data[air]) < AIR_LEFT:
        head, air = None, None
    found: dict[str, dict[str, float]] = {name: statistics(data, weight) for name, weight in maps.items()}
    artefacts = artefacts_in(data, away, air) if air is not None else None
    found["bg"] = statistics(data, (air & ~artefacts).astype(np.float32)) if air is not None else {}
    out: dict[str, float | None] = {}
    out |= _contrast(found)
    out["fber"] = fber(data, head, ~head & ~frame) if air is not None else None
    out["efc"] = efc(data[~frame]) if (~frame).any() else None
    out["wm2max"] = found["wm"]["median"] / float(np.percentile(data, 99.95)) if found["wm"] else None
    out["qi_1"] = float(artefacts.sum() / max(air.sum(), 1)) if artefacts is not None else None
    out["qi_2"] = noise_misfit(data[air & ~artefacts]) if artefacts is not None else None
    inside = mask.data.numpy() > 0
    out |= _smoothness(data, inside) | _volume_fractions(maps) | _bias(field, inside)
    out |= _tissue_overlap(image, maps, matrix, tissue_maps)
    for name in (*TISSUES, "bg"):
        for key in ("mean", "median", "p05", "p95", "stdv", "k", "mad", "n"):
            out[f"summary_{name}_{key}"] = found[name].get(key)
    return {name: _known(value) for name, value in out.items()}


def _scaled(image: Volume, white_matter: np.ndarray) -> np.ndarray:
    """Intensities, float32, with the median of white matter at its reference level."""
    inside = white_matter > 0.5
    level = float(np.median(image.data.numpy()[inside])) if inside.any() else 0.0
    data = np.clip(np.nan_to_num(image.data.numpy()), 0, None).astype(np.float32)
    data *= WM_LEVEL / level if level > 0 else 1.0
    return data


def _contrast(found: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Ratios of the tissues' levels and deviations."""
    out: dict[str, float | None] = {}
    wm, gm, air = found["wm"], found["gm"], found["bg"]
    apart = wm and gm and wm["median"] != gm["median"]
    out["cjv"] = cjv(wm["median"], gm["median"], wm["mad"], gm["mad"]) if apart else None
    noise = air.get("stdv", 0.0)
    known = wm and gm and wm["stdv"] + gm["stdv"] + noise > 0
    out["cnr"] = cnr(wm["median"], gm["median"], noise, wm["stdv"], gm["stdv"]) if known else None
    for name in TISSUES:
        tissue = found[name]
        noisy = tissue and tissue["stdv"] > 0
        out[f"snr_{name}"] = snr(tissue["median"], tissue["stdv"], tissue["n"]) if noisy else None
        out[f"snrd_{name}"] = (
            snr_dietrich(tissue["median"], air["mad"], air["stdv"]) if tissue and air else None
        )
    for family in ("snr", "snrd"):
        each = [out[f"{family}_{name}"] for name in TISSUES]
        out[f"{family}_total"] = None if None in each else float(np.mean(each))  # type: ignore[arg-type]
    return out


def _smoothness(data: np.ndarray, inside: np.ndarray) -> dict[str, float | None]:
    """Smoothness along the axes and its mean, in voxels."""
    found = fwhm(data, inside)
    return dict(zip(("fwhm_x", "fwhm_y", "fwhm_z"), found, strict=True)) | {"fwhm_avg": float(np.mean(found))}


def _volume_fractions(maps: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Shares of the tissues in the intracranial volume, and their residual partial voluming errors."""
    total = max(sum(float(weight.sum(dtype=np.float64)) for weight in maps.values()), 1e-6)
    out = {f"icvs_{name}": float(weight.sum(dtype=np.float64)) / total for name, weight in maps.items()}
    return out | {f"rpve_{name}": rpve(weight) for name, weight in maps.items()}


def _bias(field: Volume | None, inside: np.ndarray) -> dict[str, float | None]:
    if field is None or not inside.any():
        return {"inu_range": None, "inu_med": None}
    values = field.data.numpy()[inside]
    low, high = np.percentile(values, (5, 95))
    return {"inu_range": float(abs(high - low)), "inu_med": float(np.median(values))}


def _tissue_overlap(
    image: Volume,
    maps: dict[str, np.ndarray],
    matrix: np.ndarray | None,
    tissue_maps: tuple[Grid, dict[str, torch.Tensor]] | None,
) -> dict[str, float | None]:
    names = [f"tpm_overlap_{name}" for name in TISSUES]
    if matrix is None or tissue_maps is None:
        return dict.fromkeys(names)
    grid, expected = tissue_maps
    together = torch.stack([expected[name] for name in TISSUES])
    moved = Volume(together, np.linalg.inv(matrix) @ grid.affine)
    window = _reach(image.grid, maps, moved)
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in window]
    shape = tuple(part.stop - part.start for part in window)
    there = resample(moved, Grid(shape, affine)).data.numpy()  # type: ignore[arg-type]
    return {
        label: overlap(maps[name][window], found)
        for name, label, found in zip(TISSUES, names, there, strict=True)
    }


def _reach(grid: Grid, maps: dict[str, np.ndarray], moved: Volume) -> tuple[slice, ...]:
    """The part of a grid in which there is anything of two sets of maps."""
    some = moved.data.sum(0) > 0
    ends = [torch.where(some.any(a).any(b))[0][[0, -1]].tolist() for a, b in ((1, 1), (0, 1), (0, 0))]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
    index = transform_points(np.linalg.inv(grid.affine) @ moved.affine, corners)
    margin = np.abs((np.linalg.inv(grid.affine) @ moved.affine)[:3, :3]).sum(1)
    own = np.zeros(grid.shape, bool)
    for values in maps.values():
        own |= values > 0
    window = []
    for axis, size in enumerate(grid.shape):
        line = np.flatnonzero(own.any(tuple(a for a in range(3) if a != axis)))
        low = min([*line[:1], math.floor(index[:, axis].min() - margin[axis])])
        high = max([*line[-1:], math.ceil(index[:, axis].max() + margin[axis])])
        window.append(slice(max(0, int(low)), max(1, min(size, int(high) + 1))))
    return tuple(window)


def _known(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _definitions() -> dict[str, dict[str, str]]:
    """One entry a metric; those of families are written once and filled in."""
    content = tomllib.loads((FOLDER / "norms" / "iqm.toml").read_text(encoding="utf-8"))
    out: dict[str, dict[str, str]] = {}
    for name, entry in content["metric"].items():
        for part, words in content["parts"].get(entry.get("family", ""), {"": ""}).items():
            filled = {k: v.format(words) for k, v in entry.items() if k != "family"}
            out[f"{name}_{part}" if part else name] = filled
    return out


DEFINITIONS: dict[str, dict[str, str]] = _definitions()
"""Of every metric ``name``, ``definition``, ``unit``, ``better`` (higher, lower, neither) and ``source``."""
