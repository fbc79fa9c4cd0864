"""The command ``brainseg``: single files without BIDS, by the same code; training; networks."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.errors import BrainsegError, InputError, MissingFileError, UsageError
from ...models.population import populations
from .. import __version__
from ..execution import licenses
from . import check_derivatives, completion, hippocampus, register, training
from .bids import Parser
from .options import add_compute, device
from .options import threads as _threads

if TYPE_CHECKING:
    from ...models.geometry.volume import Volume

USAGE = """\
brainseg COMMAND ...

  brainseg skullstrip IN OUT [--mask]            the image without skull, or its brain mask
  brainseg segment IN OUT [--volumes CSV]        structures as FreeSurfer ids, on the grid of IN
  brainseg register MOVING FIXED OUT.h5          any scan onto any other or a template, transform and images
  brainseg hippocampus MOVING FIXED OUT.h5       one hippocampus onto another, from crops (Learn2Reg, task 4)
  brainseg pseudolabel ATLAS LABELS SCAN ...     labels of one scan carried onto others
  brainseg train RECIPE --data NPZ --out DIR     train a network, or go on with its training
  brainseg train RECIPE --maps DIR --out DIR     the same from a folder of label maps
  brainseg train prepare OUT MAP ...             label maps to what training reads
  brainseg train scans OUT DIR                   real scans with labels, for scores while training
  brainseg train atlas OUT DATA                  an atlas of the deep structures
  brainseg train template DIR                    where the structures of the template lie
  brainseg train quality DIR NPZ ...             what quality control takes for usual
  brainseg synth preview NPZ PNG                 what the generator makes of prepared maps, as a picture
  brainseg synth seeds IMAGE LABELS OUT          subclasses of intensity for the generator, from a scan
  brainseg evaluate REF PRED                     scores of a segmentation, or of folders of them
  brainseg check-derivatives OUT                 what fMRIPrep and NiBabies would take from a folder
  brainseg models {list,show,verify,add} [NAME]  the networks that are installed

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

    licenses.tell(given)
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
    """Write the structures of IN (FreeSurfer ids, on its grid) to OUT; skull-strips by itself.

    If IN is a folder, every image in it is segmented into the folder OUT, at the same place.
    """
    licenses.tell(given)
    return _each(_segment, given) if Path(given.image).is_dir() else _segment(given)


def _segment(given: argparse.Namespace) -> int:
    """Segment one image."""
    from ...models.preprocessing import bias
    from ...models.segmentation import segmentation

    scan = _read(given)
    _refuse_stack(given)
    more = _network(given)
    found = _strip(scan, given)
    print("bias correction", file=sys.stderr)
    corrected, _ = bias.correct(scan, found.mask)
    print("segmentation", file=sys.stderr)
    result = segmentation.segment(corrected, found.mask, device=device(given), **more)
    structures = result.structures.data.numpy().astype("int16")
    _write(structures, given)
    if given.volumes:
        table = _table(given)
        _write_volumes(Path(given.volumes), result, structures, found.mask, table)
    if given.posteriors:
        _write_posteriors(Path(given.posteriors), result, scan, given)
    for note in result.notes:
        print(f"note: {note}")
    print(f"{given.out}: {len(set(structures.ravel().tolist()) - {0})} structures")
    return 0


def _describe_skullstrip(parser: Parser) -> None:
    _add_image(parser)
    parser.add_argument(
        "--mask", action="store_true", help="write the mask (1 brain, 0 elsewhere), not the image"
    )


def _describe_segment(parser: Parser) -> None:
    _add_image(parser)
    parser.add_argument("--volumes", metavar="CSV", help="also write the volume of every structure")
    parser.add_argument("--posteriors", metavar="NII", help="also write every structure's probability, 4-D")
    parser.add_argument("--model", metavar="NAME", help="another network: its name, or a .safetensors file")
    parser.add_argument(
        "--quality", choices=("fast", "accurate"), default="fast", help="as in brainseg-bids (fast)"
    )
    parser.add_argument(
        "--corpus-callosum", action="store_true", help="tell it apart from white matter (brains before birth)"
    )


def _add_image(parser: Parser) -> None:
    parser.add_argument("image", metavar="IN", help="a scan, .nii or .nii.gz")
    parser.add_argument("out", metavar="OUT", help="file to write, .nii or .nii.gz")
    parser.add_argument(
        "--skull-strip", choices=("auto", "skip", "force"), default="auto", help="as in brainseg-bids (auto)"
    )
    parser.add_argument(
        "--population", choices=populations.trained(), default="adult", help="whose brain it is (adult)"
    )
    add_compute(parser)


COMMANDS: dict[str, tuple[Callable[[Parser], None], Callable[[argparse.Namespace], int]]] = {
    "skullstrip": (_describe_skullstrip, skullstrip),
    "segment": (_describe_segment, segment),
    "register": (register.describe, register.run),
    "hippocampus": (hippocampus.describe, hippocampus.run),
    "pseudolabel": (register.describe_pseudolabel, register.pseudolabel),
    **training.COMMANDS,
    "check-derivatives": (check_derivatives.describe, check_derivatives.run),
}


