"""From a generated head to what a network sees and is asked for, one class for each kind of network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.networks.inference import COORDINATE_SCALE
from ...models.networks.stem_unet import StemUNet
from ...models.population import labels
from ..core.example import Example
from ..synthesis.generator import Draw, HeadGenerator, Rendered


class Targets:
    """Looks up what each source label trains.

    Parameters
    ----------
    generator : HeadGenerator
        Whose labels.
    table : str
        Label table.
    beyond : bool
        Whether structures are asked for where the field of view has ended: what aligns a head by its
        structures needs them whole.
    """

    def __init__(self, generator: HeadGenerator, table: str = "adult", *, beyond: bool = False) -> None:
        self.beyond, self.table_name = beyond, table
        source, device = generator.source, generator.device
        self.table = labels.load(table)
        position = {index: k for k, index in enumerate(self.table.unsided)}
        structure = torch.tensor([position[int(s)] for s in source.structure], device=device)
        tissue = torch.from_numpy(self.table.tissue_of).long().to(device)
        self.structure, self.tissue, self.fluid = structure, tissue[structure], position[24]
        self.side = torch.from_numpy(source.side).to(device)

    def __call__(self, rendered: Rendered, draw: Draw) -> dict[str, Tensor]:
        position = rendered.labels.int()
        side = self.side[position]
        if draw.mirrored:
            side = torch.where(side >= 0, 1 - side, side)
        structure, tissue = self.structure[position], self.tissue[position]
        if draw.strip_at is not None:
            # Fluid that was cut away with the skull cannot be asked for; tissue is, it belongs to the brain.
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
    """Coordinate channels with an error of alignment, shape (1, 3, X, Y, Z)."""
    c = rendered.coordinates
    c = torch.einsum("ij,jxyz->ixyz", turn.to(c), c) + shift.to(c).view(3, 1, 1, 1)
    return (c / COORDINATE_SCALE)[None]


class WholeHead:
    """A head at a coarse voxel size: brain distance, structures and side.

    The coordinates are those of the scan about a guess of the brain's centre: poor in half of the
    examples, as before the brain is found, and good in the others.
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

    def __iter__(self) -> Iterator[Example]:
        while True:
            yield self.example()[0]

    def examples(self, number: int | None = None) -> list[Example]:
        """Draw a head; one example."""
        return [self.example(number)[0]]

    def example(
        self, number: int | None = None, near: float = 0.5, draw: Draw | None = None
    ) -> tuple[Example, tuple[float, float, float]]:
        """Draw an example; also returns the grid's centre (world mm)."""
        draw = draw or self.generator.draw(number)
        spread = (5.0, 5.0, 5.0) if float(torch.rand(())) < near else (15.0, 30.0, 40.0)
        right, front, up = (float(s * torch.randn(()).clamp(-1.5, 1.5) / 1.5) for s in spread)
        centre = (right, front, up)
        rendered = self.generator.render(draw, centre, self.shape, self.spacing, self.finer)
        image = rendered.image
        lines = [(torch.arange(n) - (n - 1) / 2) * self.spacing / COORDINATE_SCALE for n in self.shape]
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij")).to(image.device)
        x = torch.cat([image[None, None], grid[None]], 1)
        return Example(x, None, self.targets(rendered, draw)), centre


class Cascade:
    """A part of the head at a finer voxel size, with the coarse network's posteriors as context.

    Parameters
    ----------
    coarse : WholeHead
        Makes the coarse examples of the same heads.
    network : StemUNet
        The trained coarse network, frozen.
    shape, spacing : tuple of int, float
        The fine grid.
    spread : float
        How far (mm) the grid's centre strays from the brain's.
    context : {'structure', 'distance'}
        What the fine network gets from the coarse one.
    repeat : int
        Fine grids from one head.
    offset : tuple of float
        Where the grid's middle lies in the atlas frame (mm); the origin is the brain's middle.
    """

    def __init__(
        self,
        coarse: WholeHead,
        network: StemUNet,
        shape,
        spacing: float,
        spread: float = 6.0,
        context: str = "structure",
        repeat: int = 1,
        offset=(0.0, 0.0, 0.0),
    ) -> None:
        self.coarse, self.network = coarse, network
        self.generator, self.targets = coarse.generator, Targets(coarse.generator, coarse.targets.table_name)
        self.shape, self.spacing, self.spread = tuple(shape), spacing, spread
        self.context, self.repeat = context, repeat
        self.offset = torch.tensor(offset, dtype=torch.float32)

    def __iter__(self) -> Iterator[Example]:
        while True:
            yield from self.examples()

    def examples(self, number: int | None = None) -> list[Example]:
        """Draw a head and the fine examples from it."""
        draw = self.generator.draw(number)
        whole, coarse_centre = self.coarse.example(draw=draw, near=1.0)
        out = []
        context = self._context(whole)
        middle = torch.linalg.solve(draw.to_atlas, self.offset.to(draw.to_atlas)).tolist()
        for _ in range(self.repeat):
            centre = tuple(m + float(self.spread * torch.randn(()).clamp(-2, 2)) for m in middle)
            rendered = self.generator.render(draw, centre, self.shape, self.spacing)
            turn = torch.eye(3) + torch.randn(3, 3) * 0.02
            shift = torch.randn(3) * 1.5
            x = torch.cat([rendered.image[None, None], coordinates(rendered, turn, shift)], 1)
            prior = self._at_half(context, coarse_centre, centre)
            out.append(Example(x, prior, self.targets(rendered, draw)))
        return out

    @torch.no_grad()
    def _context(self, whole: Example) -> Tensor:
        """What the coarse network says of the head, shape (1, C, X, Y, Z) on the coarse grid."""
        device = whole.x.device.type
        x = whole.x.to(memory_format=torch.channels_last_3d)
        with torch.autocast(device, dtype=torch.bfloat16):
            out = self.network(x)
        if self.context == "distance":
            return out["mask"][0][:, :1].float().clamp(-1.5, 1.5)
        return out["structure"][0].float().softmax(1)

    def _at_half(self, context: Tensor, coarse_centre, centre) -> Tensor:
        """The context on the fine grid at half its resolution."""
        lines = []
        for n, m, c, f in zip(context.shape[2:], self.shape, coarse_centre, centre, strict=True):
            half = m // 2
            world = (torch.arange(half, device=context.device) - (half - 1) / 2) * 2 * self.spacing + f
            index = (world - c) / self.coarse.spacing + (n - 1) / 2
            lines.append(2 * index / (n - 1) - 1)
        where = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).flip(-1)[None]
        return F.grid_sample(context, where, padding_mode="border", align_corners=True)
