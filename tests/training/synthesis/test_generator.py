"""Synthetic heads: prepared maps, draws that a seed decides, and images, labels and distances that agree."""

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch
from scipy import ndimage

from brainseg.models.errors import InputError
from brainseg.models.geometry import distance as surface
from brainseg.models.population import labels
from brainseg.training.data import prepare, seeds, sources
from brainseg.training.data.arrays import DISTANCE_UNIT
from brainseg.training.heads.examples import Cascade, Targets, WholeHead
from brainseg.training.synthesis import ventricles
from brainseg.training.synthesis.config import GeneratorConfig
from brainseg.training.synthesis.generator import HeadGenerator

STILL = GeneratorConfig(
    rotation=0,
    scaling=0,
    shearing=0,
    deformation=0,
    detail=0,
    contrasts={"T1w": 1.0},
    class_spread=0,
    wide=0,
    invert=0,
    split=0,
    lesions=0,
    deface=0,
    crop=0,
    ghost=0,
    blur=(0.4, 0.4),
    bias=0,
    gamma=0,
    low_resolution=0,
    noise=0,
    strip=0,
)
SHAPE = (72, 80, 72)


@pytest.fixture
def still(toy_arrays):
    return HeadGenerator(toy_arrays, STILL)


@pytest.fixture
def moving(toy_arrays):
    return HeadGenerator(toy_arrays, GeneratorConfig())


def _draw(generator, seed=0, **changes):
    torch.manual_seed(seed)
    return replace(generator.draw(0), **changes)


def test_prepared_arrays(toy, toy_arrays):
    source = sources.source_table()
    with np.load(toy_arrays) as found:
        meta = json.loads(str(found["meta"]))
        assert meta["count"] == 2 and meta["names"] == ["toy-0_dseg.nii.gz", "toy-1_dseg.nii.gz"]
        values = source.values[found["labels0"]]
        distance = found["distance0"].astype(float) * DISTANCE_UNIT
        # the map came in LIA and lies in RAS now: the left is where x is small
        x = np.nonzero(values == 3)[0].mean(), np.nonzero(values == 42)[0].mean()
        assert x[0] < x[1]
        whole = toy.head(0)
        assert sorted(np.unique(values)) == sorted(np.unique(whole))
        assert (values == 17).sum() == (whole == 17).sum()
        tissue = source.tissue[found["labels0"]][::2, ::2, ::2]
        assert (distance[tissue] > 0).mean() > 0.99
        assert distance[~tissue].min() < -5
        points = {k: np.array(v) for k, v in meta["centroids"].items()}
        # the atlas frame is symmetric, its origin in the middle; left is negative x
        assert points["17:1"][0] < 0
        np.testing.assert_allclose(points["17:1"] * [-1, 1, 1], points["17:0"])
        assert abs(points["16:-1"][0]) < 1e-6
        for number in range(2):
            own = prepare.centroids(found[f"labels{number}"], source, np.eye(4))[(16, -1)]
            in_atlas = found[f"atlas{number}"] @ [*own, 1]
            assert np.linalg.norm(in_atlas[:3] - points["16:-1"]) < 2


def test_unknown_labels_are_named(toy, tmp_path):
    import nibabel as nib

    path = toy.write(tmp_path, 1)[0]
    image = nib.load(path)
    data = np.asarray(image.dataobj).copy()
    data[5, 5, 5] = 999
    nib.save(nib.Nifti1Image(data, image.affine), path)
    with pytest.raises(InputError, match=r"toy-0.*999"):
        prepare.prepare([path], tmp_path / "out.npz")


def test_brain_mask_closes_gaps_and_keeps_the_rest():
    tissue = np.zeros((40, 40, 40), bool)
    tissue[8:32, 8:32, 8:32] = True
    tissue[19:22, 8:32, 20:] = False  # a sulcus 3 voxels wide
    tissue[30:32, 15, 15] = False
    mask = surface.closed(tissue)
    assert mask[19:22, 12:28, 22:30].all()
    assert (mask & tissue).sum() == tissue.sum()
    assert not mask[:6].any()
    distance = surface.signed_distance(mask)
    assert ((distance > 0) == mask).all()


