"""The commands of ``brainseg`` that make and evaluate networks, and their arguments."""

from __future__ import annotations

from .dispatch import Command
from .parser import Parser, add_compute

TABLE = "label table of the maps: a .tsv file, or headmaps"


def _add_train(parser: Parser) -> None:
    add = parser.add_argument
    add("recipe", metavar="RECIPE", complete="recipe", help="a YAML file, or the name of an installed recipe")
    add(
        "changes",
        metavar="key=value",
        nargs="*",
        help="values that replace those of the recipe; key.part=value for one entry of a mapping",
    )
    add("--data", metavar="NPZ", complete="file", help="prepared label maps, from: brainseg train prepare")
    add(
        "--maps",
        metavar="FOLDER",
        complete="folder",
        help="label maps, or images with labels, in place of --data",
    )
    add(
        "--table",
        help=f"{TABLE}; of fetal brains fetal or feta; of your own labels a .tsv file (index, name)",
    )
    add(
        "--split",
        metavar="TSV",
        complete="file",
        help="which images with labels train, validate and are left for a test (columns case, part)",
    )
    add("--fold", type=int, metavar="K", help="fold that validates, of the folds of the recipe")
    add(
        "--out",
        metavar="DIR",
        required=True,
        complete="folder",
        help="folder for checkpoints, logs and weights",
    )
    add(
        "--validation",
        metavar="NPZ",
        complete="file",
        help="prepared label maps that are scored, not trained on",
    )
    add(
        "--scans",
        metavar="NPZ",
        complete="file",
        help="real scans that are scored, not trained on, from: brainseg train scans",
    )
    add(
        "--labeled",
        metavar="NPZ",
        complete="file",
        former=("--labelled",),
        help="other real scans to train on, from: brainseg train scans",
    )
    add(
        "--unlabeled",
        metavar="NPZ",
        complete="file",
        help="real scans without labels that a registration trains on, from: brainseg train unlabeled",
    )
    add_compute(parser)


def _add_combine(parser: Parser) -> None:
    add = parser.add_argument
    add("out", metavar="OUT", complete="file", help="file to write, NAME.safetensors, with its card")
    add("networks", metavar="NETWORK", nargs="+", complete="network", help="two or more networks")


def _add_average(parser: Parser) -> None:
    _add_combine(parser)
    parser.add_argument(
        "--eight-bits", action="store_true", help="write weights of eight bits: half the size"
    )


def _add_prepare(parser: Parser) -> None:
    add = parser.add_argument
    add("out", metavar="OUT", complete="file", help="file to write, .npz")
    add("maps", metavar="MAP", nargs="+", complete="file", help="label maps of whole heads (NIfTI)")
    add("--table", default="headmaps", help=TABLE)
    add(
        "--seeds",
        nargs="+",
        metavar="SEEDS",
        complete="file",
        help="for each map the file of brainseg synth seeds",
    )


def _add_scans(parser: Parser) -> None:
    add = parser.add_argument
    add("out", metavar="OUT", complete="file", help="file to write, .npz")
    add(
        "folder",
        metavar="FOLDER",
        complete="folder",
        help="label images (*_dseg.nii.gz), each with its scan in the same folder",
    )
    add(
        "--images",
        metavar="FOLDER",
        complete="folder",
        help="folder of the scans, if they are not with their labels",
    )
    add(
        "--recipe",
        default="segmentation",
        complete="recipe",
        help="recipe to prepare them for (default: segmentation)",
    )
    add(
        "--mapping", metavar="TSV", complete="mapping", help="labels in FOLDER and our labels, as in evaluate"
    )
    add(
        "--own-tissues",
        action="store_true",
        help="take tissues from each scan's own intensities instead of its labels: for pseudo-labels",
    )


def _add_unlabeled(parser: Parser) -> None:
    add = parser.add_argument
    add("out", metavar="OUT", complete="file", help="file to write, .npz")
    add("scans", metavar="SCAN", nargs="+", complete="file", help="scans of adults, two or more")
    add(
        "--recipe",
        default="registration",
        complete="recipe",
        help="recipe to prepare them for (default: registration)",
    )
    add_compute(parser)


def _add_preview(parser: Parser) -> None:
    add = parser.add_argument
    add("data", metavar="NPZ", complete="file", help="prepared label maps, from: brainseg train prepare")
    add("out", metavar="PNG", complete="file", help="image to write")
    add(
        "--recipe",
        metavar="RECIPE",
        complete="recipe",
        help="recipe with the generator's ranges (default: those built in)",
    )
    add("--count", type=int, default=12, help="number of samples (default: 12)")
    add("--seed", type=int, default=0, help="random seed (default: 0)")
    add_compute(parser)


