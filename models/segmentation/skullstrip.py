"""Skull-stripping: where the brain ends, first at 3 mm, then finer.

The distance as the regressed quantity follows SynthStrip (Hoopes et al. 2022); the surface itself is where
the network's tissue ends, closed over the sulci at 1 mm.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..errors import InputError
from ..geometry import distance as surface
from ..geometry.volume import Grid, Volume, box, coordinate_channels, lattice, normalize, resample
from ..localization import head
from ..localization.pose import Pose
from ..networks import zoo
from ..networks.inference import COORDINATE_SCALE, run
from ..population import labels

MARGIN = 12.0
"""Margin (mm) around the coarse brain in which the surface is refined."""

WORKING = 1.0
"""Voxel size (mm) at which the brain's surface is closed."""

FAR = 8.0
"""Distance (mm) from the regressed surface beyond which there is no brain."""

DEEP = 3.0
"""Distance (mm) within the regressed surface from which on all is brain."""

PLAUSIBLE = (100e3, 2600e3)
"""Brain volumes (mm3) that an adult or a child can have, cropped scans included."""


@dataclass(frozen=True)
class SkullStripResult:
    """What skull-stripping found.

    Attributes
    ----------
    mask : Volume, uint8
        1 in the brain, on the input's grid.
    distance : Volume, float32
        Signed distance to the brain's surface (mm), positive inside, on the input's grid.
    stripped : bool
        Whether the scan came without a skull.
    notes : list of str
        What a reader of the result should know.
    """

    mask: Volume
    distance: Volume
    stripped: bool
    notes: list[str] = field(default_factory=list)


def skullstrip(
    volume: Volume,
    *,
    mode: str = "auto",
    device: str = "cpu",
    model: str = "skullstrip",
    coarse_model: str = "head-coarse",
) -> SkullStripResult:
    """Find the brain.

    Parameters
    ----------
    volume : Volume
        Scan of any contrast, orientation and voxel size.
    mode : {'auto', 'skip', 'force'}
        ``auto`` recognises a scan without skull and takes its own extent as the mask, ``skip`` always
        does, ``force`` never.
    device : str
        Where to compute.
    model, coarse_model : str
        Weights that refine the surface, and those that find the brain.

    Raises
    ------
    InputError
        If there is no brain in the scan.
    """
    from . import atlas_frame

    if atlas_frame.serves(coarse_model):
        return atlas_frame.strip(volume, mode=mode, device=device, model=model, coarse_model=coarse_model)
    notes: list[str] = []
    seen = head.look(volume, model=coarse_model, device=device, notes=notes)
    if float((seen.distance.data > 0).sum()) * seen.distance.grid.voxel_volume < PLAUSIBLE[0]:
        raise head.no_brain()
    stripped = mode == "skip" or (mode == "auto" and is_stripped(volume, seen))
    if stripped:
        mask = extent(volume)
        distance = surface.signed_distance(mask, volume.grid.spacing)
        on_input = volume.with_data(torch.from_numpy(distance.astype(np.float32)))
    else:
        on_input = resample(refine(volume, seen, model, device, notes), volume.grid, outside=-20.0)
        mask = tidy(on_input.data > 0)
    result = volume.with_data(torch.from_numpy(mask.astype(np.uint8)))
    size = float(mask.sum()) * volume.grid.voxel_volume
    if not PLAUSIBLE[0] < size < PLAUSIBLE[1]:
        raise InputError(
            None,
            f"the brain found in it has {size / 1000:.0f} mL, which no brain has",
            "It was taken as already extracted; use --skull-strip force if it has a skull"
            if stripped
            else "Look at the image; if its brain is already extracted, use --skull-strip skip",
        )
    return SkullStripResult(result, on_input, stripped, notes)