def test_a_seed_decides_everything(moving):
    out = []
    for seed in (3, 3, 4):
        draw = _draw(moving, seed)
        out.append(moving.render(draw, (0, 0, 0), (24, 28, 24), 3.0, 2))
    for name in ("image", "labels", "distance", "coordinates"):
        assert torch.equal(getattr(out[0], name), getattr(out[1], name)), name
    assert not torch.equal(out[0].image, out[2].image)


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [1.0, 1.5])
def test_still_head_is_the_map(toy, still, spacing):
    """With every range at zero the head comes out as it went in, at its own size and place."""
    rendered = still.render(_draw(still, mirrored=False), (0, 0, 0), SHAPE, spacing)
    values = torch.from_numpy(still.source.values)[rendered.labels.long()].numpy()
    for label in (17, 12, 16, 41):
        volume = (values == label).sum() * spacing**3
        scale = abs(np.linalg.det(still.from_atlas[0][:3, :3]))
        assert volume == pytest.approx((toy.head() == label).sum() / scale, rel=0.12), label
    # where the labels are, the atlas coordinates say so
    middle = [float(rendered.coordinates[axis][torch.from_numpy(values == 17)].mean()) for axis in range(3)]
    assert np.linalg.norm(np.array(middle) - still.centroids["17:1"]) < 1.5
    bright = [float(rendered.image[torch.from_numpy(values == k)].median()) for k in (2, 3, 4)]
    assert bright[0] > bright[1] > bright[2]


@pytest.mark.parametrize(("spacing", "finer"), [(1.0, 1), (2.0, 1), (3.0, 1), (3.0, 2), (3.0, 3)])
def test_labels_lie_inside_the_distance(moving, spacing, finer):
    """Tissue is where the distance is positive, on every grid; neither is shifted against the other."""
    shape = tuple(round(n / spacing) for n in (80, 88, 80))
    draw = _draw(moving, 1)
    rendered = moving.render(draw, (0, 0, 0), shape, spacing, finer)
    tissue = torch.from_numpy(moving.source.tissue)[rendered.labels.long()].numpy()
    inside = rendered.distance.numpy() > 0
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(tissue, iterations=1))
    assert 2 * (closed & inside).sum() / (closed.sum() + inside.sum()) > 0.94
    shift = np.array(ndimage.center_of_mass(closed)) - ndimage.center_of_mass(inside)
    assert np.abs(shift * spacing).max() < 0.35


@pytest.mark.parametrize("finer", [2, 3])
def test_finer_rendering_moves_nothing(still, finer):
    """A coarse grid that averages a fine one has its labels, image and coordinates in the same place."""
    draw = _draw(still, mirrored=False)
    shape = (24, 27, 24)
    plain, fine = (still.render(draw, (0.4, -0.3, 0.2), shape, 3.0, n) for n in (1, finer))
    assert torch.equal(plain.labels, fine.labels)
    torch.testing.assert_close(plain.coordinates, fine.coordinates, rtol=0, atol=1e-3)
    torch.testing.assert_close(plain.distance, fine.distance, rtol=0, atol=0.05)
    white = torch.from_numpy(np.isin(still.source.values, (2, 41)))[plain.labels.long()].float().numpy()
    center = np.array(ndimage.center_of_mass(white))
    bright = np.array(ndimage.center_of_mass(fine.image.numpy() * (fine.distance.numpy() > 0)))
    assert np.abs(center - bright).max() < 0.6


def test_distance_is_in_world_millimeters(still):
    """A head twice as large has twice the distances."""
    draw = _draw(still, mirrored=False)
    larger = replace(draw, to_atlas=draw.to_atlas / 2)
    one = still.render(draw, (0, 0, 0), (36, 40, 36), 2.0)
    two = still.render(larger, (0, 0, 0), (36, 40, 36), 4.0)
    torch.testing.assert_close(two.distance, 2 * one.distance, rtol=0, atol=0.05)


