"""Provenance on the pages: run, versions, networks, methods text, and the command to run again."""

from __future__ import annotations

import platform
import re
import shlex
import tomllib
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...interfaces.io import container
from ...models.data import model_files
from ...models.intracranial import intracranial
from ...models.networks import purpose
from ...models.population import populations
from .. import __version__
from ..inputs import validator
from ..status import arithmetic, failures
from ..status import cards as kept
from . import derivatives, label_tables
from .derivatives import Result

INSISTED = re.compile(r"insist with (--population \w+)")
"""Option in the remedy of an error; the same command without it would fail again."""

PACKAGES = (
    "brainseg-bids",
    "nipype",
    "torch",
    "antspyx",
    "nibabel",
    "nitransforms",
    "niworkflows",
    "templateflow",
    "pybids",
    "numpy",
    "scipy",
)
WORK = ("-w", "--work-dir", "--work_dir")
"""Spellings of the option for the work folder."""

CARD_FACTS = {
    "license": "License",
    "training_data": "Training data",
    "scores": "Scores of the network alone (Dice, unless named otherwise)",
    "voxel_size": "Voxel size (mm)",
    "spacing": "Voxel size (mm)",
    "labels": "Labels",
    "label_table": "Labels",
    "recipe": "Recipe",
    "parameters": "Parameters",
    "sha256": "SHA-256",
}
SCORE_WORDS = {
    "held-out label maps, synthetic images": "held-out label maps, synthetic images in all contrasts "
    "of its training",
    "mask/volume error": "error of the mask's volume (share)",
    "before": "before registration",
    "folds": "voxels that fold (share)",
}
"""Words for data and scores of model cards."""
METHODS = """\
Images were processed with *brainseg-bids* {version}, a BIDS App [1] built on *Nipype* [2]. Each image was
skull-stripped by a convolutional network that was trained on synthetic images and predicts the distance to
the surface of the brain; its bias field was corrected with N4 [3] as implemented in ANTs. Structures and
tissues were segmented at 1 mm by a convolutional network that was trained on synthetic images [4]. The
image was registered to its template (MNI152NLin2009cAsym [5] by default) by an affine transform between the
centroids of the labels and, unless disabled, by a symmetric diffeomorphism that matches structures and
intensities. Volumes are sums of the probabilities of each structure.

1. Gorgolewski KJ et al. BIDS apps. *PLoS Comput Biol* 13:e1005209 (2017). doi:10.1371/journal.pcbi.1005209
2. Gorgolewski K et al. Nipype. *Front Neuroinform* 5:13 (2011). doi:10.3389/fninf.2011.00013
3. Tustison NJ et al. N4ITK. *IEEE Trans Med Imaging* 29:1310 (2010). doi:10.1109/TMI.2010.2046908
4. Billot B et al. SynthSeg. *Med Image Anal* 86:102789 (2023). doi:10.1016/j.media.2023.102789
5. Fonov VS et al. Unbiased nonlinear average age-appropriate brain templates from birth to adulthood.
   *NeuroImage* 47 Suppl 1:S102 (2009). doi:10.1016/S1053-8119(09)70884-5
"""


def methods(out_dir: Path) -> str:
    """Return the methods text with citations (Markdown): that of the run, or a general one."""
    try:
        text = (out_dir / "logs" / "CITATION.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return text.strip() or METHODS.format(version=__version__)


def crash(result: Result) -> dict[str, str]:
    """Return ``link`` and last lines (``text``) of the crash file; empty if the output folder has none.

    A failure whose reason is known has no lines: file, reason and remedy say it all.
    """
    name = result.error.get("crash", "")
    root = result.out_dir.resolve()
    path = (root / name).resolve() if name else root
    if not (path.is_relative_to(root) and path.is_file()):
        return {"link": "", "text": ""}
    lines: list[str] = []
    if not failures.is_known(result.error.get("kind", "")):
        with suppress(OSError):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]
    return {"link": path.relative_to(root).as_posix(), "text": "\n".join(lines)[-8000:]}


def command(result: Result) -> str:
    """Return the command line that runs the participant-session again."""
    settings = _settings(result)
    bids = str(settings.get("bids_dir") or "BIDS")
    parts = [
        "brainseg-bids",
        bids,
        str(result.out_dir.resolve()),
        "participant",
        "--participant-label",
        result.participant,
    ]
    if result.session:
        parts += ["--session-label", result.session]
    words = str(settings.get("command") or "").split()
    if settings.get("work_dir") and any(word.startswith(WORK) for word in words):  # finished stages lie there
        parts += ["-w", str(settings["work_dir"])]
    if insisted := INSISTED.search(str(result.error.get("remedy") or "")):
        parts += insisted[1].split()
    return shlex.join(parts)


def _settings(result: Result) -> dict[str, Any]:
    """Return the settings of the run of a participant-session."""
    name = _run_name(result)
    try:
        text = (result.out_dir / "logs" / name / "brainseg.toml").read_text(encoding="utf-8")
        content = tomllib.loads(text) if name else {}
    except (OSError, ValueError):
        return {}
    flat = dict(content)
    for value in content.values():
        if isinstance(value, dict):
            flat |= value
    return flat


