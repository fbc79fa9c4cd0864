"""Ways to spoil a participant of a dataset: headers, voxels, compression, sidecars, tables, names, links.

Each takes the participant's folder and a source of random numbers, and changes the folder for the worse.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
from pathlib import Path
from random import Random

import nibabel as nib
import numpy as np

SHAPE = (14, 15, 13)
FLOATS = (0.0, -0.0, 1e-30, -1.0, 1e30, float("nan"), float("inf"), -float("inf"), 3.4e38, 0.3, 1000.0)
WORDS = (
    "",
    "null",
    "[]",
    '"x"',
    "{",
    '{"a":',
    "nan",
    "[" * 5000,
    '{"a": 1e999}',
    '{"a": "\\ud800"}',
    "\ufeff{}",
)
ODD = (
    "a b",
    "ä",
    "日本",
    "x'y",
    'q"r',
    "<b>",
    "$(id)",
    "a;b",
    "a\nb",
    "a\tb",
    "%s",
    "{}",
    "*",
    "[x]",
    "-rf",
    "~",
    "..",
)


def image_bytes() -> bytes:
    """A scan that can be read, as an uncompressed NIfTI file."""
    data = np.random.default_rng(0).integers(1, 255, SHAPE).astype(np.uint8)
    image = nib.Nifti1Image(data, np.diag([4.0, 4.0, 4.0, 1.0]))
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    return image.to_bytes()


WHOLE = image_bytes()


def scan(folder: Path) -> Path:
    """Path of the participant's scan."""
    return folder / "anat" / f"{folder.name}_T1w.nii.gz"


def write(folder: Path, content: bytes = WHOLE) -> None:
    """Write a participant."""
    scan(folder).parent.mkdir(parents=True)
    scan(folder).write_bytes(gzip.compress(content, 1, mtime=0))
    (folder / "anat" / f"{folder.name}_T1w.json").write_text('{"EchoTime": 0.003}')


def _patched(r: Random, offset: int, content: bytes) -> bytes:
    return WHOLE[:offset] + content + WHOLE[offset + len(content) :]


def header_bytes(folder: Path, r: Random) -> None:
    """Random bytes anywhere in the header."""
    raw = bytearray(WHOLE)
    for _ in range(r.randint(1, 30)):
        raw[r.randrange(352)] = r.randrange(256)
    scan(folder).write_bytes(gzip.compress(bytes(raw), 1))


def dimensions(folder: Path, r: Random) -> None:
    """Any number of dimensions of any size, some too large for any memory."""
    sizes = [r.choice((-1, 0, 1, 2, 14, 300, 32767, r.randint(-32768, 32767))) for _ in range(7)]
    content = struct.pack("<8h", r.choice((0, 1, 2, 3, 4, 5, 7, 8, -1, 300)), *sizes)
    scan(folder).write_bytes(gzip.compress(_patched(r, 40, content), 1))


def voxel_type(folder: Path, r: Random) -> None:
    """Any data type, known or not."""
    codes = (
        0,
        1,
        2,
        4,
        8,
        16,
        32,
        64,
        128,
        256,
        512,
        768,
        1024,
        1280,
        1536,
        1792,
        2048,
        2304,
        r.randint(0, 4000),
    )
    content = struct.pack("<hh", r.choice(codes), r.choice((0, 1, 8, 16, 32, 64, 128, r.randint(0, 300))))
    scan(folder).write_bytes(gzip.compress(_patched(r, 70, content), 1))


def numbers(folder: Path, r: Random) -> None:
    """Odd numbers in voxel sizes, offset, scaling, qform or sform."""
    raw = WHOLE
    for _ in range(r.randint(1, 6)):
        place = r.choice([76 + 4 * k for k in range(8)] + [108, 112, 116] + [256 + 4 * k for k in range(18)])
        raw = raw[:place] + struct.pack("<f", r.choice(FLOATS)) + raw[place + 4 :]
    codes = struct.pack("<hh", r.choice((0, 1, 4, -1, 99)), r.choice((0, 1, 4, -1, 99)))
    scan(folder).write_bytes(gzip.compress(raw[:252] + codes + raw[256:], 1))


def truncated(folder: Path, r: Random) -> None:
    """The end is missing, before or after compression."""
    if r.random() < 0.5:
        scan(folder).write_bytes(gzip.compress(WHOLE[: r.randrange(len(WHOLE))], 1))
    else:
        packed = scan(folder).read_bytes()
        scan(folder).write_bytes(packed[: r.randrange(len(packed))])


