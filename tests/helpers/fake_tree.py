"""A derivative tree without a run: ellipsoids for brains, written as the program writes its own."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import nibabel as nib
import numpy as np

from brainseg.models.population import labels

# Label, center (mm) and radii (mm); later ones lie over earlier ones. Left is negative x.
ELLIPSOIDS = [
    (24, (0, 0, 0), (62, 76, 60)),
    (3, (-29, 0, 4), (30, 68, 52)),
    (2, (-27, 0, 4), (24, 60, 43)),
    (4, (-11, 2, 12), (5, 26, 8)),
    (10, (-11, -14, 2), (7, 11, 8)),
    (12, (-24, 6, 0), (5, 13, 8)),
    (17, (-24, -18, -16), (5, 14, 5)),
    (8, (-20, -52, -36), (22, 20, 14)),
    (16, (0, -20, -34), (10, 10, 18)),
]
TEMPLATE_GRID = ((66, 78, 63), (-98.0, -134.0, -72.0), 3.0)


def phantom(
    shape: tuple[int, int, int] = (60, 66, 58),
    spacing: tuple[float, float, float] = (2.5, 2.5, 2.5),
    *,
    scale: float = 1.0,
    origin: tuple[float, float, float] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, FreeSurfer ids and affine of a head of ellipsoids on an upright grid."""
    start = -np.array(spacing) * (np.array(shape) - 1) / 2 if origin is None else np.array(origin)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = start
    axes = [start[k] + spacing[k] * np.arange(shape[k]) for k in range(3)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    aseg = np.zeros(shape, np.int16)
    table = labels.load("adult")
    for label, center, radii in ELLIPSOIDS:
        for side, index in ((1, label), (-1, table[label].partner)):
            a, b, c = center[0] * side, center[1], center[2]
            r = np.array(radii) * scale
            inside = ((x - a * scale) / r[0]) ** 2 + ((y - b) / r[1]) ** 2 + ((z - c) / r[2]) ** 2 < 1
            aseg[inside] = index
    tissue = table.lookup("tissue")[aseg]
    image = np.array([5, 60, 110, 25, 30, 85], np.float32)[tissue]
    head = (x / (74 * scale)) ** 2 + (y / (90 * scale)) ** 2 + (z / (74 * scale)) ** 2
    image[(aseg == 0) & (head < 1)] = 95
    # A mark on the right, in front and on top shows which way a picture is turned.
    image[(np.abs(x - 60) < 6) & (np.abs(y - 50) < 6) & (np.abs(z - 40) < 6)] = 250
    rng = np.random.default_rng(7)
    return (image + rng.normal(0, 3, shape)).clip(0).astype(np.float32), aseg, affine


def figures(out: Path, key: str) -> dict[str, bytes]:
    """Figures in the pack of a participant-session, as the content of image files by their names."""
    text = (out / key.partition("_")[0] / "figures" / f"{key}_desc-figures.js").read_text()
    packed = json.loads(text.removeprefix("window.brainsegFigures(").rstrip().removesuffix(");"))
    return {name: base64.b64decode(uri.partition("base64,")[2]) for name, uri in packed.items()}


def status(out: Path, key: str, state: str = "done", **more) -> Path:
    """Write the status file of a participant_session."""
    participant, _, session = key.removeprefix("sub-").partition("_ses-")
    content = {
        "key": key,
        "participant": participant,
        "session": session or None,
        "state": state,
        "image": f"{key.replace('_', '/')}/anat/{key}_T1w.nii.gz",
        "suffix": "T1w",
        "left_out": [],
        "started": "2026-01-05T10:00:00",
        "finished": "2026-01-05T10:01:30",
        "stage": "outputs",
        "error": None,
        "seconds": {
            "conform": 2.0,
            "skullstrip": 11.5,
            "bias": 14.2,
            "segmentation": 31.0,
            "registration": 3.1,
        },
        "notes": [],
        "population": "adult",
        "label_table": "adult",
        "age_unit": "years",
        "stripped": False,
        "version": "0.1.0",
        "inputs": {},
        "outputs": [],
    }
    return _json(out / "logs" / "status" / f"{key}.json", content | more)


def relist(out: Path, key: str) -> None:
    """List the files that a participant-session has now as outputs of its last run."""
    path = out / "logs" / "status" / f"{key}.json"
    files = sorted((out / key.replace("_ses-", "/ses-") / "anat").glob(f"{key}_*"))
    content = json.loads(path.read_text()) | {"outputs": [str(file.relative_to(out)) for file in files]}
    path.write_text(json.dumps(content))


def failed(out: Path, key: str, **error) -> Path:
    """Write the status file of a participant-session that failed."""
    default = {
        "node": "conform",
        "stage": "conform",
        "file": f"{key}_T1w.nii.gz",
        "reason": "the file is truncated",
        "remedy": "Fetch it again",
        "crash": None,
    }
    return status(out, key, "failed", stage="conform", error=default | error)


def participant_session(
    out: Path, key: str, *, scale: float = 1.0, axcodes: str = "LAS", data=None, pictures: bool = True, **more
) -> Path:
    """Write all the derivatives of a participant-session and its status file; returns its folder.

    Without ``pictures`` there is a label map and a table only.
    """
    participant, _, session = key.removeprefix("sub-").partition("_ses-")
    anat = out / f"sub-{participant}" / (f"ses-{session}" if session else "") / "anat"
    anat.mkdir(parents=True, exist_ok=True)
    image, aseg, affine = data or phantom(scale=scale)
    _describe(out)
    _volumes(anat / key, aseg, abs(np.linalg.det(affine)), more.pop("volume_notes", []))
    if "verdict" in more:
        quality(anat / key, more.pop("verdict"))
    if pictures:
        _images(anat / key, "", image, aseg, affine, axcodes)
        shape, origin, size = TEMPLATE_GRID
        image, aseg, affine = more.pop("template", None) or phantom(
            shape, (size,) * 3, scale=1.05, origin=origin
        )
        _images(anat / key, "space-MNI152NLin2009cAsym_", image, aseg, affine, "RAS")
    else:
        _nifti(f"{anat / key}_desc-aseg_dseg.nii.gz", aseg, affine, axcodes, np.int16)
    outputs = [str(path.relative_to(out)) for path in sorted(anat.iterdir()) if path.name.startswith(key)]
    status(out, key, **({"outputs": outputs} | more))
    return anat


def quality(stem: Path, verdict: str = "pass", **metrics: float) -> None:
    """Write what quality control found of a participant_session."""
    flagged = {"pass": "pass", "check": "check", "fail": "fail"}[verdict]
    words = "Dice of brain mask and segmentation: 0.61"
    checks = [
        {"name": "brain_volume", "label": "Volume of the brain mask", "value": 1234.5, "unit": "mL"}
        | {"verdict": "pass", "words": "Brain mask of 1234 mL; plausible are 600 to 2200 mL"},
        {"name": "mask_match", "label": "Mask against segmentation", "value": 0.61, "unit": ""}
        | {"verdict": flagged, "words": words},
    ]
    found = {"cjv": 0.41, "cnr": 2.5, "snr_total": 9.5, "fber": None} | metrics
    _json(
        Path(f"{stem}_desc-quality_metrics.json"),
        {"Verdict": verdict, "Score": 0.81, "Checks": checks, "Metrics": found},
    )
    rows = ["index\tname\tscore\tvolume_mm3\tpieces\tholes\teuler\tsign_size\tsign_pieces\tsign_edge"]
    rows.append("17\tLeft-Hippocampus\t0.3100\t900.0\t3\t0\t3\t1.9000\t0.2500\t0.1000")
    rows.append("53\tRight-Hippocampus\t0.8200\t3900.0\t1\t0\t1\t0.0000\t0.0000\t0.0000")
    rows.append("16\tBrain-Stem\t0.9000\t20000.0\t1\t0\t1\t0.0000\t0.0000\t0.0000")
    Path(f"{stem}_desc-quality_structures.tsv").write_text("\n".join(rows) + "\n")
    _json(Path(f"{stem}_desc-quality_structures.json"), {})


def _images(stem: Path, space: str, image, aseg, affine, axcodes: str) -> None:
    table = labels.load("adult")
    _nifti(
        f"{stem}_{space}desc-preproc_T1w.nii.gz", image, affine, axcodes, np.float32, {"SkullStripped": False}
    )
    _nifti(f"{stem}_{space}desc-brain_mask.nii.gz", aseg > 0, affine, axcodes, np.uint8, {"Type": "Brain"})
    _nifti(f"{stem}_{space}dseg.nii.gz", table.lookup("dseg")[aseg], affine, axcodes, np.uint8)
    if not space:
        _nifti(f"{stem}_desc-aseg_dseg.nii.gz", aseg, affine, axcodes, np.int16)
        _nifti(f"{stem}_desc-tissue_dseg.nii.gz", table.lookup("tissue")[aseg], affine, axcodes, np.uint8)


def _nifti(name: str, data, affine, axcodes: str, dtype, sidecar: dict | None = None) -> None:
    image = nib.Nifti1Image(np.asarray(data, dtype), affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axcodes))
    )
    nib.save(image.as_reoriented(turn), name)
    _json(Path(name.replace(".nii.gz", ".json")), sidecar or {})


def _volumes(stem: Path, aseg, voxel: float, notes: list[str]) -> None:
    names = ("volume_mm3", "volume_low_mm3", "volume_high_mm3", "label_volume_mm3", "fraction_of_brain")
    lines = ["\t".join(("index", "name", "hemisphere", *names))]
    brain = np.count_nonzero(aseg) * voxel
    for label in labels.load("adult"):
        count = np.count_nonzero(aseg == label.index) * voxel
        if label.index and count:
            side = {"Left": "L", "Right": "R"}.get(label.name.split("-")[0], "n/a")
            sizes = [f"{share * count:.2f}" for share in (1.0, 0.9, 1.1, 1.0)]
            cells = (str(label.index), label.name, side, *sizes, f"{count / brain:.6f}")
            lines.append("\t".join(cells))
    Path(f"{stem}_desc-aseg_volumes.tsv").write_text("\n".join(lines) + "\n")
    _json(Path(f"{stem}_desc-aseg_volumes.json"), {"Notes": notes})


def _describe(out: Path) -> None:
    _json(
        out / "dataset_description.json",
        {
            "Name": "brainseg-bids derivatives",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "brainseg-bids", "Version": "0.1.0"}],
        },
    )


def _json(path: Path, content: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
