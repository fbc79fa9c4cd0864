"""From a registration node to what stands in the space of a template of the user's own."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.interfaces import base
from brainseg.interfaces.io.derivatives import Names, sidecars
from brainseg.interfaces.io.spaces import InSpace, Native
from brainseg.interfaces.registration import Register, read_alignment
from brainseg.models.io import itk
from helpers import heads_of_balls as balls

GRID = {"spacing": 4.0, "shape": (40, 50, 40)}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A brain, a template that is a bent one, and the node's alignment of the two."""
    folder = tmp_path_factory.mktemp("space")
    template, moving = balls.brain(**GRID), balls.brain(bend=4.0, **GRID)
    ends = {"T1w": template.image, "desc-brain_mask": template.mask, "desc-aseg_dseg": template.structures}
    for end, volume in ends.items():
        nib.save(nib.Nifti1Image(volume.data.numpy(), volume.affine), folder / f"own_{end}.nii.gz")
    measures = folder / "measures.json"
    measures.write_text(json.dumps({"volumes": {}, "centroids": moving.centroids}))
    maps = [base.save(volume, folder / f"{name}.nii") for name, volume in moving.probabilities.items()]
    node = Register(
        in_file=base.save(moving.image, folder / "image.nii"),
        in_mask=base.save(moving.mask, folder / "mask.nii"),
        in_structures=base.save(moving.structures, folder / "structures.nii"),
        in_probabilities=maps,
        in_measures=str(measures),
        template=f"Own={folder / 'own_T1w.nii.gz'}",
        refine=4,
    )
    here = Path.cwd()
    os.chdir(folder)
    try:
        outputs = node.run().outputs
    finally:
        os.chdir(here)
    return folder, template, moving, outputs


@pytest.mark.slow
def test_the_node_says_what_it_found(found):
    _, _, _, outputs = found
    aligned = read_alignment(outputs.out_transform)
    assert (aligned.engine, aligned.space.split("=")[0]) == ("deep", "Own")
    assert aligned.error_mm < 5 and aligned.folds < 1e-4
    assert len(aligned.forward.steps) == 3
    assert outputs.notes == []


@pytest.mark.slow
def test_everything_is_written_in_the_space(found):
    folder, template, moving, outputs = found
    source = folder / "bids" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    names = Names(folder / "out", folder / "bids", source, "sub-1")
    one = InSpace(names, read_alignment(outputs.out_transform))
    scan = Native(moving.image, moving.mask, moving.structures, moving.probabilities, np.dtype("float32"))
    jobs = [*one.transforms(), *one.images(scan, smooth=8.0)]
    written = {job().name.removeprefix("sub-1_") for job in jobs}
    about = one.sidecars(sidecars(names, True, []), smooth=8.0)
    images = {name for name in written if name.startswith("space-Own_")}
    assert len(images) == 12
    assert (
        set(about)
        == written
        == images | {f"from-{a}_mode-image_xfm.h5" for a in ("T1w_to-Own", "Own_to-T1w")}
    )
    assert about["space-Own_dseg.nii.gz"]["SpatialReference"] == "own_T1w.nii.gz"

    def read(ending):
        return np.asarray(nib.load(names.path(f"space-Own_{ending}.nii.gz")).dataobj)

    truth = template.structures.data.numpy()
    assert (read("desc-aseg_dseg") == truth).mean() > 0.95
    total = sum(read(f"label-{name}_probseg") for name in ("GM", "WM", "CSF"))
    inside = read("desc-brain_mask") > 0
    assert np.allclose(total[inside], 1, atol=0.02) and not total[~inside].any()
    assert set(np.unique(read("dseg"))) == {0, 1, 2, 3}
    assert (read("jacobian") > 0).mean() > 0.999
    for name in ("GM", "WM"):  # modulated maps hold the volume of the image
        volume = float(moving.probabilities[name].data.sum())
        for desc in ("modulated", "smoothed"):
            assert read(f"label-{name}_desc-{desc}_probseg").sum() == pytest.approx(volume, rel=0.005)
    assert about["space-Own_label-GM_desc-smoothed_probseg.nii.gz"]["FWHM"] == 8
    there, back = (itk.read(names.path(f"from-{a}_mode-image_xfm.h5")) for a in ("T1w_to-Own", "Own_to-T1w"))
    points = np.random.default_rng(0).uniform(-40, 40, (99, 3))
    assert np.linalg.norm(back.points(there.points(points)) - points, axis=1).mean() < 0.3


@pytest.mark.slow
def test_modulated_maps_are_those_of_the_whole_grid_also_beyond_the_mask(found):
    folder, _, moving, outputs = found
    names = Names(folder / "out", folder / "bids", folder / "sub-1_T1w.nii.gz", "sub-1")
    one = InSpace(names, read_alignment(outputs.out_transform))
    for maps in (
        moving.probabilities,
        {n: v.with_data(v.data + 0.1) for n, v in moving.probabilities.items()},
    ):
        scan = Native(moving.image, moving.mask, moving.structures, maps, np.dtype("float32"))
        written = dict(one._arrays(scan, (), 0.0))
        forward = one.found.forward
        change = forward.jacobian(one.grid).data.numpy().clip(0)
        for name in ("GM", "WM"):
            whole = forward.resample(maps[name].with_data(maps[name].data.float()), one.grid).data.numpy()
            found = written[f"label-{name}_desc-modulated_probseg.nii.gz"]
            np.testing.assert_allclose(found, whole * change, atol=2e-3)  # positions are rounded


@pytest.mark.slow
def test_what_is_switched_off_is_not_written(found):
    folder, _, moving, outputs = found
    names = Names(folder / "less", folder, folder / "sub-1_T1w.nii.gz", "sub-1")
    one = InSpace(names, read_alignment(outputs.out_transform))
    scan = Native(moving.image, moving.mask, moving.structures, moving.probabilities, np.dtype("int16"))
    off = ("posteriors", "jacobian", "vbm")
    assert {job().name.split("_", 2)[2] for job in one.images(scan, off)} == {
        "desc-preproc_T1w.nii.gz",
        "desc-brain_mask.nii.gz",
        "dseg.nii.gz",
        "desc-aseg_dseg.nii.gz",
    }
    assert all("_xfm" in end for end in one.sidecars({}, ("template-outputs",)))
