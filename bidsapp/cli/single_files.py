"""The commands of ``brainseg`` for single files without BIDS, and their arguments."""

from __future__ import annotations

from typing import Any

from ...models.population import populations
from .dispatch import Command
from .parser import Parser, add_compute


def _add_image(parser: Parser, *, several: bool = False) -> None:
    add = parser.add_argument
    what = (
        "scans (.nii, .nii.gz or .mgz), or a folder of scans" if several else "a scan (.nii, .nii.gz or .mgz)"
    )
    count: dict[str, Any] = {"nargs": "+"} if several else {}
    add("image", metavar="IN", complete="file", help=what, **count)
    folder = "; a folder if there are several scans" if several else ""
    add("out", metavar="OUT", complete="file", help=f"file to write (.nii or .nii.gz){folder}")
    add(
        "--reorient",
        nargs="?",
        const="auto",
        default="",
        metavar="CODES",
        help="correct the orientation in the header of OUT; auto (without CODES): where the head shows that "
        "the header is wrong; CODES: true direction of the voxel axes, such as LIA",
    )
    add(
        "--skull-strip",
        choices=("auto", "skip", "force"),
        default="auto",
        help="auto: detect stripped images; skip: assume stripped; force: always strip (default: auto)",
    )
    add(
        "--population",
        choices=populations.trained(),
        default="adult",
        help="population of the brain (default: adult)",
    )
    add_compute(parser)


def _add_skullstrip(parser: Parser) -> None:
    _add_image(parser)
    parser.add_argument(
        "--mask", action="store_true", help="write the brain mask (1 brain, 0 elsewhere), not the image"
    )


def _add_segment(parser: Parser) -> None:
    _add_image(parser, several=True)
    add = parser.add_argument
    add(
        "--tissues",
        metavar="NII",
        complete="file",
        help="also write the tissues: 1 gray matter, 2 white matter, 3 ventricles, 4 CSF, 5 deep gray matter",
    )
    add("--volumes", metavar="CSV", complete="file", help="also write the volumes of the structures (mm3)")
    add(
        "--posteriors", metavar="NII", complete="file", help="also write the probabilities of structures, 4-D"
    )
    add(
        "--model",
        metavar="NAME",
        complete="network",
        help="another network: one of brainseg models list, or a .safetensors file",
    )
    add(
        "--effort",
        choices=("fast", "accurate"),
        default="fast",
        former=("--quality",),
        help="accurate: average over the image and its mirror image in every pass, not in the last one alone "
        "(default: fast)",
    )
    add(
        "--corpus-callosum",
        action="store_true",
        help="segment it separately from white matter (fetal brains)",
    )


def _add_lesion(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "image",
        metavar="IN",
        complete="file",
        help="a FLAIR image, a folder of TIFF slices (NAME_1.tif, ...), or a folder of patients with either",
    )
    add(
        "out",
        metavar="OUT",
        complete="file",
        help="mask to write (.nii.gz); a folder if IN is one, where slices get NAME_1_mask.tif, ...",
    )
    add(
        "--model",
        metavar="NAME",
        default="lesion",
        complete="network",
        help="another network: one of brainseg models list, or a .safetensors file (default: lesion)",
    )
    add("--brain-mask", metavar="MASK", complete="file", help="brain mask of IN (default: computed)")
    add(
        "--with",
        dest="further",
        metavar="IMAGE",
        nargs="+",
        default=[],
        complete="file",
        help="images of the further contrasts of a network of yours, in the order of its card",
    )
    add(
        "--channel",
        type=int,
        default=0,
        metavar="N",
        help="channel of slices for a network of one contrast (default: 2 of 3, FLAIR in the LGG data set)",
    )
    add("--largest", action="store_true", help="keep the largest lesion only (default: all of 15 mm3)")
    add(
        "--threshold",
        type=float,
        default=0.5,
        metavar="P",
        help="smallest probability of a lesion voxel (default: 0.5)",
    )
    add(
        "--table",
        metavar="TSV",
        complete="file",
        help="write number, volumes and Dice by patient (of a folder by default: OUT/lesions.tsv)",
    )
    add(
        "--overlays",
        metavar="DIR",
        complete="folder",
        help="draw slices, lesions in red and given masks in green (of a folder by default: OUT/overlays)",
    )
    add(
        "--chart",
        metavar="PNG",
        complete="file",
        help="draw Dice by patient where masks are given (of a folder by default: OUT/dice.png)",
    )
    add_compute(parser)


def _add_register(parser: Parser) -> None:
    add = parser.add_argument
    add("moving", metavar="MOVING", complete="file", help="a scan of any contrast")
    add(
        "fixed",
        metavar="FIXED",
        complete="template",
        help="another scan, or a template as in --output-spaces of brainseg-bids",
    )
    _add_transforms(parser)
    add(
        "--population",
        choices=populations.trained(),
        help="population of both brains (default: that of the template, else adult)",
    )
    add("--jacobian", metavar="IMAGE", complete="file", help="also write the Jacobian determinant, on FIXED")
    add(
        "--engine",
        choices=("deep", "ants", "none"),
        default="deep",
        help="deep: diffeomorphic, initialized by a network; ants: SyN; none: affine only (default: deep)",
    )
    add("--refine", type=int, metavar="N", help="iterations of deep at the finest level, 2 mm")
    add(
        "--start",
        metavar="NETWORK",
        complete="network",
        help="network that predicts the initial deformation of deep, or none (default: by population)",
    )
    add(
        "--kind",
        choices=("affine", "similarity", "rigid"),
        help="compute only this linear transform, no deformation",
    )
    add_compute(parser)


