"""The command ``brainseg``: single files without BIDS, by the same code; training; networks."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.errors import BrainsegError, InputError, MissingFileError, UsageError
from . import __version__, completion, handoff_text, resources
from .cli import Parser, device_name
from .settings import MAX_THREADS

if TYPE_CHECKING:
    from ..models.volume import Volume

USAGE = """\
brainseg COMMAND ...

  brainseg skullstrip IN OUT [--mask]            the image without skull, or its brain mask
  brainseg segment IN OUT [--volumes CSV]        structures as FreeSurfer ids, on the grid of IN
  brainseg train RECIPE --data NPZ --out DIR     train a network, or go on with its training
  brainseg train prepare OUT MAP ...             label maps to what training reads
  brainseg train template DIR                    where the structures of the template lie
  brainseg synth preview NPZ PNG                 what the generator makes of prepared maps, as a picture
  brainseg synth seeds IMAGE LABELS OUT          subclasses of intensity for the generator, from a scan
  brainseg evaluate REF PRED                     scores of a segmentation, or of folders of them
  brainseg check-derivatives OUT                 what fMRIPrep and NiBabies would take from a folder
  brainseg models {list,show,verify} [NAME]      the networks that are installed

Every command has its --help; brainseg --completion SHELL prints what a shell reads to complete them. For
BIDS datasets there is brainseg-bids."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: {USAGE}")
        return 0 if words else UsageError.exit_code
    if words[0] == "--version":
        print(f"brainseg {__version__}")
        return 0
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    try:
        if words[0] == "--completion" and words[1:] and words[1] in completion.SHELLS:
            print(completion.of_commands("brainseg", COMMANDS, words[1], Parser))
            return 0
        if name not in COMMANDS:
            raise UsageError(
                None, f"{name!r} is no command", f"There are {', '.join(COMMANDS)}; see brainseg --help"
            )
        describe, run = COMMANDS[name]
        parser = Parser(prog=f"brainseg {name}", description=run.__doc__, allow_abbrev=False)
        describe(parser)
        return run(parser.parse_intermixed_args(words[len(name.split()) :]))
    except BrainsegError as error:
        print(f"brainseg {name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"brainseg {name}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def skullstrip(given: argparse.Namespace) -> int:
    """Write IN without its skull to OUT, or its brain mask (--mask)."""
    import nibabel as nib
    import numpy as np

    scan = _read(given)
    found = _strip(scan, given)
    inside = found.mask.data.numpy() > 0
    if given.mask:
        data = inside.astype(np.uint8)
    else:
        data = np.asarray(nib.load(given.image).dataobj).reshape(inside.shape)
        data = np.where(inside, data, np.zeros((), data.dtype))
        if data.dtype.kind not in "iu" or data.dtype.itemsize > 4:
            data = data.astype(np.float32)
    _write(data, given)
    stripped = " (it came without a skull)" if found.stripped else ""
    print(f"{given.out}: brain of {inside.sum() * found.mask.grid.voxel_volume / 1000:.0f} mL{stripped}")
    return 0


def segment(given: argparse.Namespace) -> int:
    """Write the structures of IN (FreeSurfer ids, on its grid) to OUT; skull-strips by itself."""
    from ..models import bias, segmentation

    scan = _read(given)
    found = _strip(scan, given)
    print("bias correction", file=sys.stderr)
    corrected, _ = bias.correct(scan, found.mask)
    print("segmentation", file=sys.stderr)
    result = segmentation.segment(corrected, found.mask, device=_device(given))
    structures = result.structures.data.numpy().astype("int16")
    _write(structures, given)
    if given.volumes:
        _write_volumes(Path(given.volumes), result, structures, found.mask)
    for note in result.notes:
        print(f"note: {note}")
    print(f"{given.out}: {len(set(structures.ravel().tolist()) - {0})} structures")
    return 0


def train(given: argparse.Namespace) -> int:
    """Train the network of a RECIPE, a file or a name; an interrupted training goes on."""
    import yaml

    from ..training import trainer

    changes: dict[str, Any] = {}
    for text in given.changes:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(None, f"{text!r} is not key=value", "Such as minutes=120")
        changes[key] = yaml.safe_load(value)
    for path in filter(None, (given.data, given.validation)):
        _existing(path, "Make it with: brainseg train prepare OUT MAP ...")
    wanted = _recipe(given.recipe, changes)
    _threads(given)
    validation = Path(given.validation) if given.validation else None
    scans = _existing(given.scans, "Make it with: brainseg train scans OUT FOLDER") if given.scans else None
    run = trainer.Trainer(wanted, Path(given.data), Path(given.out), validation, _device(given), scans)
    print(run.run())
    return 0


def prepare(given: argparse.Namespace) -> int:
    """Make from label MAPs (NIfTI) the arrays that training reads."""
    from ..training.prepare import prepare as make

    maps = [Path(path) for path in given.maps]
    for path in [*maps, *(given.seeds or [])]:
        _existing(path)
    seeds = [Path(path) for path in given.seeds or []]
    if seeds and len(seeds) != len(maps):
        raise UsageError(
            None, f"{len(seeds)} seeds for {len(maps)} maps", "Give one for each, in their order"
        )
    make(maps, Path(given.out), given.table, seeds)
    print(f"{given.out}: {len(maps)} maps")
    return 0


def preview(given: argparse.Namespace) -> int:
    """Draw a grid of synthetic heads from prepared arrays (NPZ) and write it as a picture (PNG)."""
    from dataclasses import replace

    from ..training.generator import GeneratorConfig, HeadGenerator
    from ..training.preview import write_preview

    config = GeneratorConfig()
    if given.recipe:
        wanted = _recipe(given.recipe, {})
        stage = {k: v for k, v in wanted.stages[-1].items() if k in GeneratorConfig.__dataclass_fields__}
        config = replace(config, **(wanted.generator | stage))
    _threads(given)
    generator = HeadGenerator(_existing(given.data), config, _device(given))
    print(write_preview(generator, Path(given.out), count=given.count, seed=given.seed))
    return 0


def seeds(given: argparse.Namespace) -> int:
    """Split the meta-labels of LABELS by the intensities of IMAGE into 1 to 4 subclasses each."""
    from ..training.seeds import write_seeds

    found = write_seeds(_existing(given.image), _existing(given.labels), Path(given.out), given.table)
    print(f"{given.out}: " + ", ".join(f"meta-label {k}: {n} voxels" for k, n in found.items()))
    return 0


def template(given: argparse.Namespace) -> int:
    """Segment the template and write where its structures lie, as alignment needs it."""
    from ..training.template import write_centroids

    _threads(given)
    print(write_centroids(Path(given.folder), device=_device(given)))
    return 0


def evaluate(given: argparse.Namespace) -> int:
    """Dice, surface distances and volume errors of PRED against REF: two files, or two folders."""
    from ..training.evaluate import evaluate_paths, summarise

    frame = evaluate_paths(
        given.ref,
        given.pred,
        given.mapping,
        given.out,
        resampled=given.resample,
        surfaces=not given.no_surfaces,
    )
    mean = summarise(frame)
    print(mean.to_string(float_format=lambda value: f"{value:.3f}", na_rep="n/a"))
    print(f"mean Dice {mean['dice'].mean():.4f} over {len(mean)} structures")
    return 0


def models(given: argparse.Namespace) -> int:
    """The networks that are installed, what their cards say, and whether their files are whole."""
    from ..models import zoo

    names = [given.name] if given.name else _installed()
    if not names:
        raise MissingFileError(
            None, "no networks are installed", "Install the program again; they come with it"
        )
    bad = 0
    for name in names:
        try:
            card = zoo.load(name).card if given.action == "verify" else zoo.read_card(name)
        except zoo.ModelError as error:
            if given.action != "verify":
                raise MissingFileError(None, str(error), "See brainseg models list") from None
            bad += 1
            print(f"{name}: BAD: {error}")
            continue
        if given.action == "show":
            print(json.dumps(card, indent=2, ensure_ascii=False))
        elif given.action == "verify":
            print(f"{name}: good ({card['sha256'][:12]})")
        else:
            size = zoo.path_of(name).stat().st_size / 1e6
            about = f"{size:5.1f} MB  {card.get('spacing', '?')} mm  labels {card.get('label_table', '?')}"
            print(f"{card.get('name', name):<14} {about}  licence {card.get('licence', '?')}")
    return MissingFileError.exit_code if bad else 0


def _describe_skullstrip(parser: Parser) -> None:
    _add_image(parser)
    parser.add_argument(
        "--mask", action="store_true", help="write the mask (1 brain, 0 elsewhere), not the image"
    )


def _describe_segment(parser: Parser) -> None:
    _add_image(parser)
    parser.add_argument("--volumes", metavar="CSV", help="also write the volume of every structure")


def _add_image(parser: Parser) -> None:
    parser.add_argument("image", metavar="IN", help="a scan, .nii or .nii.gz")
    parser.add_argument("out", metavar="OUT", help="file to write, .nii or .nii.gz")
    parser.add_argument(
        "--skull-strip", choices=("auto", "skip", "force"), default="auto", help="as in brainseg-bids (auto)"
    )
    _add_compute(parser)


def _add_compute(parser: Parser) -> None:
    parser.add_argument(
        "--device",
        type=device_name,
        default="auto",
        metavar="{auto,cpu,cuda[:N],mps}",
        help="where to compute (auto)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPUs to use (default: at most 8)")


def _describe_train(parser: Parser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of one that is installed")
    parser.add_argument("changes", metavar="key=value", nargs="*", help="what is to differ from the recipe")
    parser.add_argument("--data", metavar="NPZ", required=True, help="from: brainseg train prepare")
    parser.add_argument("--out", metavar="DIR", required=True, help="checkpoint, log and weights go there")
    parser.add_argument("--validation", metavar="NPZ", help="heads that do not train, for the log's scores")
    parser.add_argument("--scans", metavar="NPZ", help="real scans, from: brainseg train scans; for scores")
    _add_compute(parser)


def _describe_prepare(parser: Parser) -> None:
    parser.add_argument("out", metavar="OUT", help="file to write, .npz")
    parser.add_argument("maps", metavar="MAP", nargs="+", help="label maps of whole heads")
    parser.add_argument("--table", default="headmaps", help=TABLE_HELP)
    parser.add_argument("--seeds", nargs="+", metavar="SEEDS", help="for each map what synth seeds wrote")


def _describe_preview(parser: Parser) -> None:
    parser.add_argument("data", metavar="NPZ", help="from: brainseg train prepare")
    parser.add_argument("out", metavar="PNG", help="picture to write")
    parser.add_argument("--recipe", metavar="RECIPE", help="whose ranges are used (default: the generator's)")
    parser.add_argument("--count", type=int, default=12, help="samples (12)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    _add_compute(parser)


def _describe_seeds(parser: Parser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a scan")
    parser.add_argument("labels", metavar="LABELS", help="its label map, on the same grid")
    parser.add_argument("out", metavar="OUT", help="file to write, .nii.gz")
    parser.add_argument("--table", required=True, help=TABLE_HELP + "; it needs the column meta")


def _describe_template(parser: Parser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder for the template's JSON")
    _add_compute(parser)


def _describe_evaluate(parser: Parser) -> None:
    parser.add_argument("ref", metavar="REF", help="what is true: a label image or a folder of them")
    parser.add_argument("pred", metavar="PRED", help="what is to be scored")
    parser.add_argument(
        "--mapping", metavar="TSV", help="labels of REF in terms of ours, such as neuromorphometrics"
    )
    parser.add_argument("--out", metavar="TSV", help="write a line for each case and structure")
    parser.add_argument(
        "--resample", action="store_true", help="bring PRED to the grid of REF, where they differ"
    )
    parser.add_argument(
        "--no-surfaces", action="store_true", help="leave out distances between surfaces (quicker)"
    )


def _describe_models(parser: Parser) -> None:
    parser.add_argument("action", choices=("list", "show", "verify"))
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="one of them, or a .safetensors file (default: all)"
    )


TABLE_HELP = "what the labels are: a .tsv file, or headmaps"

COMMANDS: dict[str, tuple[Callable[[Parser], None], Callable[[argparse.Namespace], int]]] = {
    "skullstrip": (_describe_skullstrip, skullstrip),
    "segment": (_describe_segment, segment),
    "train": (_describe_train, train),
    "train prepare": (_describe_prepare, prepare),
    "train template": (_describe_template, template),
    "synth preview": (_describe_preview, preview),
    "synth seeds": (_describe_seeds, seeds),
    "evaluate": (_describe_evaluate, evaluate),
    "models": (_describe_models, models),
    "check-derivatives": (handoff_text.describe, handoff_text.run),
}


def _existing(path: str | Path, remedy: str = "Check the path") -> Path:
    if not Path(path).is_file():
        raise UsageError(path, "the file does not exist", remedy)
    return Path(path)


def _recipe(name: str, changes: dict[str, Any]) -> Any:
    import yaml

    from ..training import recipe

    try:
        return recipe.read(name, changes)
    except (FileNotFoundError, ValueError, TypeError, yaml.YAMLError) as error:
        raise UsageError(None, str(error), "See training/recipes") from None


def _read(given: argparse.Namespace) -> Volume:
    """The scan; whether OUT can be written is looked at before anything is computed."""
    out = Path(given.out)
    if not out.name.endswith((".nii", ".nii.gz")):
        raise UsageError(out, "the output must be a NIfTI file", "End its name with .nii.gz")
    if out.resolve() == Path(given.image).resolve():
        raise UsageError(out, "the output is the input itself", "Give another name")
    for path in filter(None, (out, getattr(given, "volumes", None))):
        folder = Path(path).absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(folder, f"it cannot be written ({error.strerror})", "Give another one") from None
    from ..models import conform

    _threads(given)
    return conform.read(given.image)


def _strip(scan: Volume, given: argparse.Namespace) -> Any:
    from ..models import skullstrip as stage

    print("skull-stripping", file=sys.stderr)
    try:
        return stage.skullstrip(scan, mode=given.skull_strip, device=_device(given))
    except InputError as error:
        raise type(error)(error.path or given.image, error.reason, error.remedy) from None


def _device(given: argparse.Namespace) -> str:
    from ..models.device import resolve

    return resolve(given.device)


def _threads(given: argparse.Namespace) -> None:
    import os

    import torch

    count = given.threads or min(resources.cpus(), MAX_THREADS)
    if count < 1:
        raise UsageError(None, f"--threads {count} is too few", "Give a positive number")
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(count)
    torch.set_num_threads(count)


def _write(data: Any, given: argparse.Namespace) -> None:
    """Write an image with the geometry of the scan."""
    import nibabel as nib
    import numpy as np

    from ..interfaces import files

    source, out = nib.load(given.image), Path(given.out)
    affine, code = np.asarray(source.affine), files.geometry_code(source)
    if out.suffix == ".gz":
        files.write_image(out, data, affine, code)
        return
    image = nib.Nifti1Image(data, None, files.nifti_header(data, affine, code))
    with files.whole(out) as file:
        file.write(image.to_bytes())


def _write_volumes(path: Path, result: Any, structures: Any, mask: Volume) -> None:
    from ..interfaces import derivatives, files

    rows = derivatives.volume_rows(
        result.volumes,
        structures,
        mask.data.numpy(),
        mask.grid.voxel_volume,
        uncertainty=result.uncertainty,
    )
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(list(derivatives.VOLUME_COLUMNS))
    table.writerows(rows)
    files.write_text(path, text.getvalue())


def _installed() -> list[str]:
    from importlib.resources import files as package

    folder = Path(str(package("brainseg.models") / "weights"))
    return sorted(path.stem for path in folder.glob("*.safetensors"))


if __name__ == "__main__":
    raise SystemExit(main())
