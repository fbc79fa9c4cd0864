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
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from scipy import ndimage, stats

from .volume import Grid, Volume, coordinate_channels, resample

TISSUES = ("csf", "gm", "wm")
WM_LEVEL = 1000.0
"""Median of white matter after scaling, as MRIQC's."""

DIETRICH = 1 / math.sqrt(2 / (4 - math.pi))
"""Rayleigh's correction of the deviation in air (Dietrich et al. 2007, equation A.12)."""

HAT = ((85.0, -40.0), (-70.0, -65.0))
"""Two points (y, z in the template's mm), nasion and below the cerebellum: air counts above their line."""

AIR_LEFT = 1000
"""Voxels of air below which there is no background to speak of."""

SAMPLE = 5000
"""Voxels of air that the noise's distribution is fitted to."""


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
    order = np.argsort(values, kind="stable")
    ranked, cumulated = values[order], np.cumsum(shares[order])
    low, median, high = (
        float(ranked[min(np.searchsorted(cumulated, q * total), ranked.size - 1)]) for q in (0.05, 0.5, 0.95)
    )
    mean = float((values * shares).sum() / total)
    return {
        "mean": mean,
        "median": median,
        "p05": low,
        "p95": high,
        "stdv": math.sqrt(float((shares * (values - mean) ** 2).sum() / total)),
        "k": float(stats.kurtosis(sure)) if np.ptp(sure) > 0 else 0.0,
        "mad": float(np.median(np.abs(sure - median)) / 0.6745),
        "n": float(weight.sum(dtype=np.float64)),
    }


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


def noise_misfit(air: np.ndarray, seed: int = 0) -> float:
    """Distance of the air's intensities, beyond their peak, from a chi-squared distribution (QI 2)."""
    values = np.clip(air[np.isfinite(air)], 0, None)
    if (values > 0).sum() < AIR_LEFT:
        return math.nan
    values = values * (100 / max(float(np.percentile(values, 99)), 1e-6))
    rng = np.random.default_rng(seed)
    sample = rng.choice(values, min(SAMPLE, values.size), replace=False)
    grid = np.linspace(0, 110, 1000)
    count, _ = np.histogram(values, 2000, (-110, 110 * 1.5))
    centres = np.linspace(-110, 165, 2001)[:-1] + 275 / 4000
    step = 275 / 2000
    density = ndimage.gaussian_filter1d(count / (values.size * step), 4.0 / step, mode="constant")
    density = np.interp(grid, centres, density)
    reach = int(np.argmax(density[::-1] > density.max() / 2))
    fitted = stats.chi2.pdf(grid, *stats.chi2.fit(sample, 32))
    return float(np.abs(density[-reach:] - fitted[-reach:]).mean())


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
    level = float(np.median(image.data.numpy()[maps["wm"] > 0.5])) if (maps["wm"] > 0.5).any() else 0.0
    data = np.clip(np.nan_to_num(image.data.numpy()), 0, None).astype(np.float32)
    data *= WM_LEVEL / level if level > 0 else 1.0
    head, air, frame = (
        (None, None, data == 0)
        if stripped
        else surroundings(image.with_data(torch.from_numpy(data)), mask, matrix)
    )
    if air is not None and np.count_nonzero(data[air]) < AIR_LEFT:
        head, air = None, None
    found: dict[str, dict[str, float]] = {name: statistics(data, weight) for name, weight in maps.items()}
    artefacts = _artefacts(data, head, air) if air is not None else None
    found["bg"] = statistics(data, (air & ~artefacts).astype(np.float32)) if air is not None else {}
    out: dict[str, float | None] = {}
    out |= _contrast(found)
    out["fber"] = fber(data, head, ~head & ~frame) if air is not None else None
    out["efc"] = efc(data[~frame]) if (~frame).any() else None
    out["wm2max"] = found["wm"]["median"] / float(np.percentile(data, 99.95)) if found["wm"] else None
    out["qi_1"] = float(artefacts.sum() / max(air.sum(), 1)) if artefacts is not None else None
    out["qi_2"] = noise_misfit(data[air & ~artefacts]) if artefacts is not None else None
    inside = mask.data.numpy() > 0
    smooth = fwhm(data, inside)
    out |= dict(zip(("fwhm_x", "fwhm_y", "fwhm_z"), smooth, strict=True)) | {
        "fwhm_avg": float(np.mean(smooth))
    }
    total = max(sum(float(weight.sum(dtype=np.float64)) for weight in maps.values()), 1e-6)
    out |= {f"icvs_{name}": float(weight.sum(dtype=np.float64)) / total for name, weight in maps.items()}
    out |= {f"rpve_{name}": rpve(weight) for name, weight in maps.items()}
    out |= _bias(field, inside)
    out |= _tissue_overlap(image, maps, matrix, tissue_maps)
    for name in (*TISSUES, "bg"):
        for key in ("mean", "median", "p05", "p95", "stdv", "k", "mad", "n"):
            out[f"summary_{name}_{key}"] = found[name].get(key)
    return {name: _known(value) for name, value in out.items()}