def run(result: Result) -> list[tuple[str, str]]:
    """Return when, and with which software, the participant-session was processed."""
    description = derivatives.read_json(result.out_dir / "dataset_description.json")
    makers = description.get("GeneratedBy")
    maker = makers[0] if isinstance(makers, list) and makers and isinstance(makers[0], dict) else {}
    rows = [
        ("Started", result.status.get("started")),
        ("Finished", result.status.get("finished")),
        ("Last stage", result.status.get("stage")),
        (
            "Computed with",
            f"brainseg-bids {result.status.get('version') or maker.get('Version') or 'unknown'}",
        ),
        ("Page created with", f"brainseg-bids {__version__}"),
        ("Container", container.words(maker.get("Container"))),
        ("Arithmetic", arithmetic.words(result.status)),
        ("Processor", arithmetic.processor(result.status)),
        ("BIDS validator", _validation(result)),
    ]
    return [(term, str(text)) for term, text in rows if text]


def _validation(result: Result) -> str:
    """Return whether the BIDS validator ran, and the errors that it found."""
    name = _run_name(result)
    return validator.words(
        derivatives.read_json(result.out_dir / "logs" / name / validator.FILE if name else None)
    )


def _run_name(result: Result) -> str:
    """Return the name of the run that processed a participant-session; empty if it is not known."""
    name = str(result.status.get("run") or "")
    return name if re.fullmatch(r"[0-9A-Za-z_-]+", name) else ""


def seconds(result: Result) -> list[tuple[str, str]]:
    """Return the time of each stage, and the sum."""
    times = result.status.get("seconds")
    found = (
        {str(k): s for k, v in times.items() if (s := derivatives.number(v)) is not None}
        if isinstance(times, dict)
        else {}
    )
    rows = [(stage, f"{value:.1f} s") for stage, value in found.items()]
    return [*rows, ("total", f"{sum(found.values()):.1f} s")] if len(rows) > 1 else rows


@cache
def versions() -> list[tuple[str, str]]:
    """Return the versions of Python and packages that this page, and probably the run, used."""
    rows = [("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return rows


def cards(result: Result) -> list[dict[str, Any]]:
    """Return the model cards of the networks that the participant-session used, as the page shows them."""
    chosen = result.status.get("settings")
    chosen = chosen if isinstance(chosen, dict) else {}
    record = populations.load(result.facts.population)
    names = record.used(str(chosen.get("registration", "deep")), derivatives.texts(chosen.get("steps")))
    own = kept.kept(result.out_dir, chosen)
    for step, card in own.items():
        replaced = {"segmentation": record.segmentation, "lesion": record.lesion}.get(step)
        if replaced and purpose.purpose_of(card) != "labels" and replaced in names:
            names.remove(replaced)
    if chosen.get("stop_after") == "skullstrip":
        names = list(record.masking)
    if not _looked_inside(result):
        names = [name for name in names if name != record.intracranial]
    if source := result.mask_source:
        # The mask for T1-weighted scans is trimmed by the one for any contrast.
        used = {record.skullstrip} if source == record.t1w_mask else set()
        unused = {record.skullstrip, record.t1w_mask} - {source, record.coarse, record.segmentation} - used
        names = [name for name in names if name not in unused]
    found = []
    shipped = [card for name in names if (card := _card(name))]
    for card in [*shipped, *own.values()]:
        shown = card | {"scores": _scores(card)}
        rows = [(t, shown[key]) for key, t in CARD_FACTS.items() if shown.get(key) not in (None, "", {}, [])]
        found.append(
            {
                "name": str(card.get("name")),
                "description": str(card.get("description") or ""),
                "facts": rows,
            }
        )
    return found


def _looked_inside(result: Result) -> bool:
    """Return whether the network of the cranial cavity saw the image, even if it gave no volume."""
    about = result.sidecar(derivatives.VOLUMES).get("IntracranialVolume")
    reason = about.get("Reason") if isinstance(about, dict) else None
    return "intracranial" in result.volumes or reason == intracranial.PARTIAL


def _scores(card: dict[str, Any]) -> Any:
    """Return the scores of a model card with names of structures in place of their ids."""
    found = card.get("scores")
    if not isinstance(found, dict):
        return found
    # Others have numbers of patients, or ids of tables of the user.
    by_id = purpose.kind_of(card) not in (purpose.SUPERVISED, "lesion")
    table = label_tables.every().by_index if by_id else {}

    def named(key: str) -> str:
        index = int(key) if key.isdecimal() else -1
        known = table[index].name.removeprefix("Left-").replace("-", " ") if index in table else key
        return SCORE_WORDS.get(key, known)

    return {
        SCORE_WORDS.get(data, data): {named(str(k)): v for k, v in values.items()}
        if isinstance(values, dict)
        else values
        for data, values in found.items()
    }


def _card(name: str) -> dict[str, Any]:
    """Return the model card of weights with its name; empty if they are not installed."""
    try:
        return {"name": name} | model_files.read_card(name)
    except model_files.ModelError:
        return {}
