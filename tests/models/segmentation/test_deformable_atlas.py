"""An atlas that is bent to a scan: it finds shapes that moved, in any contrast, and costs no background."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from brainseg.models.geometry.volume import Grid, Volume
from brainseg.models.population import labels
from brainseg.models.segmentation import deformable_atlas
from brainseg.models.segmentation.deformable_atlas import Atlas

SHAPE, RADIUS = (64, 60, 56), (9.0, 14.0)


def frame(shape=SHAPE):
    affine = np.eye(4)
    affine[:3, 3] = -(np.array(shape) - 1) / 2
    return Grid(shape, affine)


def balls(center, grid=None, wider=0.0):
    """Probabilities of background, a ball and the shell around it, sharp, shape (3, X, Y, Z)."""
    grid = grid or frame()
    lines = [torch.arange(n) + float(o) for n, o in zip(grid.shape, grid.affine[:3, 3], strict=True)]
    points = torch.stack(torch.meshgrid(*lines, indexing="ij"))
    away = (points - torch.tensor(center).view(3, 1, 1, 1)).norm(dim=0)
    inner, outer = away < RADIUS[0] + wider, away < RADIUS[1] + wider
    return Volume(torch.stack([~outer, inner, outer & ~inner]).float(), grid.affine)


def overlap(found, truth):
    a, b = found.argmax(0) == 1, truth[1] > 0.5
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.slow
@pytest.mark.parametrize("levels", ([0.0, 200.0, 90.0], [0.0, 60.0, 180.0]))
def test_it_follows_a_shape_that_moved_and_grew_in_any_contrast(levels):
    shapes = Atlas(balls([0.0, 0.0, 0.0]), {"together": [[1], [2]]})
    truth = balls([4.0, -3.0, 2.0], wider=1.5)
    image = truth.with_data((truth.data * torch.tensor(levels).view(3, 1, 1, 1)).sum(0))
    # What is known is blurred: the shape is to be found in the image.
    known = truth.with_data(
        torch.nn.functional.avg_pool3d(truth.data[None], 5, 1, 2, count_include_pad=False)[0]
    )
    placed = deformable_atlas.place(shapes, np.eye(4), truth.grid)
    before = overlap(shapes.maps.data, truth.data)
    bent = deformable_atlas.deform(placed, image, known)
    again = deformable_atlas.deform(bent, image, known, deformable_atlas.AGAIN)
    found = again.probabilities(truth.grid)
    assert before < 0.7
    assert overlap(found.data, truth.data) > 0.93
    torch.testing.assert_close(found.data.sum(0), torch.ones(found.grid.shape), atol=1e-4, rtol=0)


def test_it_covers_only_what_lies_in_the_grid():
    shapes = Atlas(balls([0.0, 0.0, 0.0]), {"together": [[1], [2]]})
    whole = Grid((30, 80, 56), frame().affine.copy())
    placed = deformable_atlas.place(shapes, np.eye(4), whole)
    bent = replace(placed, velocity=torch.zeros(3, *placed.coarse.shape))
    found = bent.probabilities(whole)
    assert found.grid.shape == (30, 60, 56)
    np.testing.assert_allclose(found.affine, whole.affine)
    torch.testing.assert_close(found.data, shapes.maps.data[:, :30], atol=1e-3, rtol=0)


def test_structures_that_meet_do_not_share_a_channel():
    maps = torch.zeros(5, 40, 40, 40)
    for row, x in ((1, 2), (2, 9), (3, 30), (4, 2)):
        maps[row, x : x + 6, 10:20, 10 : 20 if row < 4 else 14] = 1
    maps[4, :, :, 20:] = 0
    groups = deformable_atlas.apart(maps)
    assert sorted(row for group in groups for row in group) == [1, 2, 3, 4]
    at = {row: k for k, group in enumerate(groups) for row in group}
    assert at[1] != at[2] and at[1] != at[4]
    assert at[3] in (at[1], at[2])


def test_the_common_prior_is_a_distribution_between_both():
    one = Volume(torch.tensor([0.2, 0.8]).view(2, 1, 1, 1), np.eye(4))
    other = Volume(torch.tensor([0.6, 0.4]).view(2, 1, 1, 1), np.eye(4))
    found = deformable_atlas.joined(one, other).data.flatten()
    assert float(found.sum()) == pytest.approx(1)
    assert 0.2 < float(found[0]) < 0.6
    assert float(one.data[0]) == pytest.approx(0.2)


@pytest.mark.slow
def test_the_shipped_atlas_is_whole_symmetric_and_of_the_tables_structures():
    shapes = deformable_atlas.load("adult")
    data = shapes.maps.data
    assert len(data) == len(labels.load(shapes.card["label_table"]).unsided)
    torch.testing.assert_close(data.sum(0), torch.ones(data.shape[1:]), atol=1e-4, rtol=0)
    torch.testing.assert_close(data, data.flip(1), atol=0.02, rtol=0)
    assert shapes.card["license"] and shapes.card["training_data"]


def test_an_atlas_that_is_not_its_cards_is_refused(tmp_path, monkeypatch):
    path = deformable_atlas.path_of("adult")
    for one in (path, path.with_suffix(".json")):
        shutil.copy(one, tmp_path / one.name)
    card = json.loads((tmp_path / "adult.json").read_text())
    (tmp_path / "adult.json").write_text(json.dumps(card | {"sha256": "0" * 64}))
    monkeypatch.setattr(deformable_atlas, "path_of", lambda name: tmp_path / f"{name}.npz")
    with pytest.raises(ValueError, match="SHA-256 differs"):
        deformable_atlas.load("adult")