def surroundings(
    image: Volume, mask: Volume, matrix: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Head, air above the nasion, and the frame of zeros that padding or rotation left (all bool)."""
    data = image.data.numpy()
    empty = data == 0
    frame = ndimage.binary_opening(empty, iterations=2)
    if np.count_nonzero(frame) < 500:
        frame = np.zeros_like(empty)
    step = [max(1, round(2 / size)) for size in image.grid.spacing]
    thin = tuple(slice(None, None, s) for s in step)
    small = ndimage.gaussian_filter(data[thin], 0.7)
    bright = small > 0.5 * _otsu(small[small > 0])
    bright |= mask.data.numpy()[thin] > 0
    closed = ndimage.binary_closing(np.pad(bright, 4), iterations=3)[4:-4, 4:-4, 4:-4] | bright
    pieces, count = ndimage.label(ndimage.binary_fill_holes(closed))
    if count > 1:
        size = np.bincount(pieces.ravel())
        size[0] = 0
        pieces = pieces == size.argmax()
    head = pieces > 0
    for axis, s in enumerate(step):
        head = np.repeat(head, s, axis)
    head = head[tuple(slice(0, n) for n in data.shape)]
    head = np.pad(head, [(0, n - m) for n, m in zip(data.shape, head.shape, strict=True)], mode="edge")
    air = ~head & ~frame
    if matrix is not None:
        y, z = coordinate_channels(image.grid, matrix, 1.0)[1:].numpy()
        (y0, z0), (y1, z1) = HAT
        air &= z > z0 + (y - y0) * (z1 - z0) / (y1 - y0)
    return head, air, frame


def _otsu(values: np.ndarray) -> float:
    """Otsu's threshold between dark and bright."""
    if not values.size:
        return 0.0
    count, edges = np.histogram(values, 256, (0, float(np.percentile(values, 99.5)) or 1.0))
    middle = (edges[:-1] + edges[1:]) / 2
    below, sums = np.cumsum(count), np.cumsum(count * middle)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(middle[np.nanargmax(between)])


def _artefacts(data: np.ndarray, head: np.ndarray, air: np.ndarray) -> np.ndarray:
    """Voxels of air with structure in them (Mortamet et al. 2009, after MRIQC's code)."""
    values = data[air]
    spread = float(np.median(np.abs(values[values > 0] - np.median(values[values > 0]))) / 0.6745)
    out = np.zeros(data.shape, bool)
    if spread <= 0:
        return out
    out[air] = values / spread > 10
    away = ndimage.distance_transform_edt(~head)
    out &= away / away.max() >= 0.1
    return ndimage.binary_opening(out, ndimage.generate_binary_structure(3, 1)) & air


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
    out: dict[str, float | None] = {}
    for name, label in zip(TISSUES, names, strict=True):
        moved = Volume(expected[name], np.linalg.inv(matrix) @ grid.affine)
        out[label] = overlap(maps[name], resample(moved, image.grid).data.numpy())
    return out


def _known(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _definitions() -> dict[str, dict[str, str]]:
    """One entry a metric; those of families are written once and filled in."""
    content = tomllib.loads((files(__package__) / "norms" / "iqm.toml").read_text(encoding="utf-8"))
    out: dict[str, dict[str, str]] = {}
    for name, entry in content["metric"].items():
        for part, words in content["parts"].get(entry.get("family", ""), {"": ""}).items():
            filled = {k: v.format(words) for k, v in entry.items() if k != "family"}
            out[f"{name}_{part}" if part else name] = filled
    return out


DEFINITIONS: dict[str, dict[str, str]] = _definitions()
"""Of every metric ``name``, ``definition``, ``unit``, ``better`` (higher, lower, neither) and ``source``."""