def test_mirrored_head_swaps_sides(still):
    """A mirrored head has its left half on the left, its coordinates too, and is the mirror image."""
    draw = _draw(still, mirrored=False)
    targets = Targets(still)
    plain = still.render(draw, (0, 0, 0), SHAPE, 1.0)
    mirror_draw = replace(draw, mirrored=True)
    mirror = still.render(mirror_draw, (0, 0, 0), SHAPE, 1.0)
    assert float((mirror.labels.flip(0) == plain.labels).float().mean()) > 0.97
    torch.testing.assert_close(mirror.coordinates, plain.coordinates)
    for rendered, drawn in ((plain, draw), (mirror, mirror_draw)):
        found = targets(rendered, drawn)
        side, x = found["side"][0], rendered.coordinates[0].expand(SHAPE)
        assert float((side[x < -2][side[x < -2] >= 0] == 1).float().mean()) > 0.99
        assert float((side[x > 2][side[x > 2] >= 0] == 0).float().mean()) > 0.99


def test_stripped_head_has_nothing_outside(still):
    draw = _draw(still)
    draw = replace(draw, acquisition=replace(draw.acquisition, strip_at=0.0))
    rendered = still.render(draw, (0, 0, 0), SHAPE, 1.0)
    assert float(rendered.image[rendered.distance < -3].max()) == 0
    assert float(rendered.image[rendered.distance > 3].mean()) > 0.2
    targets = Targets(still)(rendered, draw)
    fluid = labels.load("adult").unsided.index(24)
    assert not bool(((targets["structure"][0] == fluid) & (rendered.distance < 0)).any())


def test_images_are_finite_and_in_range(moving):
    for seed in range(5):
        rendered = moving.render(_draw(moving, seed), (0, 0, 0), (24, 28, 24), 3.0, 2)
        image = rendered.image
        assert torch.isfinite(image).all() and float(image.min()) >= 0 and float(image.max()) <= 1
        assert float(image.std()) > 0.02


