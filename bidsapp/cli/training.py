"""The commands of ``brainseg`` that make and judge networks: training, synthetic images, scores, cards."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...models.errors import InputError, UsageError
from . import models
from .bids import Parser
from .options import add_compute, device, threads

TABLE_HELP = "what the labels are: a .tsv file, or headmaps"


def train(given: argparse.Namespace) -> int:
    """Train the network of a RECIPE, a file or a name; an interrupted training goes on.

    It reads prepared arrays (--data), or label maps that it prepares itself (--maps): every fifth of them
    is kept for validation.
    """
    import yaml

    from ...training.core import trainer
    from ...training.fetal import trainer as fetal_trainer
    from ...training.hippocampus import trainer as hippocampus_trainer
    from ...training.kinds import cache
    from ...training.lesion import trainer as lesion_trainer
    from ...training.registration import trainer as velocity_trainer

    changes: dict[str, Any] = {}
    for text in given.changes:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(None, f"{text!r} is not key=value", "Such as minutes=120")
        changes[key] = yaml.safe_load(value)
    for path in filter(None, (given.data, given.validation)):
        _existing(path, "Make it with: brainseg train prepare OUT MAP ...")
    wanted, out = _recipe(given.recipe, changes), Path(given.out)
    if bool(given.data) == bool(given.maps) and not (given.data and wanted.kind == lesion_trainer.KIND):
        raise UsageError(None, "training needs data", "Give either --data or --maps")
    threads(given)
    data, validation = given.data, given.validation
    hippocampal = wanted.kind in (*hippocampus_trainer.KINDS, *hippocampus_trainer.VELOCITY_KINDS)
    if given.table and (hippocampal or wanted.kind == lesion_trainer.KIND):
        raise UsageError(None, f"the recipe {wanted.name} has no use for a table", "Leave out --table")
    if wanted.kind == lesion_trainer.KIND:
        print(lesion_trainer.made(wanted, given.maps, given.data, out, device(given)).run())
        return 0
    if given.maps and hippocampal:
        data, held_out = hippocampus_trainer.prepared(Path(given.maps), out)
        validation = validation or held_out
    elif given.maps:
        before_birth = wanted.kind in fetal_trainer.KINDS
        make, table = (cache.fetuses, "fetal") if before_birth else (cache.heads, "headmaps")
        data, held_out, count = make(Path(given.maps), out, given.table or table)
        wanted = cache.described(wanted, changes, Path(given.maps), count)
        validation = validation or held_out
    scans = _existing(given.scans, "Make it with: brainseg train scans OUT FOLDER") if given.scans else None
    validation = Path(validation) if validation else None
    maker = trainer.Trainer
    for other, kinds in (
        (fetal_trainer.FetalTrainer, fetal_trainer.KINDS),
        (velocity_trainer.VelocityTrainer, velocity_trainer.KINDS),
        (hippocampus_trainer.HippocampusTrainer, hippocampus_trainer.KINDS),
        (hippocampus_trainer.HippocampusVelocityTrainer, hippocampus_trainer.VELOCITY_KINDS),
    ):
        maker = other if wanted.kind in kinds else maker
    labelled = _labelled(given.labelled, wanted)
    print(maker(wanted, Path(data), out, validation, device(given), scans, labelled).run())
    return 0


def _labelled(path: str | None, wanted: Any) -> Path | None:
    """Real scans that train, if the recipe has a share for them."""
    if path is None and not wanted.real:
        return None
    if wanted.kind != "cascade":
        raise UsageError(None, f"the recipe {wanted.name} trains on no real scans", "Leave out --labelled")
    if path is None:
        raise UsageError(
            None,
            f"the recipe {wanted.name} trains on real scans too",
            "Give --labelled NPZ, from: brainseg train scans; or real=0",
        )
    if not wanted.real:
        raise UsageError(None, f"the recipe {wanted.name} has no share of real scans", "Give real=0.3")
    return _existing(path, "Make it with: brainseg train scans OUT FOLDER")


def prepare(given: argparse.Namespace) -> int:
    """Make from label MAPs (NIfTI) the arrays that training reads."""
    from ...training.data.prepare import prepare as make

    maps = [Path(path) for path in given.maps]
    for path in [*maps, *(given.seeds or [])]:
        _existing(path)
    seeds = [Path(path) for path in given.seeds or []]
    if seeds and len(seeds) != len(maps):
        raise UsageError(None, f"{len(seeds)} seeds for {len(maps)} maps", "Give one for each")
    make(maps, Path(given.out), given.table, seeds)
    print(f"{given.out}: {len(maps)} maps")
    return 0


def scans(given: argparse.Namespace) -> int:
    """Prepare real scans with labels from a FOLDER, so that training can score itself on them.

    The folder holds a label image *_dseg.nii.gz for every scan, of the same subject, in BIDS names; the scan
    lies beside it, or in the folder --images.
    """
    from ...models.networks import zoo
    from ...training.evaluation.segmentation import read_mapping
    from ...training.heads.validation import prepare_scans

    wanted = _recipe(given.recipe, {})
    if not wanted.coarse:
        raise UsageError(None, f"the recipe {wanted.name} is no cascade", "Choose one, such as segmentation")
    stride = zoo.ARCHITECTURES[wanted.network](**wanted.architecture).stride
    pairs = _scans_and_labels(Path(given.folder), Path(given.images) if given.images else None)
    prepare_scans(
        pairs,
        Path(given.out),
        coarse=wanted.coarse,
        spacing=wanted.stages[-1]["spacing"],
        stride=stride,
        table=wanted.table,
        mapping=read_mapping(given.mapping) if given.mapping else None,
    )
    print(f"{given.out}: {len(pairs)} scans")
    return 0


def _scans_and_labels(folder: Path, images_in: Path | None = None) -> list[tuple[str, Path, Path]]:
    found = []
    for labels in sorted(folder.rglob("*_dseg.nii.gz")):
        subject = labels.name.split("_")[0]
        images = [
            path
            for path in sorted(
                images_in.rglob(f"{subject}_*.nii.gz")
                if images_in
                else labels.parent.glob(f"{subject}_*.nii.gz")
            )
            if path.name.split(".")[0].endswith(("T1w", "T2w", "FLAIR", "PDw"))
        ]
        if len(images) != 1:
            where = f"in {images_in}" if images_in else "beside it"
            raise InputError(labels, f"{len(images)} scans lie {where}", "Leave exactly one there")
        found.append((subject, images[0], labels))
    if not found:
        raise UsageError(folder, "there is no *_dseg.nii.gz in it", "Give a folder of scans with labels")
    return found


def preview(given: argparse.Namespace) -> int:
    """Draw a grid of synthetic heads, or fetal brains, from prepared arrays (NPZ) as a picture (PNG)."""
    from dataclasses import replace

    from ...training.fetal import preview as fetal_preview
    from ...training.fetal import trainer as fetal_trainer
    from ...training.hippocampus import trainer as hippocampus_trainer
    from ...training.synthesis.generator import GeneratorConfig, HeadGenerator
    from ...training.synthesis.preview import write_preview

    config, data, out = GeneratorConfig(), _existing(given.data), Path(given.out)
    if given.count < 1:
        raise UsageError(None, f"--count {given.count} is no number of samples", "Give 1 or more")
    wanted = _recipe(given.recipe, {}) if given.recipe else None
    threads(given)
    if wanted and wanted.kind in fetal_trainer.KINDS:
        source = fetal_trainer.samples(wanted, wanted.stages[-1], data, device(given))
        print(fetal_preview.write_preview(source, out, count=given.count, seed=given.seed))
        return 0
    if wanted and wanted.kind in (*hippocampus_trainer.KINDS, *hippocampus_trainer.VELOCITY_KINDS):
        raise UsageError(
            None, f"the recipe {wanted.name} makes no heads", "Choose one of heads or of fetuses"
        )
    if wanted:
        stage = {k: v for k, v in wanted.stages[-1].items() if k in GeneratorConfig.__dataclass_fields__}
        config = replace(config, **(wanted.generator | stage))
    generator = HeadGenerator(data, config, device(given))
    print(write_preview(generator, out, count=given.count, seed=given.seed))
    return 0


def seeds(given: argparse.Namespace) -> int:
    """Split the meta-labels of LABELS by the intensities of IMAGE into 1 to 4 subclasses each."""
    from ...training.data.intensity_classes import write_seeds

    found = write_seeds(_existing(given.image), _existing(given.labels), Path(given.out), given.table)
    print(f"{given.out}: " + ", ".join(f"meta-label {k}: {n} voxels" for k, n in found.items()))
    return 0


def norms(given: argparse.Namespace) -> int:
    """Make what quality control takes for usual, and calibrate it, from prepared label maps."""
    from ...training.calibration.qc_norms import build

    print(build([Path(path) for path in given.arrays], Path(given.out), heads=given.heads))
    return 0


def template(given: argparse.Namespace) -> int:
    """Segment the template and write where its structures lie, as alignment needs it."""
    from ...training.calibration.centroids import write_centroids

    threads(given)
    print(write_centroids(Path(given.folder), device=device(given)))
    return 0


def shapes(given: argparse.Namespace) -> int:
    """Learn an atlas of the deep structures from the prepared arrays DATA; OUT is its file (.npz).

    A segmentation network uses the atlas that its card names.
    """
    from ...training.calibration.atlas import write

    threads(given)
    data = _existing(given.data, "Make it with: brainseg train prepare OUT MAPS")
    print(write(Path(given.out), data, given.description, given.licence))
    return 0


def evaluate(given: argparse.Namespace) -> int:
    """Dice, surface distances and volume errors of PRED against REF: two files, or two folders.

    With --registration REF are the labels of the fixed image, PRED those of the moving one.
    """
    from ...training.evaluation.registration import evaluate_pairs, told
    from ...training.evaluation.segmentation import evaluate_paths, summarise

    if given.registration:
        print(told(evaluate_pairs(given.ref, given.pred, given.registration, given.out)))
        return 0
    frame = evaluate_paths(
        given.ref,
        given.pred,
        given.mapping,
        given.out,
        resampled=given.resample,
        surfaces=not given.no_surfaces,
    )
    if given.plot:
        from ...training.evaluation.plot import write_plot

        write_plot(frame, Path(given.plot))
    mean = summarise(frame)
    print(mean.to_string(float_format=lambda value: f"{value:.3f}", na_rep="n/a"))
    print(f"mean Dice {mean['dice'].mean():.4f} over {len(mean)} structures")
    return 0


def _existing(path: str | Path, remedy: str = "Check the path") -> Path:
    if not Path(path).is_file():
        raise UsageError(path, "the file does not exist", remedy)
    return Path(path)


def _recipe(name: str, changes: dict[str, Any]) -> Any:
    import yaml

    from ...training.core import recipe

    try:
        return recipe.read(name, changes)
    except (FileNotFoundError, ValueError, TypeError, yaml.YAMLError) as error:
        raise UsageError(None, str(error), "See training/recipes") from None


def _describe_train(parser: Parser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of one that is installed")
    parser.add_argument("changes", metavar="key=value", nargs="*", help="what is to differ from the recipe")
    parser.add_argument("--data", metavar="NPZ", help="from: brainseg train prepare")
    parser.add_argument("--maps", metavar="FOLDER", help="label maps in place of --data")
    parser.add_argument("--table", help=TABLE_HELP + "; of fetuses fetal or feta")
    parser.add_argument("--out", metavar="DIR", required=True, help="checkpoint, logs and weights go there")
    parser.add_argument("--validation", metavar="NPZ", help="heads that do not train, for the log's scores")
    parser.add_argument("--scans", metavar="NPZ", help="real scans, from: brainseg train scans; for scores")
    parser.add_argument("--labelled", metavar="NPZ", help="the same, of other scans; they train")
    add_compute(parser)


def _describe_prepare(parser: Parser) -> None:
    parser.add_argument("out", metavar="OUT", help="file to write, .npz")
    parser.add_argument("maps", metavar="MAP", nargs="+", help="label maps of whole heads")
    parser.add_argument("--table", default="headmaps", help=TABLE_HELP)
    parser.add_argument("--seeds", nargs="+", metavar="SEEDS", help="for each map what synth seeds wrote")


def _describe_scans(parser: Parser) -> None:
    parser.add_argument("out", metavar="OUT", help="file to write, .npz")
    parser.add_argument("folder", metavar="FOLDER", help="scans, each with a *_dseg.nii.gz beside")
    parser.add_argument("--images", metavar="FOLDER", help="where the scans are, if not beside their labels")
    parser.add_argument("--recipe", default="segmentation", help="for which recipe (segmentation)")
    parser.add_argument("--mapping", metavar="TSV", help="the labels in terms of ours, as in evaluate")


def _describe_preview(parser: Parser) -> None:
    parser.add_argument("data", metavar="NPZ", help="from: brainseg train prepare")
    parser.add_argument("out", metavar="PNG", help="picture to write")
    parser.add_argument("--recipe", metavar="RECIPE", help="whose ranges are used (default: the generator's)")
    parser.add_argument("--count", type=int, default=12, help="samples (12)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    add_compute(parser)


def _describe_seeds(parser: Parser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a scan")
    parser.add_argument("labels", metavar="LABELS", help="its label map, on the same grid")
    parser.add_argument("out", metavar="OUT", help="file to write, .nii.gz")
    parser.add_argument("--table", required=True, help=TABLE_HELP + "; it needs the column meta")


def _describe_norms(parser: Parser) -> None:
    parser.add_argument("out", metavar="DIR", help="folder for the norms")
    parser.add_argument("arrays", metavar="NPZ", nargs="+", help="label maps that train prepare prepared")
    parser.add_argument("--heads", type=int, default=8, metavar="N", help="synthetic heads (default: 8)")


def _describe_template(parser: Parser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder for the template's JSON")
    add_compute(parser)


def _describe_shapes(parser: Parser) -> None:
    parser.add_argument("out", metavar="OUT", help="file to write, .npz; its card goes beside it")
    parser.add_argument("data", metavar="DATA", help="from: brainseg train prepare")
    parser.add_argument("--description", default="label maps", help="training data, for the card")
    parser.add_argument("--licence", default="not stated", help="of the training data, for the card")
    add_compute(parser)


def _describe_evaluate(parser: Parser) -> None:
    parser.add_argument("ref", metavar="REF", help="what is true: a label image or a folder of them")
    parser.add_argument("pred", metavar="PRED", help="what is to be scored")
    parser.add_argument(
        "--mapping", metavar="TSV", help="labels of REF in terms of ours, such as neuromorphometrics"
    )
    parser.add_argument("--out", metavar="TSV", help="write a line for each case and structure")
    parser.add_argument("--plot", metavar="PNG", help="draw the scores by structure (.png, .svg or .pdf)")
    parser.add_argument(
        "--resample", action="store_true", help="bring PRED to the grid of REF, where they differ"
    )
    parser.add_argument(
        "--no-surfaces", action="store_true", help="leave out distances between surfaces (quicker)"
    )

    parser.add_argument(
        "--registration",
        metavar="XFM",
        help="score what resamples PRED onto REF instead: an .h5 of ITK's, an .npz of Learn2Reg's, or a .tsv "
        "of pairs (fixed, moving, transform), REF and PRED being the folders of the label images",
    )


COMMANDS: dict[str, tuple[Callable[[Parser], None], Callable[[argparse.Namespace], int]]] = {
    "train": (_describe_train, train),
    "train prepare": (_describe_prepare, prepare),
    "train scans": (_describe_scans, scans),
    "train atlas": (_describe_shapes, shapes),
    "train template": (_describe_template, template),
    "train quality": (_describe_norms, norms),
    "synth preview": (_describe_preview, preview),
    "synth seeds": (_describe_seeds, seeds),
    "evaluate": (_describe_evaluate, evaluate),
    "models": (models.describe, models.models),
}
