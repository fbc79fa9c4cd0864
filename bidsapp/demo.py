"""Demonstration BIDS dataset of two participants, made offline from the ICBM152 template of nilearn.

``python -m brainseg.bidsapp.demo DIR`` writes it, or with ``--fetal`` one of a fetal brain. The first
participant is the unchanged template, the second one a smoothly deformed copy on another grid (1.1 mm, LAS)
with a bias field and noise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from nilearn.datasets import load_mni152_template
from scipy.ndimage import map_coordinates, zoom

from . import __version__, demo_fetal

PARTICIPANTS = {"01": ("25", "F"), "02": ("41", "M")}

LICENSE = """\
The images are derived from the ICBM 2009a nonlinear symmetric T1 template.

Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Center, Montreal Neurological Institute,
McGill University. Permission to use, copy, modify, and distribute this software and its documentation for
any purpose and without fee is hereby granted, provided that the above copyright notice appear in all
copies. The authors and McGill University make no representations about the suitability of this software
for any purpose. It is provided "as is" without express or implied warranty. The authors are not
responsible for any data loss, equipment damage, property loss, or injury to subjects or patients
resulting from the use or misuse of this software package.
"""

README = """\
# brainseg-bids demonstration

Two participants for trying the program. sub-01 is the ICBM 2009a nonlinear symmetric T1 template
(skull-stripped, 1 mm). sub-02 is the same image, smoothly deformed by some millimeters with a fixed seed,
on a grid of 1.1 mm in LAS orientation, with a bias field and noise. Ages and sexes are made up.

Neither is a person: volumes of these images say nothing about anyone.
"""


def template_image() -> nib.Nifti1Image:
    """Return the ICBM152 2009a symmetric T1 template, skull-stripped, 1 mm, int16."""
    image = load_mni152_template(resolution=1)
    return _int16(np.asarray(image.dataobj, dtype=np.float32), image.affine)


def deformed_image(
    image: nib.Nifti1Image | None = None,
    *,
    voxel: float = 1.1,
    orientation: str = "LAS",
    displacement: float = 8.0,
    bias: float = 0.2,
    noise: float = 0.02,
    seed: int = 2,
) -> nib.Nifti1Image:
    """Deform an image smoothly and resample it to another grid.

    Parameters
    ----------
    image : Nifti1Image, optional
        A 3-D image; by default `template_image`.
    voxel : float
        Voxel size of the result in mm.
    orientation : str
        Axis codes of the result.
    displacement : float
        Largest displacement along an axis in mm.
    bias : float
        Largest relative deviation of the multiplicative bias field.
    noise : float
        Standard deviation of the noise relative to the brightest voxel; the background stays zero.
    seed : int
        Seed of the deformation, the bias field and the noise.

    Returns
    -------
    Nifti1Image
        The deformed image, int16.
    """
    image = template_image() if image is None else image
    rng = np.random.default_rng(seed)
    shape, affine = _grid(image, voxel, orientation)

    control = (7, 8, 7)  # some 30 mm between control points: anatomy bends, nothing folds
    shift = np.stack([_smooth(rng, control, shape, displacement) for _ in range(3)])
    shift -= shift.mean(axis=(1, 2, 3), keepdims=True)

    to_source = np.linalg.inv(image.affine) @ affine
    index = np.indices(shape, dtype=np.float32).reshape(3, -1)
    source = to_source[:3, :3] @ index + to_source[:3, 3:]
    # The shift is in mm of the scanner's axes.
    source += np.linalg.inv(image.affine)[:3, :3] @ shift.reshape(3, -1)

    data = np.asarray(image.dataobj, dtype=np.float32)
    head = map_coordinates(data > 0, source, output=np.float32, order=1).reshape(shape) > 0.5
    out = map_coordinates(data, source, order=1).reshape(shape)
    out *= np.exp(_smooth(rng, (4, 4, 4), shape, np.log1p(bias)))
    out += rng.normal(0, noise * out.max(), shape)
    return _int16(np.where(head, np.maximum(out, 1e-3 * out.max()), 0), affine)


def write_dataset(
    folder: Path | str,
    images: Mapping[str, nib.Nifti1Image],
    *,
    participants: Mapping[str, tuple[str, str]] = PARTICIPANTS,
) -> Path:
    """Write T1w images as a valid BIDS dataset.

    Parameters
    ----------
    folder : path-like
        The folder to write; it is made if it is missing.
    images : mapping of str to Nifti1Image
        T1w image by participant label (without ``sub-``).
    participants : mapping of str to tuple
        Age and sex by participant label; ``n/a`` where one is missing.

    Returns
    -------
    Path
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(README, encoding="utf-8")
    (folder / "LICENSE").write_text(LICENSE, encoding="utf-8")

    rows = ["participant_id\tage\tsex"]
    for label, image in images.items():
        age, sex = participants.get(label, ("n/a", "n/a"))
        rows.append(f"sub-{label}\t{age}\t{sex}")
        anat = folder / f"sub-{label}" / "anat"
        anat.mkdir(parents=True, exist_ok=True)
        nib.save(image, anat / f"sub-{label}_T1w.nii.gz")
        _write_json(anat / f"sub-{label}_T1w.json", {"Modality": "MR", "BodyPart": "BRAIN"})
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    _write_json(
        folder / "participants.json",
        {
            "age": {"Description": "Age of the participant (made up)", "Units": "year"},
            "sex": {"Description": "Sex (made up)", "Levels": {"F": "female", "M": "male"}},
        },
    )
    # Written last: a folder with this file is a complete dataset.
    _write_json(
        folder / "dataset_description.json",
        {
            "Name": "brainseg-bids demonstration",
            "BIDSVersion": "1.10.0",
            "DatasetType": "raw",
            "License": "see LICENSE",
            "Authors": ["V. S. Fonov", "A. C. Evans", "R. C. McKinstry", "C. R. Almli", "D. L. Collins"],
            "ReferencesAndLinks": ["https://doi.org/10.1016/j.neuroimage.2010.07.033"],
            "GeneratedBy": [{"Name": "brainseg-bids", "Version": __version__}],
            "SourceDatasets": [{"URL": "https://osf.io/7pj92", "Version": "ICBM 2009a Nonlinear Symmetric"}],
        },
    )
    return folder


