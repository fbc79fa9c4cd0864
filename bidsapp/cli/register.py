"""``brainseg register``: any scan onto any other, or onto a template, in one command."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.errors import InputError, UsageError
from ...models.population import populations

if TYPE_CHECKING:
    from ...models.population.populations import Population
    from ...models.registration.registration import Anatomy
    from ...models.templates.spaces import Space

IMAGES = (".nii", ".nii.gz")


def describe(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from .bids import device_name

    add = parser.add_argument
    add("moving", metavar="MOVING", help="a scan of any contrast")
    add("fixed", metavar="FIXED", help="another, or a template as --output-spaces of brainseg-bids names it")
    add("out", metavar="OUT.h5", help="transform that resamples MOVING onto FIXED (ITK composite)")
    names = populations.trained()
    add(
        "--population", choices=names, help="whose brains they are (fetal for a template by week, else adult)"
    )
    add("--moved", metavar="IMAGE", help="also write MOVING on the grid of FIXED")
    add("--inverse", metavar="OUT.h5", help="also write the transform that resamples FIXED onto MOVING")
    add("--labels", nargs=2, metavar=("IN", "OUT"), help="also bring a label image of MOVING onto FIXED")
    add("--jacobian", metavar="IMAGE", help="also write how much larger MOVING is than FIXED, everywhere")
    add("--engine", choices=("deep", "ants", "none"), default="deep", help="as --registration (deep)")
    add("--refine", type=int, metavar="N", help="steps of deep at 2 mm")
    add("--start", metavar="NETWORK", help="weights that predict where deep begins (registration), or none")
    add("--kind", choices=("affine", "similarity", "rigid"), help="only this, without a deformation")
    add("--device", type=device_name, default="auto", metavar="{auto,cpu,cuda[:N],mps}", help="(auto)")
    add("--threads", type=int, metavar="N", help="CPUs to use (default: at most 8)")


def run(given: argparse.Namespace) -> int:
    """Register MOVING to FIXED: affine, then diffeomorphic, whatever their contrasts."""
    from ...interfaces.io import files
    from ...models.deformation.diffeomorphic import Options
    from ...models.io import itk
    from ...models.networks.device import resolve
    from ...models.registration import registration
    from ..execution.directories import quiet_environment
    from .main import _threads

    quiet_environment()
    record = populations.load(given.population or _population(given.fixed))
    _check(given, record)
    _threads(given)
    device = resolve(given.device)
    moving = anatomy(Path(given.moving), device, record)
    fixed = _fixed(given.fixed, device, record, moving)
    print("registration", file=sys.stderr)
    network = None if given.start == "none" else given.start or record.velocity or None
    if given.kind:
        found = registration.affine(moving, fixed, given.kind)
    else:
        found = registration.register(
            moving,
            fixed,
            engine=given.engine,
            refine=given.refine,
            options=Options().finer(**record.registration) if record.registration else None,
            network=network,
        )
    files.write_binary(Path(given.out), lambda file: itk.write(file, found.forward))
    if given.inverse:
        files.write_binary(Path(given.inverse), lambda file: itk.write(file, found.inverse))
    _write_images(given, found, fixed)
    folds = (
        f", {100 * found.folds:.4f} % of the voxels fold" if given.engine != "none" and not given.kind else ""
    )
    print(f"{given.out}: structures {found.error_mm:.1f} mm apart (median) after the affine{folds}")
    return 0


def _population(fixed: str) -> str:
    """Whose brains they are where nobody says so: the template's, if it is one that goes by age."""
    from ...models.templates import spaces

    if Path(fixed).is_file() or fixed.endswith(IMAGES):
        return "adult"
    name = spaces.parse(fixed).name
    return next((one for one in populations.trained() if name in populations.load(one).cohorts), "adult")


def _goes_by_week(space: Space) -> bool:
    """Whether the cohort of a template is still to be chosen by gestational age."""
    from ...models.templates import age_template, spaces

    own = space.path is None and space.name in age_template.names()
    return space.cohort is None and (own or bool(spaces.by_age(space)))


def _check(given: argparse.Namespace, record: Population) -> None:
    """Look at all the paths before anything is computed."""
    from ...models.templates import spaces
    from ..execution.directories import distinct

    if not Path(given.moving).is_file():
        raise InputError(given.moving, "the file does not exist", "Check the path")
    if not Path(given.fixed).is_file():
        if given.fixed.endswith(IMAGES) and "=" not in given.fixed:
            raise InputError(given.fixed, "the file does not exist", "Check the path")
        spaces.find(spaces.parse(given.fixed))
        if _goes_by_week(spaces.parse(given.fixed)):
            from ...interfaces.registration import check_cohort

            check_cohort(given.fixed, record.name)
    if given.start and given.start != "none":
        _check_start(given.start)
    labels = given.labels or (None, None)
    written = (given.out, given.inverse, given.moved, given.jacobian, labels[1])
    distinct((given.moving, given.fixed, given.start, labels[0]), written)
    for path in filter(None, (given.out, given.inverse)):
        if not path.endswith(".h5"):
            raise UsageError(path, "transforms are written as .h5", "End its name with .h5")
    if given.labels and not Path(given.labels[0]).is_file():
        raise InputError(given.labels[0], "the file does not exist", "Check the path")
    for path in filter(None, (given.moved, given.jacobian, given.labels and given.labels[1])):
        if not path.endswith(".nii.gz"):
            raise UsageError(path, "images are written as .nii.gz", "End its name with .nii.gz")


def _check_start(name: str) -> None:
    """Weights that are there, and predict velocities."""
    from ...models.errors import MissingFileError
    from ...models.networks import zoo

    try:
        kind = zoo.read_card(name)["architecture"]["class"]
    except zoo.ModelError as error:
        raise MissingFileError(None, str(error), "See brainseg models list") from None
    if kind != "VelocityUNet":
        raise UsageError(
            name, "it does not predict velocities", "Train one with: brainseg train registration"
        )