def flipped(folder: Path, r: Random) -> None:
    """Some bytes of the compressed file are others."""
    packed = bytearray(scan(folder).read_bytes())
    for _ in range(r.randint(1, 5)):
        packed[r.randrange(len(packed))] ^= 1 << r.randrange(8)
    scan(folder).write_bytes(bytes(packed))


def packed_otherwise(folder: Path, r: Random) -> None:
    """Not compressed, twice compressed, or not an image at all."""
    content = r.choice(
        (WHOLE, gzip.compress(gzip.compress(WHOLE)), b"\x1f\x8b", r.randbytes(400), b"PK\x03\x04" * 99)
    )
    scan(folder).write_bytes(content)


def values(folder: Path, r: Random) -> None:
    """Voxels that are constant, not finite, or enormous."""
    data = np.full(SHAPE, r.choice((0.0, 5.0, -3.0)), r.choice((np.float32, np.float64)))
    if r.random() < 0.7:
        data[r.randrange(14), 3, 3] = r.choice((np.nan, np.inf, -np.inf, 3e38, 1.0))
    nib.save(nib.Nifti1Image(data, np.diag([4.0, 4, 4, 1])), scan(folder))


def sidecar(folder: Path, r: Random) -> None:
    """JSON that is none, or that holds what nobody expects."""
    path = (
        folder / "anat" / r.choice((f"{folder.name}_T1w.json", "T1w.json", f"{folder.name}_acq-x_T1w.json"))
    )
    kind = r.randrange(4)
    if kind == 0:
        path.write_bytes(r.randbytes(r.randint(0, 60)))
    elif kind == 1:
        path.write_text(r.choice(WORDS), encoding="utf-8")
    elif kind == 2:
        path.write_text(json.dumps({r.choice(ODD): r.choice((None, [], {"x": []}, "y" * 9999, -1))}))
    else:
        path.unlink(missing_ok=True)
        path.mkdir()


def tables(folder: Path, r: Random) -> None:
    """Tables of sessions and scans that are damaged."""
    for name in ("sessions.tsv", "scans.tsv", "sessions.json"):
        path = folder / f"{folder.name}_{name}"
        path.write_bytes(
            r.choice((b"", r.randbytes(50), b"session_id\tage\nses-1\t-3\t9\n\t\t\n", b"\xff\xfe\x00"))
        )


def names(folder: Path, r: Random) -> None:
    """Files, folders and entities whose names are odd."""
    odd = r.choice(ODD)
    safe = odd.replace("/", "_")
    name = r.choice(
        (
            f"{folder.name}_acq-{safe}_T1w.nii.gz",
            f"{folder.name}_T1w_{safe}.nii.gz",
            f"{safe}_T1w.nii.gz",
            f"{folder.name}_T1w.nii.gz.nii.gz",
            f"{folder.name}_run-{'9' * 60}_T1w.nii.gz",
            "_T1w.nii.gz",
            f"{folder.name}_ses-{safe}_T1w.nii.gz",
            f"sub-other_{safe}_T1w.nii",
            f"{folder.name}_{'x' * 150}_T1w.nii",
        )
    )
    where = folder / r.choice(("anat", f"ses-{safe}/anat", "anat/anat", "."))
    where.mkdir(parents=True, exist_ok=True)
    (where / name).write_bytes(r.choice((b"", WHOLE, gzip.compress(WHOLE, 1))))


def links(folder: Path, r: Random) -> None:
    """The scan is a link, a folder, a pipe or not to be read."""
    path = scan(folder)
    path.unlink()
    kind = r.randrange(5)
    if kind == 0:
        path.symlink_to(
            r.choice(("gone.nii.gz", "../../../../etc/passwd", ".", path.name, "/dev/zero", "/dev/null"))
        )
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.write_text("/annex/objects/MD5E-s123--0123.nii.gz\n")
    else:
        (folder / "anat" / "loop").symlink_to(folder / "anat")


OF_SCAN = (header_bytes, dimensions, voxel_type, numbers, truncated, flipped, packed_otherwise, values)
OF_DATASET = (sidecar, tables, names, links)
ALL = OF_SCAN + OF_DATASET


def dataset_files(root: Path, r: Random) -> None:
    """The dataset's own files: description, participants, sidecars that all inherit."""
    name = r.choice(
        (
            "participants.tsv",
            "participants.json",
            "T1w.json",
            "sessions.json",
            "dataset_description.json",
            ".bidsignore",
        )
    )
    content = r.choice(
        (
            b"",
            r.randbytes(40),
            b"participant_id\tage\nsub-02\t\xff\n",
            b"[]",
            b"{",
            b'{"Name": []}',
            b'{"DatasetType": 3}',
            r.choice(WORDS).encode("utf-8", "replace"),
        )
    )
    (root / name).write_bytes(content)