def build(folder: Path | str) -> Path:
    """Write the demonstration dataset: ``sub-01``, the template, and ``sub-02``, a deformed copy.

    Parameters
    ----------
    folder : path-like
        The folder to write.

    Returns
    -------
    Path
        The folder.
    """
    template = template_image()
    return write_dataset(folder, {"01": template, "02": deformed_image(template)})


def _grid(image: nib.Nifti1Image, voxel: float, orientation: str) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of a grid over the same field of view."""
    change = ornt_transform(io_orientation(image.affine), axcodes2ornt(orientation))
    turned = np.zeros(3, dtype=int)
    turned[change[:, 0].astype(int)] = image.shape
    affine = image.affine @ inv_ornt_aff(change, image.shape)
    step = voxel / nib.affines.voxel_sizes(affine)
    shape = np.ceil(turned / step).astype(int)
    scaled = affine.copy()
    scaled[:3, :3] = affine[:3, :3] * step
    scaled[:3, 3] += affine[:3, :3] @ ((turned - 1) / 2 - step * (shape - 1) / 2)
    return tuple(int(n) for n in shape), scaled


def _smooth(
    rng: np.random.Generator, control: tuple[int, ...], shape: tuple[int, ...], peak: float
) -> np.ndarray:
    """Random field over ``shape``, smooth between control points, its largest magnitude ``peak``."""
    field = rng.normal(size=control)
    for axis, (few, many) in enumerate(zip(control, shape, strict=True)):
        factors = [1.0, 1.0, 1.0]
        factors[axis] = many / few
        field = zoom(field, factors, order=3, mode="nearest")
    return (peak * field / np.abs(field).max()).astype(np.float32)


def _int16(data: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    image = nib.Nifti1Image(np.rint(data * (1000 / data.max())).astype(np.int16), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    return image


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Write the dataset to the folder that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m brainseg.bidsapp.demo", description="Write the demonstration dataset."
    )
    parser.add_argument("folder", type=Path, help="folder to write the dataset to")
    parser.add_argument("--fetal", action="store_true", help="one fetal brain in place of two adult ones")
    args = parser.parse_args(argv)
    print(demo_fetal.build(args.folder) if args.fetal else build(args.folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