def _add_seeds(parser: Parser) -> None:
    add = parser.add_argument
    add("image", metavar="IMAGE", complete="file", help="a scan")
    add("labels", metavar="LABELS", complete="file", help="its label map, on the same grid")
    add("out", metavar="OUT", complete="file", help="file to write, .nii.gz")
    add("--table", required=True, help=f"{TABLE}; it needs the column meta")


def _add_quality(parser: Parser) -> None:
    add = parser.add_argument
    add("out", metavar="DIR", complete="folder", help="folder for the norms")
    add(
        "arrays",
        metavar="NPZ",
        nargs="+",
        complete="file",
        help="prepared label maps, from: brainseg train prepare",
    )
    add("--heads", type=int, default=8, metavar="N", help="number of synthetic heads (default: 8)")


def _add_template(parser: Parser) -> None:
    add = parser.add_argument
    add("folder", metavar="DIR", complete="folder", help="folder for the files NAME.json and NAME.npz")
    add("--name", metavar="NAME", help="the bundled template (default: that of adults)")
    add(
        "--image",
        metavar="IMAGE",
        complete="file",
        help="store this image, finer, of the brain alone; segment nothing",
    )
    add_compute(parser)


def _add_atlas(parser: Parser) -> None:
    add = parser.add_argument
    add("out", metavar="OUT", complete="file", help="file to write, .npz, with a card (.json)")
    add("data", metavar="DATA", complete="file", help="prepared label maps, from: brainseg train prepare")
    add("--description", default="label maps", help="training data, for the card (default: label maps)")
    add(
        "--license",
        default="not stated",
        former=("--licence",),
        help="license of the training data, for the card (default: not stated)",
    )
    add(
        "--head",
        action="store_true",
        help="compute the mean head that the orientation of scans is compared with, instead of the atlas",
    )
    add_compute(parser)


def _add_sample(parser: Parser) -> None:
    add = parser.add_argument
    add("network", metavar="NETWORK", complete="network", help="a network of brainseg train latent-diffusion")
    add("out", metavar="OUT", complete="folder", help="folder to write")
    add("--count", type=int, default=1, metavar="N", help="number of images (default: 1)")
    add("--seed", type=int, default=0, help="seed of the first image; the next ones count up (default: 0)")
    add("--steps", type=int, default=50, metavar="N", help="steps of the diffusion (default: 50)")
    add("--suffix", default="T1w", help="contrast of the images, as BIDS names it (default: T1w)")
    add_compute(parser)


def _add_evaluate(parser: Parser) -> None:
    add = parser.add_argument
    add("ref", metavar="REF", complete="file", help="reference: a label image, or a folder of them")
    add(
        "pred",
        metavar="PRED",
        nargs="+",
        complete="file",
        help="segmentation to score: a label image, or a folder; of several, all are in one table and plot",
    )
    add(
        "--mapping",
        metavar="TSV",
        complete="mapping",
        help="labels of REF and our labels: a file, or freesurfer (aseg, aparc+aseg), fastsurfer, synthseg "
        "or neuromorphometrics",
    )
    add(
        "--mapping-pred",
        metavar="TSV",
        action="append",
        complete="mapping",
        help="the same for PRED; once for all, or once for each in their order (none: our labels)",
    )
    add(
        "--names",
        metavar="NAME",
        action="append",
        help="name of a PRED in table and plot, once for each (default: from the path)",
    )
    add(
        "--table",
        metavar="TABLE",
        complete="table",
        help="label table of both: adult, fetal, dseg (gray, white, CSF), tissue, feta, hippocampus, or a "
        ".tsv file (index, name); structures are summed up to tissues (default: the table that fits both)",
    )
    add("--out", metavar="TSV", complete="file", help="write one row per case and structure")
    add("--plot", metavar="PNG", complete="file", help="draw the scores by structure (.png, .svg or .pdf)")
    add("--resample", action="store_true", help="resample PRED to the grid of REF if they differ")
    add("--no-surfaces", action="store_true", help="leave out surface distances (faster)")
    add(
        "--registration",
        metavar="XFM",
        complete="file",
        help="score a transform that resamples PRED onto REF: .h5 of ITK or .npz of Learn2Reg; or a .tsv of "
        "pairs (fixed, moving, transform), with REF and PRED the folders of the label images",
    )