def _each(run: Callable[[argparse.Namespace], int], given: argparse.Namespace) -> int:
    """Run a command on every image of a folder; what fails is told, and the others go on."""
    folder, out = Path(given.image), Path(given.out)
    if given.volumes or given.posteriors:
        raise UsageError(folder, "--volumes and --posteriors are for one image", "Give one file")
    images = sorted(p for p in folder.rglob("*.nii*") if p.name.endswith((".nii", ".nii.gz")))
    mine = [p for p in images if out.resolve() not in p.resolve().parents]
    wanted = [p for p in mine if "_dseg" not in p.name and "_mask" not in p.name]
    if not wanted:
        raise UsageError(folder, "there are no images (.nii, .nii.gz) in it", "Give another folder")
    worst = 0
    for path in wanted:
        one = argparse.Namespace(**vars(given) | {"image": str(path)})
        stem = path.name.split(".nii")[0]
        one.out = str(out / path.relative_to(folder).parent / f"{stem}_dseg.nii.gz")
        try:
            run(one)
        except InputError as error:
            print(error, file=sys.stderr)
            worst = error.exit_code
    return worst


def _read(given: argparse.Namespace) -> Volume:
    """The scan; whether OUT can be written is looked at before anything is computed."""
    out = Path(given.out)
    if not out.name.endswith((".nii", ".nii.gz")):
        raise UsageError(out, "the output must be a NIfTI file", "End its name with .nii.gz")
    if out.resolve() == Path(given.image).resolve():
        raise UsageError(out, "the output is the input itself", "Give another name")
    for path in filter(None, (out, getattr(given, "volumes", None), getattr(given, "posteriors", None))):
        folder = Path(path).absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(folder, f"it cannot be written ({error.strerror})", "Give another one") from None
    from ...models.io import conform

    _threads(given)
    return conform.read(given.image)


def _refuse_stack(given: argparse.Namespace) -> None:
    """Stop before a stack that the population's networks do not know; of another network it is not known."""
    from ...models.preprocessing import thick_slices

    why = None if given.model else thick_slices.coarseness(given.image, populations.load(given.population))
    if why:
        remedy = f"{thick_slices.REMEDY}; brainseg skullstrip --mask finds the brain in the stack"
        raise InputError(given.image, f"it is a {why}", remedy)


def _network(given: argparse.Namespace) -> dict[str, Any]:
    """Arguments of the segmentation that differ from its defaults."""
    record = populations.load(given.population)
    out: dict[str, Any] = {"model": record.segmentation, "coarse_model": record.coarse}
    out |= {"accurate": True} if given.quality == "accurate" else {}
    out["label_table"] = _table(given)
    if given.model:
        from ...models.networks import zoo

        try:
            card = zoo.load(given.model).card
        except zoo.ModelError as error:
            raise MissingFileError(None, str(error), "See brainseg models list") from None
        out["model"] = given.model
        if card.get("coarse"):
            out["coarse_model"] = card["coarse"]
    return out


def _table(given: argparse.Namespace) -> str:
    """Label table of the structures: the population's, or the finer one that --corpus-callosum asks for."""
    from ...models.networks import zoo

    record = populations.load(given.population)
    try:
        finest = zoo.read_card(given.model or record.segmentation).get("label_table", record.labels)
    except zoo.ModelError as error:
        raise MissingFileError(None, str(error), "See brainseg models list") from None
    if given.corpus_callosum and record.parts.get("corpuscallosum") != finest:
        reason = f"this network does not tell the corpus callosum of {record.name} brains"
        raise UsageError(None, reason, "Leave --corpus-callosum out")
    coarser = finest in record.parts.values() and not given.corpus_callosum
    return record.labels if coarser else finest


def _strip(scan: Volume, given: argparse.Namespace) -> Any:
    from ...models.segmentation import skullstrip as stage

    print("skull-stripping", file=sys.stderr)
    record = populations.load(given.population)
    networks = {"model": record.skullstrip, "coarse_model": record.coarse}
    try:
        return stage.skullstrip(scan, mode=given.skull_strip, device=device(given), **networks)
    except InputError as error:
        raise type(error)(error.path or given.image, error.reason, error.remedy) from None


def _write(data: Any, given: argparse.Namespace) -> None:
    """Write an image with the geometry of the scan."""
    import nibabel as nib
    import numpy as np

    from ...interfaces.io import files

    source, out = nib.load(given.image), Path(given.out)
    affine, code = np.asarray(source.affine), files.geometry_code(source)
    if out.suffix == ".gz":
        files.write_image(out, data, affine, code)
        return
    image = nib.Nifti1Image(data, None, files.nifti_header(data, affine, code))
    with files.whole(out) as file:
        file.write(image.to_bytes())


def _write_volumes(path: Path, result: Any, structures: Any, mask: Volume, table: str = "adult") -> None:
    from ...interfaces.io import derivatives, files

    rows = derivatives.volume_rows(
        result.volumes,
        structures,
        mask.data.numpy(),
        mask.grid.voxel_volume,
        table,
        uncertainty=result.uncertainty,
    )
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(list(derivatives.VOLUME_COLUMNS))
    table.writerows(rows)
    files.write_text(path, text.getvalue())


def _write_posteriors(path: Path, result: Any, scan: Volume, given: argparse.Namespace) -> None:
    """Probabilities on the scan's grid; the volumes' names stand in a JSON file beside."""
    import nibabel as nib
    import numpy as np

    from ...interfaces.io import files
    from ...models.segmentation.segmentation import posteriors_on

    indices, names, data = posteriors_on(scan, result)
    source = nib.load(given.image)
    files.write_image(path, data, np.asarray(source.affine), files.geometry_code(source))
    told = "Probabilities of structures, both sides together"
    about = {"Description": told, "Index": indices, "Name": names}
    files.write_json(path.with_name(path.name.split(".nii")[0] + ".json"), about)


if __name__ == "__main__":
    raise SystemExit(main())