def _add_transforms(parser: Parser, *, optional: bool = False) -> None:
    """Add the outputs of a registration."""
    add = parser.add_argument
    count: dict[str, Any] = {"nargs": "?"} if optional else {}
    add(
        "out",
        metavar="OUT.h5",
        complete="file",
        help="transform that resamples MOVING onto FIXED (ITK)",
        **count,
    )
    add(
        "--inverse",
        metavar="OUT.h5",
        complete="file",
        help="also write the transform that resamples FIXED onto MOVING",
    )
    add("--moved", metavar="IMAGE", complete="file", help="also write MOVING on the grid of FIXED")
    add(
        "--labels",
        nargs=2,
        metavar=("IN", "OUT"),
        complete="file",
        help="also resample a label image of MOVING onto FIXED",
    )


def _add_hippocampus(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "moving",
        metavar="MOVING",
        nargs="?",
        complete="file",
        help="a T1w image cropped around one hippocampus",
    )
    add("fixed", metavar="FIXED", nargs="?", complete="file", help="another one, of the same side")
    _add_transforms(parser, optional=True)
    add(
        "--pairs",
        metavar="PAIRS",
        complete="file",
        help="table (.tsv or .csv) with the columns fixed and moving, in place of MOVING, FIXED and OUT.h5: "
        "files, or the numbers at the end of their names",
    )
    add(
        "--images",
        metavar="DIR",
        complete="folder",
        help="folder of the images of --pairs (default: its own)",
    )
    add(
        "--out",
        dest="folder",
        metavar="DIR",
        complete="folder",
        help="folder for the displacements of --pairs (disp_0001_0002.npz) and their table",
    )
    add("--zip", action="store_true", help="also write the displacements of --pairs as submission.zip")
    add("--plots", action="store_true", help="also draw parts of every pair: fixed in green, moved in red")
    add(
        "--parts",
        metavar="IMAGE",
        complete="file",
        help="also write the segmentation of MOVING (1 anterior, 2 posterior)",
    )
    add(
        "--grid",
        metavar="NPY",
        complete="file",
        help="also write the position in MOVING of each voxel of FIXED (voxels, float32)",
    )
    add(
        "--submission",
        metavar="NPZ",
        complete="file",
        help="also write the displacement field in the format of Learn2Reg (float16)",
    )
    add(
        "--every",
        type=int,
        choices=(1, 2),
        default=1,
        help="voxel step of --submission; 2: half the resolution (default: 1)",
    )
    add("--model", metavar="NAME", complete="network", help="another network that registers hippocampi")
    add_compute(parser)


def _add_pseudolabel(parser: Parser) -> None:
    add = parser.add_argument
    add("atlas", metavar="ATLAS", complete="file", help="a scan with labels")
    add("labels", metavar="LABELS", complete="file", help="its labels, on its grid")
    add(
        "scans",
        metavar="SCAN",
        nargs="+",
        complete="file",
        help="scans without labels: files, BIDS folders, or derivatives of brainseg-bids",
    )
    add("--out", metavar="DIR", required=True, complete="folder", help="folder for one label image per scan")
    add(
        "--min-quality",
        type=float,
        metavar="DICE",
        help="leave out scans whose expected Dice, or whose overlap with the atlas after the registration, "
        "is below this, and scans rated fail (default: leave out none)",
    )
    add("--suffix", default="T1w", help="contrast of the scans in folders, as BIDS names it (default: T1w)")
    add("--refine", type=int, metavar="N", help="iterations of the registration at the finest level, 2 mm")
    add_compute(parser)


COMMANDS: dict[str, Command] = {
    "skullstrip": Command(
        "IN OUT [--mask]",
        "write the image without skull, or its brain mask",
        "Write IN without its skull to OUT, or its brain mask (--mask).",
        _add_skullstrip,
        "brainseg.bidsapp.tools.skullstrip:run",
    ),
    "segment": Command(
        "IN [IN ...] OUT [--volumes CSV]",
        "segment into structures (FreeSurfer labels), on the grid of IN",
        "Skull-strip and segment IN and write the structures (FreeSurfer labels, on the grid of IN) to "
        "OUT. Several images are segmented into the folder OUT, NAME_dseg.nii.gz; so is every image in a "
        "folder, with the same relative path.",
        _add_segment,
        "brainseg.bidsapp.tools.segment:run",
    ),
    "lesion": Command(
        "IN OUT [--model NAME]",
        "segment lesions of FLAIR images, or of TIFF slices",
        "Segment the lesions of IN, on its own grid: an image, a folder of TIFF slices, or a folder of "
        "patients with either. Masks beside the images (NAME_label-lesion_mask.nii.gz, NAME_1_mask.tif) are "
        "compared with.",
        _add_lesion,
        "brainseg.bidsapp.tools.lesions.command:run",
    ),
    "register": Command(
        "MOVING FIXED OUT.h5",
        "register any scan to another or to a template",
        "Register MOVING to FIXED, affine, then diffeomorphic; their contrasts may differ.",
        _add_register,
        "brainseg.bidsapp.tools.register:run",
    ),
    "hippocampus": Command(
        "MOVING FIXED OUT.h5 | --pairs PAIRS --out DIR",
        "register crops of a hippocampus (Learn2Reg, task 4)",
        "Register MOVING to FIXED, two T1w images cropped around one hippocampus each: affine, then "
        "diffeomorphic. Or register all pairs of a table.",
        _add_hippocampus,
        "brainseg.bidsapp.tools.hippocampi.command:run",
    ),
    "pseudolabel": Command(
        "ATLAS LABELS SCAN ... --out DIR",
        "transfer the labels of one scan to others",
        "Transfer the LABELS of an ATLAS to SCANs, by the inverse of the registration of each scan to the "
        "atlas.",
        _add_pseudolabel,
        "brainseg.bidsapp.tools.pseudolabels.command:run",
    ),
}
