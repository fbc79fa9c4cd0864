"""Voxels that fluid shares with the deep structures, where both are near.

Fluid shares voxels with cortex (:data:`.partial_volume.BORDERS`), everywhere in the brain. Next to the
thalamus, the brainstem or the hippocampus it shares them with these, which have other intensities. With
cortex's border alone, fluid took voxels that are mostly of these structures. Here the neighborhood decides
which tissue the fluid of a voxel meets, and both sides have the shared voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .neighborhood import total
from .partial_volume import GROUPS, Classes, Fitted, at, border

DEEP = ("limbic", "thalamus", "stem")
"""Classes that share voxels with the fluid near them."""

LEAST = 0.01
"""Share of a neighborhood's deep structures below which their borders are left out."""


def add(
    density: Tensor, intensities: Tensor, prior: Tensor, inside: Tensor, classes: Classes, fitted: Fitted
) -> None:
    """Change the densities of fluid and of the deep structures where both are near.

    Parameters
    ----------
    density : Tensor, shape (G, N)
        Density of every class in every voxel of the brain; changed in place.
    intensities : Tensor, shape (N,)
        Normalized intensities.
    prior : Tensor, shape (C, N)
        Probabilities of the structures.
    inside : Tensor of bool, shape (X, Y, Z)
        The brain, with ``N`` voxels.
    classes, fitted
        The classes and what was fitted to them.
    """
    names = classes.names
    deep = [name for name in DEEP if name in names]
    if "csf" not in names or not deep or (classes.gray, names.index("csf")) not in fitted.shares:
        return
    fluid, cortex = names.index("csf"), (classes.gray, names.index("csf"))
    count = total(inside.float())[inside]

    def near(*wanted: str) -> Tensor:
        rows = [k for k, structure in enumerate(classes.structures) if GROUPS[structure] in wanted]
        whole = torch.zeros(inside.shape)
        whole[inside] = prior[rows].sum(0)
        return total(whole)[inside].div_(count)

    around = {name: near(name) for name in deep}
    those = torch.stack([*around.values()]).sum(0)
    some = (those > LEAST).nonzero()[:, 0]
    wet = near("csf")[some]
    tissue = 1 - wet - near("fluid", "rest")[some]
    y, share = intensities[some], fitted.shares[cortex][1]
    # Fluid meets the deep structures in their share of the tissue, and the cortex in the remainder.
    other = 1 - (those[some] / tissue.clamp(min=1e-3)).clamp(max=1)
    changed = at(fitted.pure[fluid], y) + other * at(fitted.shared[cortex][1], y)
    for name, values in around.items():
        k = names.index(name)
        of_tissue, of_fluid = border(fitted.mean, fitted.variance, k, fluid)
        # One at equal parts of both.
        met = share * (4 * values[some] * wet).clamp(max=1)
        changed += met * at(of_fluid, y)
        density[k, some] += met * at(of_tissue, y)
    density[fluid, some] = changed.clamp(min=1e-12)