@pytest.mark.slow
def test_examples_of_both_kinds(toy_arrays):
    from brainseg.models.networks.stem_unet import StemUNet

    torch.manual_seed(0)
    generator = HeadGenerator(toy_arrays, GeneratorConfig())
    whole = WholeHead(generator, (24, 32, 24), 3.0)
    example, _ = whole.example(1)
    assert example.x.shape == (1, 4, 24, 32, 24) and example.prior is None
    assert set(example.targets) == {"structure", "tissue", "side", "distance"}
    assert {int(k) for k in example.targets["structure"].unique()} <= set(range(19))
    tasks = {"structure": {"outputs": 19}, "mask": {"outputs": 2}}
    coarse = StemUNet(4, [4, 8], tasks).eval()
    for context, channels in (("structure", 19), ("distance", 1)):
        fine = Cascade(whole, coarse, (16, 24, 16), 2.0, context=context, repeat=2).examples(0)
        assert len(fine) == 2
        assert fine[0].prior.shape == (1, channels, 8, 12, 8)
        assert fine[0].x.shape == (1, 4, 16, 24, 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_coarse_network_computes_as_fast_as_the_machine_can(still, monkeypatch, dtype):
    """Emulated bfloat16 takes minutes where float32 takes a second."""
    seen = []

    def network(x, prior=None):
        seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
        return {"structure": (torch.zeros(1, 19, *x.shape[2:]), None)}

    monkeypatch.setattr("brainseg.training.heads.examples.precision", lambda device: dtype)
    whole = WholeHead(still, (24, 32, 24), 3.0)
    Cascade(whole, network, (16, 24, 16), 2.0).examples(0)
    assert seen == [dtype]


def test_context_lies_where_the_fine_grid_is(still):
    """Context brought to the fine grid at half its resolution points to the same places."""
    whole = WholeHead(still, (24, 32, 24), 3.0)
    cascade = Cascade(whole, None, (16, 24, 16), 1.5)
    coarse_center, center = (5.0, -2.0, 1.0), (2.0, 4.0, -3.0)
    lines = [
        (torch.arange(n) - (n - 1) / 2) * 3.0 + c for n, c in zip((24, 32, 24), coarse_center, strict=True)
    ]
    world = torch.stack(torch.meshgrid(*lines, indexing="ij"))[None]
    found = cascade._at_half(world, coarse_center, center)[0]
    for axis, (n, c) in enumerate(zip((16, 24, 16), center, strict=True)):
        fine = (torch.arange(n) - (n - 1) / 2) * 1.5 + c
        pairs = fine.view(-1, 2).mean(1)
        line = found[axis].movedim(axis, 0).flatten(1)
        torch.testing.assert_close(line, pairs[:, None].expand_as(line), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_classes_are_split_into_subclasses(toy_arrays):
    """With no other variation white matter has as many intensities as subclasses, and two draws differ."""
    config = replace(STILL, split=1.0, subclasses=3, split_spread=30.0, texture=0)
    generator = HeadGenerator(toy_arrays, config)
    counts = set()
    for seed in range(6):
        draw = _draw(generator, seed)
        draw.contrast.deviations.zero_()
        at = generator._positions(draw, (0, 0, 0), SHAPE, 1.0)
        labels = generator.render(draw, (0, 0, 0), SHAPE, 1.0).labels
        white = labels == int((generator.source.values == 2).argmax())
        values = draw.contrast.means[labels.int() * 16 + at.level][white].unique()
        counts.add(len(values))
        assert float(draw.contrast.means[:16].abs().max()) == 0, "the background stays dark"
    assert counts <= {1, 2, 3} and len(counts) > 1


def test_lesions_lie_where_they_may(toy_arrays):
    generator = HeadGenerator(toy_arrays, replace(STILL, lesions=1.0))
    draw = _draw(generator, 3)
    before, after = generator.maps[0], draw.labels
    changed = before != after
    assert 5 < int(changed.sum()) < 0.2 * int((before > 0).sum())
    values = generator.source.values
    assert set(values[before[changed].numpy()]) <= {2, 41}
    assert set(values[after[changed].numpy()]) <= {25, 57}
    # they train what they lie in, and the map itself is untouched
    rendered = generator.render(draw, (0, 0, 0), SHAPE, 1.0)
    found = Targets(generator)(rendered, draw)["structure"][0]
    lesion = torch.from_numpy(np.isin(values, (25, 57)))[rendered.labels.long()]
    assert bool(lesion.any())
    assert set(found[lesion].tolist()) == {labels.load("adult").unsided.index(2)}


def test_what_the_scanner_cuts_off(still):
    """Beyond the field of view there is nothing to see, and no structure is asked for; the face goes too."""
    draw = _draw(still)
    cropped = replace(draw, acquisition=replace(draw.acquisition, field=(2, -float("inf"), 10.0)))
    rendered = still.render(cropped, (0, 0, 0), SHAPE, 1.0)
    top = (torch.arange(72) - 35.5) >= 10
    assert float(rendered.image[:, :, top].max()) < 0.02
    assert float(rendered.image[:, :, ~top].max()) > 0.5
    for beyond in (False, True):
        structure = Targets(still, beyond=beyond)(rendered, cropped)["structure"][0]
        assert bool((structure[:, :, top] > 0).any()) == beyond
    plane = torch.tensor([0.0, 1.0, 0.0, 20.0])
    faceless = replace(draw, acquisition=replace(draw.acquisition, cut=plane))
    rendered = still.render(faceless, (0, 0, 0), SHAPE, 1.0)
    gone = (rendered.coordinates[1] > 21) & (rendered.distance < -3)
    assert float(rendered.image[gone].max()) < 0.02
    assert float(rendered.image[(rendered.coordinates[1] > 21) & (rendered.distance > 1)].max()) > 0.3


def test_a_mask_may_be_uneven_and_end_higher_up(still):
    """What a mask took along is dark, and its structures are still asked for."""
    draw = _draw(still)
    stripped = replace(draw, acquisition=replace(draw.acquisition, strip_at=0.0))
    neck = torch.tensor([0.0, 0.0, -1.0, 15.0])
    for about, most in (
        (stripped, 0.0),
        (_acquired(stripped, uneven=2.0), 0.2),
        (_acquired(stripped, cut=neck), 1),
    ):
        torch.manual_seed(5)
        rendered = still.render(about, (0, 0, 0), SHAPE, 1.0)
        brain, dark = rendered.distance > 2, rendered.image < 0.02
        assert float(rendered.image[rendered.distance < -8].max()) < 0.02
        below = rendered.coordinates[2] < -17
        lost = float((brain & dark & ~below).sum() / (brain & ~below).sum())
        assert lost <= most * 0.2 + 0.02
        assert bool((dark & brain & below).sum() == (brain & below).sum()) == (
            about.acquisition.cut is not None
        )
        assert bool((Targets(still)(rendered, about)["structure"][0][brain & below] > 0).any())


def _acquired(draw, **changes):
    return replace(draw, acquisition=replace(draw.acquisition, **changes))


@pytest.mark.slow
def test_seeds_of_an_image_split_its_meta_labels(toy, tmp_path):
    """EM finds the two intensities of white matter; the generator gives each its own mean."""
    import nibabel as nib

    table = sources.source_table()
    rows = (files("brainseg.training") / "sources" / "headmaps.tsv").read_text().splitlines()
    meta = {"2": 1, "41": 1, "3": 2, "42": 2}
    lines = [rows[0] + "\tmeta", *(f"{row}\t{meta.get(row.split(chr(9))[0], 3)}" for row in rows[1:])]
    own = tmp_path / "own.tsv"
    own.write_text("\n".join(lines).replace("\t3\n", "\t0\n", 1) + "\n")
    path = toy.write(tmp_path, 1)[0]
    truth = nib.load(path)
    values = np.asarray(truth.dataobj)
    rng = np.random.default_rng(0)
    bright = np.where(np.arange(values.shape[1])[None, :, None] < 40, 100, 200)
    image = np.where(np.isin(values, (2, 41)), bright, 50) + rng.normal(0, 5, values.shape)
    nib.save(nib.Nifti1Image(image.astype(np.float32), truth.affine), tmp_path / "scan.nii.gz")
    found = seeds.write_seeds(tmp_path / "scan.nii.gz", path, tmp_path / "seeds.nii.gz", str(own))
    assert set(found) == {1, 2, 3}
    written = np.asarray(nib.load(tmp_path / "seeds.nii.gz").dataobj)
    white = np.isin(values, (2, 41))
    assert set(np.unique(written[white][:, 0])) == {11}
    two = written[..., 1]
    assert (two[white & (bright == 100)] == 11).mean() > 0.99
    assert (two[white & (bright == 200)] == 12).mean() > 0.99
    assert not written[values == 0].any()
    prepare.prepare([path], tmp_path / "own.npz", str(own), [tmp_path / "seeds.nii.gz"])
    generator = HeadGenerator(tmp_path / "own.npz", replace(STILL, seeds=1.0, texture=0))
    assert table.lesion.max() > 0
    torch.manual_seed(0)
    draws = [generator.draw(0) for _ in range(8)]
    for draw in draws:
        draw.contrast.deviations.zero_()
    assert all(draw.contrast.seeded for draw in draws)
    intensities = [
        len(draw.contrast.means[generator.seeds[0][generator.maps[0] == 1].long()].unique()) for draw in draws
    ]
    assert set(intensities) <= {1, 2, 3, 4} and len(set(intensities)) > 1
    rendered = generator.render(draws[0], (0, 0, 0), SHAPE, 1.0)
    assert torch.isfinite(rendered.image).all()


def test_a_scan_and_its_labels_must_lie_on_one_grid(toy, nifti, tmp_path):
    path = toy.write(tmp_path, 1)[0]
    with pytest.raises(InputError, match="no column meta"):
        seeds.write_seeds(path, path, tmp_path / "out.nii.gz", "headmaps")
    own = tmp_path / "own.tsv"
    rows = (files("brainseg.training") / "sources" / "headmaps.tsv").read_text().splitlines()
    own.write_text("\n".join([rows[0] + "\tmeta", *(row + "\t1" for row in rows[1:])]) + "\n")
    with pytest.raises(InputError, match=r"a\.nii.*grid differs from"):
        seeds.write_seeds(nifti(tmp_path / "a.nii"), path, tmp_path / "out.nii.gz", str(own))
    assert not (tmp_path / "out.nii.gz").exists()


def test_preview_is_a_picture(toy_arrays, tmp_path):
    from PIL import Image

    from brainseg.training.synthesis.preview import write_preview

    generator = HeadGenerator(toy_arrays, GeneratorConfig())
    path = write_preview(generator, tmp_path / "p.png", count=4, shape=(40, 44, 40), spacing=2.0)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[1] == 1920 and pixels.std() > 20
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]


def test_an_mp2rage_background_is_noise_and_changes_no_other_draw(toy_arrays):
    plain = HeadGenerator(toy_arrays, replace(STILL, noise=0))
    noisy = HeadGenerator(toy_arrays, replace(STILL, noise=0, mp2rage=1.0))
    one, other = (_draw(generator) for generator in (plain, noisy))
    assert not one.acquisition.noisy_background and other.acquisition.noisy_background
    torch.manual_seed(1)
    rendered = noisy.render(other, (0.0, 0.0, 0.0), SHAPE, 1.0)
    air = rendered.labels == 0
    assert 0.25 < float(rendered.image[air].std()) < 0.33
    torch.manual_seed(1)
    still = plain.render(one, (0.0, 0.0, 0.0), SHAPE, 1.0)
    torch.testing.assert_close(still.image[~air], rendered.image[~air])
    stripped = HeadGenerator(toy_arrays, replace(STILL, strip=1.0, mp2rage=1.0))
    assert not _draw(stripped).acquisition.noisy_background


@pytest.mark.parametrize("mirrored", [False, True])
def test_ventricles_become_narrower_or_wider_and_little_else_changes(still, mirrored):
    """Walls move inwards with a positive amount; the outline of the brain and places far away stay."""
    draw = _draw(still, mirrored=mirrored)
    walls = ventricles.walls(still.maps[0], still.source.structure, still.from_atlas[0])
    assert float(walls.norm(dim=1).max()) == pytest.approx(1)
    fluid = torch.from_numpy(np.isin(still.source.structure, ventricles.STRUCTURES))
    sizes, brains = [], []
    for amount in (-2.0, 0.0, 2.0):
        shape = ventricles.moved(draw.displacement, walls, amount, mirrored=mirrored)
        rendered = still.render(replace(draw, displacement=shape), (0, 0, 0), SHAPE, 1.0)
        sizes.append(int(fluid[rendered.labels.int()].sum()))
        brains.append(float((rendered.distance > 0).sum()))
    assert sizes[0] > 1.1 * sizes[1] and sizes[2] < 0.9 * sizes[1]
    assert brains[0] == pytest.approx(brains[1], rel=0.03)
    assert brains[2] == pytest.approx(brains[1], rel=0.03)


def test_ventricles_change_no_other_draw(toy_arrays):
    """The range is drawn last, so that heads with and without it have the same contrast and pose."""
    draws = [_draw(HeadGenerator(toy_arrays, GeneratorConfig(ventricles=amount)), 2) for amount in (0.0, 3.0)]
    assert torch.equal(draws[0].to_atlas, draws[1].to_atlas)
    assert torch.equal(draws[0].contrast.means, draws[1].contrast.means)
    assert not torch.equal(draws[0].displacement, draws[1].displacement)


def test_a_stage_of_a_cascade_can_render_a_finer_grid(still):
    """The image is averaged over a finer grid, so that borders share voxels; labels stay where they are."""
    whole = WholeHead(still, (24, 32, 24), 3.0)
    draw, seen = _draw(still, mirrored=False), []
    context = torch.zeros(1, 19, 24, 32, 24)
    for finer in (1, 2):
        torch.manual_seed(1)
        cascade = Cascade(whole, None, (24, 32, 24), 3.0, finer=finer)
        seen.append(cascade.in_box(draw, context, (0.0, 0.0, 0.0))[2])
    assert torch.equal(seen[0].labels, seen[1].labels)
    assert not torch.equal(seen[0].image, seen[1].image)