def _add_models(parser: Parser) -> None:
    parser.add_argument("action", choices=("list", "show", "verify", "add"), help="what to do")
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        complete="network",
        help="an installed network, or a .safetensors file (default: all)",
    )


def _command(
    usage: str, summary: str, description: str, add_arguments, function: str, extra: str = "train"
) -> Command:
    return Command(usage, summary, description, add_arguments, f"brainseg.bidsapp.tools.{function}", extra)


COMMANDS: dict[str, Command] = {
    "train": _command(
        "RECIPE --data NPZ --out DIR",
        "train a network, or continue its training",
        "Train the network of a RECIPE, a file or an installed one; an interrupted training continues. It "
        "reads prepared label maps (--data), or prepares label maps itself (--maps) and keeps every fifth "
        "for validation.",
        _add_train,
        "train:run",
    ),
    "train prepare": _command(
        "OUT MAP ...",
        "prepare label maps for training",
        "Prepare label maps (NIfTI) for training.",
        _add_prepare,
        "training_data:prepare",
    ),
    "train combine": _command(
        "OUT NETWORK ...",
        "combine networks, such as those of the folds, into one",
        "Write networks of your own labels as one network, whose probabilities are the mean of theirs.",
        _add_combine,
        "train:combine",
    ),
    "train average": _command(
        "OUT NETWORK ...",
        "average the weights of trainings that began from the same weights",
        "Write the mean of the weights of several trainings of one network that began from the same weights.",
        _add_average,
        "train:average",
    ),
    "train scans": _command(
        "OUT FOLDER",
        "prepare real scans with labels, to score a training",
        "Prepare real scans with labels, so that a training can be scored on them. FOLDER has a label image "
        "*_dseg.nii.gz for every scan, with the same subject in its BIDS name; the scan is in the same "
        "folder, or in the folder --images.",
        _add_scans,
        "training_data:scans",
    ),
    "train unlabeled": _command(
        "OUT SCAN ...",
        "prepare scans without labels for the training of a registration",
        "Prepare real SCANs without labels, which train a registration network by their intensities "
        "(--unlabeled of brainseg train registration).",
        _add_unlabeled,
        "training_data:unlabeled",
    ),
    "train atlas": _command(
        "OUT DATA",
        "build an atlas of the deep structures",
        "Build an atlas of the deep structures from the prepared label maps DATA. A segmentation network "
        "uses the atlas that its model card names.",
        _add_atlas,
        "calibration:atlas",
    ),
    "train template": _command(
        "DIR",
        "segment a bundled template, or store its image",
        "Segment a bundled template and write its structures and their centroids, which registration starts "
        "from; or store its image on the grid of 1 mm (--image).",
        _add_template,
        "calibration:template",
    ),
    "train quality": _command(
        "DIR NPZ ...",
        "compute the normal ranges of quality control",
        "Compute the normal ranges of quality control from prepared label maps, and calibrate it.",
        _add_quality,
        "calibration:quality",
    ),
    "synth preview": _command(
        "NPZ PNG",
        "draw synthetic images of prepared label maps",
        "Draw a grid of synthetic heads or fetal brains from prepared label maps.",
        _add_preview,
        "training_data:preview",
    ),
    "synth sample": _command(
        "NETWORK OUT --count N",
        "draw images of brains by latent diffusion, as a BIDS folder",
        "Draw images of brains with a network of brainseg train latent-diffusion, and write them to OUT as a "
        "BIDS folder, which brainseg pseudolabel and brainseg-bids read.",
        _add_sample,
        "samples:run",
    ),
    "synth seeds": _command(
        "IMAGE LABELS OUT",
        "split labels into intensity classes, for the generator",
        "Split the meta-labels of LABELS by the intensities of IMAGE into 1 to 4 classes each.",
        _add_seeds,
        "training_data:seeds",
    ),
    "evaluate": _command(
        "REF PRED",
        "score a segmentation, or a folder of segmentations",
        "Compute Dice, surface distances and volume errors of PRED against REF: two files, or two folders. "
        "With --registration REF are the labels of the fixed image and PRED those of the moving image.",
        _add_evaluate,
        "evaluate:run",
    ),
    "models": _command(
        "{list,show,verify,add} [NAME]",
        "list, show, verify or add networks",
        "List the installed networks, show their model cards, verify their files, or add a network.",
        _add_models,
        "models:run",
        extra="",
    ),
}
