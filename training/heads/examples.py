"""Training examples of synthetic heads, one class per kind of network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.errors import UsageError
from ...models.networks.device import precision
from ...models.networks.inference import COORDINATE_SCALE
from ...models.population import labels
from ..core.example import Example
from ..synthesis.generator import Draw, HeadGenerator, Rendered


class Targets:
    """Targets of every label of the source table.

    Parameters
    ----------
    generator : HeadGenerator
        Generator of the heads.
    table : str
        Label table.
    beyond : bool
        Whether structures outside the field of view are targets: alignment by structures needs whole ones.
    """

    def __init__(self, generator: HeadGenerator, table: str = "adult", *, beyond: bool = False) -> None:
        self.beyond, self.table_name = beyond, table
        source, device = generator.source, generator.device
        self.table = labels.load(table)
        position = {index: k for k, index in enumerate(self.table.unsided)}
        if unknown := sorted({int(s) for s in source.structure} - set(position)):
            raise UsageError(
                None,
                f"the structures {unknown} of the maps are not in the label table {table} of the recipe",
                "Prepare the maps with another --table, or choose another recipe",
            )
        structure = torch.tensor([position[int(s)] for s in source.structure], device=device)
        tissue = torch.from_numpy(self.table.tissue_of).long().to(device)
        self.structure, self.tissue, self.fluid = structure, tissue[structure], position[24]
        self.side = torch.from_numpy(source.side).to(device)

    def __call__(self, rendered: Rendered, draw: Draw) -> dict[str, Tensor]:
        """Return ``structure``, ``tissue``, ``side`` (classes) and ``distance`` (mm), shape (1, X, Y, Z).

        Parameters
        ----------
        rendered : Rendered
            Head on a grid.
        draw : Draw
            The same head.
        """
        position = rendered.labels.int()
        side = self.side[position]
        if draw.mirrored:
            side = torch.where(side >= 0, 1 - side, side)
        structure, tissue = self.structure[position], self.tissue[position]
        if draw.strip_at is not None:
            # Fluid that was removed with the skull is no target; tissue is, since it belongs to the brain.
            gone = (rendered.distance < draw.strip_at) & (structure == self.fluid)
            structure, tissue = structure.masked_fill(gone, 0), tissue.masked_fill(gone, 0)
        if rendered.visible is not None and not self.beyond:
            structure, tissue = structure * rendered.visible, tissue * rendered.visible
        return {
            "structure": structure[None],
            "tissue": tissue[None],
            "side": side[None],
            "distance": rendered.distance[None],
        }


def coordinates(rendered: Rendered, turn: Tensor, shift: Tensor) -> Tensor:
    """Return the coordinate channels with an alignment error, shape (1, 3, X, Y, Z).

    Parameters
    ----------
    rendered : Rendered
        Head on a grid.
    turn : Tensor, shape (3, 3)
        Matrix of the error.
    shift : Tensor, shape (3,)
        Translation of the error (mm).
    """
    c = rendered.coordinates
    c = torch.einsum("ij,jxyz->ixyz", turn.to(c), c) + shift.to(c).view(3, 1, 1, 1)
    return (c / COORDINATE_SCALE)[None]


class WholeHead:
    """Examples of whole heads at a coarse voxel size.

    The coordinates are relative to an estimated center of the brain: poor in half of the examples, as before
    the brain is found, and good in the others.

    Parameters
    ----------
    generator : HeadGenerator
        Generator of the heads.
    shape, spacing : tuple of int, float
        Grid: number of voxels and voxel size (mm).
    finer : int
        Factor of the finer grid on which heads are rendered.
    table : str
        Label table.
    """

    def __init__(
        self,
        generator: HeadGenerator,
        shape=(64, 80, 64),
        spacing: float = 3.0,
        finer: int = 2,
        table: str = "adult",
    ) -> None:
        self.generator, self.shape, self.spacing, self.finer = generator, shape, spacing, finer
        self.targets = Targets(generator, table, beyond=True)

    def examples(self, number: int | None = None) -> list[Example]:
        """Return one example of map ``number``, or of a random map."""
        return [self.example(number)[0]]

    def example(
        self, number: int | None = None, near: float = 0.5, draw: Draw | None = None
    ) -> tuple[Example, tuple[float, float, float]]:
        """Return an example and the center of its grid (world mm).

        Parameters
        ----------
        number : int, optional
            Number of the map; random by default.
        near : float
            Probability of a good estimate of the center.
        draw : Draw, optional
            Head to use instead of a random one.
        """
        draw = draw or self.generator.draw(number)
        spread = (5.0, 5.0, 5.0) if float(torch.rand(())) < near else (15.0, 30.0, 40.0)
        right, front, up = (float(s * torch.randn(()).clamp(-1.5, 1.5) / 1.5) for s in spread)
        center = (right, front, up)
        rendered = self.generator.render(draw, center, self.shape, self.spacing, self.finer)
        image = rendered.image
        lines = [(torch.arange(n) - (n - 1) / 2) * self.spacing / COORDINATE_SCALE for n in self.shape]
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij")).to(image.device)
        x = torch.cat([image[None, None], grid[None]], 1)
        return Example(x, None, self._wanted(rendered, draw)), center

    def _wanted(self, rendered: Rendered, draw: Draw) -> dict[str, Tensor]:
        """Return the targets of a head."""
        return self.targets(rendered, draw)


@torch.no_grad()
def seen(network: torch.nn.Module | None, x: Tensor, prior: Tensor | None = None) -> dict[str, Tensor]:
    """Return what a trained network finds in an input.

    Parameters
    ----------
    network : Module or None
        The network; without it there is an assertion error.
    x : Tensor, shape (1, C, X, Y, Z)
        Its input.
    prior : Tensor, optional
        Its prior.

    Returns
    -------
    dict of str to Tensor
        Output of every task, float32, shape (1, outputs, X, Y, Z).
    """
    assert network is not None
    # Processors without bfloat16 emulate it, seventy times slower.
    dtype = precision(str(x.device))
    with torch.autocast(x.device.type, dtype=dtype, enabled=dtype != torch.float32):
        out = network(x.to(memory_format=torch.channels_last_3d), prior)
    return {task: full.float() for task, (full, _) in out.items()}


class Cascade:
    """Examples of the brain at a finer voxel size, with the posteriors of the coarse network as context.

    Parameters
    ----------
    coarse : WholeHead
        Source of the coarse examples of the same heads.
    network : Module or None
        Trained coarse network; examples cannot be drawn without it.
    shape, spacing : tuple of int, float
        Fine grid: number of voxels and voxel size (mm).
    spread : float
        Standard deviation (mm) of the grid's center about the center of the brain.
    context : {'structure', 'distance'}
        Output of the coarse network that is the context.
    repeat : int
        Number of fine grids per head.
    offset : tuple of float
        Mean center of the grid in the atlas frame (mm).
    finer : int
        Factor of the finer grid on which heads are rendered there.
    """

    def __init__(
        self,
        coarse: WholeHead,
        network: torch.nn.Module | None,
        shape,
        spacing: float,
        spread: float = 6.0,
        context: str = "structure",
        repeat: int = 1,
        offset=(0.0, 0.0, 0.0),
        finer: int = 1,
    ) -> None:
        self.coarse, self.network, self.finer = coarse, network, finer
        self.generator, self.targets = coarse.generator, Targets(coarse.generator, coarse.targets.table_name)
        self.shape, self.spacing, self.spread = tuple(shape), spacing, spread
        self.context, self.repeat = context, repeat
        self.offset = torch.tensor(offset, dtype=torch.float32)

    def examples(self, number: int | None = None) -> list[Example]:
        """Return the examples of a head of map ``number``, or of a random map."""
        draw = self.generator.draw(number)
        whole, coarse_center = self.coarse.example(draw=draw, near=1.0)
        context = self._context(whole)
        found = (self.in_box(draw, context, coarse_center) for _ in range(self.repeat))
        return [Example(x, prior, self._wanted(rendered, draw)) for x, prior, rendered in found]

    def _wanted(self, rendered: Rendered, draw: Draw) -> dict[str, Tensor]:
        """Return the targets of a head."""
        return self.targets(rendered, draw)

    def in_box(
        self, draw: Draw, context: Tensor, coarse_center: tuple[float, float, float]
    ) -> tuple[Tensor, Tensor, Rendered]:
        """Return input and prior of a head in a random box around its brain, and the head there.

        Parameters
        ----------
        draw : Draw
            The head.
        context : Tensor, shape (1, C, X, Y, Z)
            Output of the coarse network on the coarse grid.
        coarse_center : tuple of float
            Center of that grid (world mm).
        """
        middle = torch.linalg.solve(draw.to_atlas, self.offset.to(draw.to_atlas)).tolist()
        right, front, up = (m + float(self.spread * torch.randn(()).clamp(-2, 2)) for m in middle)
        center = (right, front, up)
        rendered = self.generator.render(draw, center, self.shape, self.spacing, self.finer)
        turn = torch.eye(3) + torch.randn(3, 3) * 0.02
        shift = torch.randn(3) * 1.5
        x = torch.cat([rendered.image[None, None], coordinates(rendered, turn, shift)], 1)
        return x, self._at_half(context, coarse_center, center), rendered

    def _context(self, whole: Example) -> Tensor:
        """Return the output of the coarse network, shape (1, C, X, Y, Z) on the coarse grid."""
        out = seen(self.network, whole.x)
        if self.context == "distance":
            return out["mask"][:, :1].clamp(-1.5, 1.5)
        return out["structure"].softmax(1)

    def _at_half(self, context: Tensor, coarse_center, center) -> Tensor:
        """Return the context on the fine grid at half its resolution."""
        lines = []
        for n, m, c, f in zip(context.shape[2:], self.shape, coarse_center, center, strict=True):
            half = m // 2
            world = (torch.arange(half, device=context.device) - (half - 1) / 2) * 2 * self.spacing + f
            index = (world - c) / self.coarse.spacing + (n - 1) / 2
            lines.append(2 * index / (n - 1) - 1)
        where = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).flip(-1)[None]
        return F.grid_sample(context, where, padding_mode="border", align_corners=True)