def refine(
    volume: Volume, seen: head.Coarse, model: str, device: str, notes: list[str] | None = None
) -> Volume:
    """The signed distance at the fine network's voxel size, in a box around the coarse brain."""
    loaded = zoo.load_once(model, device)
    grid = brain_grid(volume, seen, loaded.card["spacing"], MARGIN, loaded.network.stride)
    image = normalize(resample(volume.canonical(), grid).data)
    context = resample(seen.distance, half(grid)).data[None].clamp(-15, 15) / 10
    coordinates = coordinate_channels(grid, seen.to_atlas, COORDINATE_SCALE)
    out = run(loaded.network, image, coordinates, context, device, notes=notes)
    distance = Volume(out["mask"][0] * 10, grid.affine)
    if "tissue" not in out:
        return distance
    return _where_tissue_ends(out["tissue"], distance, brain_grid(volume, seen, WORKING, MARGIN, 1))


def _where_tissue_ends(logits: Tensor, distance: Volume, grid: Grid) -> Volume:
    """The signed distance to the surface of the network's tissue and ventricles, closed over the sulci.

    A class has a sharper edge than a regressed distance, which strays towards the mean head's; the latter
    keeps out what lies far from the brain, and in what lies deep in it.
    """
    p = logits.softmax(0)
    brain = Volume(
        1 - p[labels.TISSUES.index("background")] - p[labels.TISSUES.index("csf")], distance.affine
    )
    depth = resample(distance, grid, outside=-20.0).data
    tissue = ((resample(brain, grid).data > 0.5) & (depth > -FAR)) | (depth > DEEP)
    mask = surface.closed(_largest(tissue.numpy()), spacing=WORKING)
    found = surface.signed_distance(mask, WORKING).astype(np.float32)
    return Volume(torch.from_numpy(found), grid.affine)


def brain_grid(volume: Volume, seen: head.Coarse, spacing: float, margin: float, stride: int) -> Grid:
    """The box of the coarse brain with a margin, on the lattice of ``spacing``."""
    fine = lattice(volume, spacing)
    near = Volume((seen.distance.data > 0).to(torch.uint8), seen.distance.affine)
    near = near.with_data(torch.from_numpy(_largest(near.data.numpy() > 0)).to(torch.uint8))
    start, shape = box(near, margin)
    low = near.affine[:3, :3] @ np.array(start) + near.affine[:3, 3]
    extent = np.array(shape) * near.grid.spacing
    first = np.round((low - fine.affine[:3, 3]) / spacing).astype(int)
    count = np.ceil(extent / spacing).astype(int)
    count += -count % stride
    affine = fine.affine.copy()
    affine[:3, 3] += first * spacing
    return Grid((int(count[0]), int(count[1]), int(count[2])), affine)


def half(grid: Grid) -> Grid:
    """The grid whose voxels are made of two by two by two of the given one's."""
    affine = grid.affine.copy()
    affine[:3, :3] *= 2
    affine[:3, 3] += grid.affine[:3, :3] @ np.array([0.5, 0.5, 0.5])
    x, y, z = grid.shape
    return Grid((x // 2, y // 2, z // 2), affine)


def is_stripped(volume: Volume, seen: head.Coarse | Pose) -> bool:
    """Whether there is next to nothing around the brain: no skull, scalp or neck.

    Looks at the shell from 10 to 25 mm outside the coarse surface; in a head it holds skull and scalp.
    """
    image = normalize(resample(volume.canonical(), seen.distance.grid).data)
    inside = seen.distance.data > 3
    # The regressed distance is clipped, so the shell is measured from the coarse surface itself.
    near = ndimage.distance_transform_edt(~(seen.distance.data > 0).numpy(), seen.distance.grid.spacing)
    shell = torch.from_numpy((near > 10) & (near < 25))
    if not bool(inside.any()) or not bool(shell.any()):
        return False
    level = 0.15 * float(image[inside].median())
    return float((image[shell] > level).float().mean()) < 0.02


def extent(volume: Volume) -> np.ndarray:
    """Where a stripped scan has anything, without holes and specks."""
    data = volume.data.numpy()
    background = np.median(np.concatenate([data[:2].ravel(), data[-2:].ravel(), data[:, :2].ravel()]))
    level = background + 0.02 * (np.quantile(data, 0.995) - background)
    return tidy(torch.from_numpy(data > level))


def tidy(mask: Tensor) -> np.ndarray:
    """The largest piece, its holes filled."""
    return ndimage.binary_fill_holes(_largest(mask.numpy()))


def _largest(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