def _fixed(text: str, device: str, record: Population, moving: Anatomy) -> Anatomy:
    from ...models.registration import reference
    from ...models.templates import spaces

    if Path(text).is_file():
        return anatomy(Path(text), device, record)
    if _goes_by_week(spaces.parse(text)):
        text = _with_cohort(text, record, moving)
    return reference.load(text, reference.Networks(*record.networks), device)


def _with_cohort(text: str, record: Population, moving: Anatomy) -> str:
    """The template with the cohort for the age that the volumes tell."""
    import numpy as np

    from ...interfaces.growth import age_of
    from ...interfaces.registration import with_cohort

    labels = moving.structures.data.numpy()
    voxel = float(np.prod(moving.structures.grid.spacing))
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    volumes = {int(k): float(n) * voxel for k, n in zip(ids, counts, strict=True)}
    age, _ = age_of(volumes, record, None)
    if age is None:
        reason = f"the template {text} goes by age, and the volumes of this brain do not tell it"
        raise InputError(None, reason, "Name a cohort: NAME:cohort-N")
    chosen = with_cohort(text, record.name, age, volumes)
    print(f"template {chosen}: the volumes tell {age['age']:.1f} {age['unit']}", file=sys.stderr)
    return chosen


def anatomy(path: Path, device: str = "cpu", record: Population | None = None) -> Anatomy:
    """A scan with what the program's own stages find in it, an adult's unless ``record`` says else."""
    from ...models.io import conform
    from ...models.preprocessing import bias
    from ...models.registration.registration import Anatomy
    from ...models.segmentation import segmentation, skullstrip

    record = record or populations.load("adult")
    print(f"structures of {path.name}", file=sys.stderr)
    try:
        scan = conform.read(path)
        brain = skullstrip.skullstrip(
            scan, device=device, model=record.skullstrip, coarse_model=record.coarse
        )
        corrected, _ = bias.correct(scan, brain.mask)
        found = segmentation.segment(
            corrected,
            brain.mask,
            device=device,
            model=record.segmentation,
            coarse_model=record.coarse,
            label_table=record.labels,
        )
    except InputError as error:
        raise InputError(error.path or path, error.reason, error.remedy) from None
    return Anatomy(corrected, brain.mask, found.structures, found.centroids, found.probabilities)


def _write_images(given: argparse.Namespace, found: Any, fixed: Anatomy) -> None:
    import nibabel as nib
    import numpy as np

    from ...interfaces.io import files
    from ...models.io import conform

    grid = fixed.image.grid
    if given.moved:
        scan = conform.read(given.moving)
        moved = found.forward.resample(scan, grid, "cubic").data.numpy()
        files.write_image(Path(given.moved), moved.astype(np.float32), grid.affine, 2)
    if given.labels:
        source, out = given.labels
        labels = conform.read(source)
        kept = nib.load(source).get_data_dtype()
        if kept.kind not in "iu":
            kept = np.dtype(np.int32)
        moved = found.forward.resample(labels, grid, "label").data.numpy()
        files.write_image(Path(out), np.rint(moved).astype(kept), grid.affine, 2)
    if given.jacobian:
        change = found.forward.jacobian(grid).data.numpy()
        files.write_image(Path(given.jacobian), change.astype(np.float32), grid.affine, 2)


def describe_pseudolabel(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    from .bids import device_name

    add = parser.add_argument
    add("atlas", metavar="ATLAS", help="a labelled scan")
    add("labels", metavar="LABELS", help="its labels, on its grid")
    add("scans", metavar="SCAN", nargs="+", help="scans without labels")
    add("--out", metavar="DIR", required=True, help="folder for one label image a scan")
    add("--refine", type=int, metavar="N", help="steps of the deformation at 2 mm")
    add("--device", type=device_name, default="auto", metavar="{auto,cpu,cuda[:N],mps}", help="(auto)")
    add("--threads", type=int, metavar="N", help="CPUs to use (default: at most 8)")


def pseudolabel(given: argparse.Namespace) -> int:
    """Bring the LABELS of an ATLAS onto SCANs, by the inverse of each scan's registration to it."""
    import nibabel as nib
    import numpy as np

    from ...interfaces.io import files
    from ...models.io import conform
    from ...models.networks.device import resolve
    from ...models.registration import registration
    from ..execution.directories import quiet_environment
    from .main import _threads

    quiet_environment()
    paths = [Path(path) for path in given.scans]
    for path in (Path(given.atlas), Path(given.labels), *paths):
        if not path.is_file():
            raise InputError(path, "the file does not exist", "Check the path")
    names = [path.name.removesuffix(".gz").removesuffix(".nii") for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(None, f"two scans are called {twice[0]}", "Give them in two commands")
    labels = conform.read(given.labels)
    if labels.grid.shape != conform.read(given.atlas).grid.shape:
        raise InputError(given.labels, "it does not lie on the grid of the atlas", "Resample it to that grid")
    _threads(given)
    device = resolve(given.device)
    atlas = anatomy(Path(given.atlas), device)
    kind = np.min_scalar_type(int(labels.data.max()))
    for path, name in zip(paths, names, strict=True):
        scan = anatomy(path, device)
        found = registration.register(scan, atlas, refine=given.refine, network=registration.NETWORK)
        moved = found.inverse.resample(labels, scan.image.grid, "label").data.numpy()
        source = nib.load(path)
        out = Path(given.out) / f"{name}_dseg.nii.gz"
        files.write_image(out, np.rint(moved).astype(kind), source.affine, files.geometry_code(source))
        print(out)
    return 0
