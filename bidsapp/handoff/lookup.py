"""Lookup of derivatives as in fMRIPrep and NiBabies (``brainseg check-derivatives``).

Both programs look files up by entities. If a file is missing, or several files match one query, they compute
the stage again or stop with an error. The check names the stage, the program and the reason.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids import BIDSLayout, BIDSLayoutIndexer
from niworkflows.data import load

from ...models.errors import DatasetError, InputError, UsageError
from ...models.io import outputs
from ...models.population.labels import DSEG_NAMES
from ..config.settings import MODALITIES
from ..inputs import sidecars
from . import content

PROGRAMS = ("fMRIPrep", "NiBabies")
ALWAYS = "MNI152NLin2009cAsym"
"""Space that fMRIPrep always registers to."""

IMAGE: dict[str, Any] = {"datatype": "anat", "extension": [".nii.gz", ".nii"]}
TRANSFORM: dict[str, Any] = {
    "datatype": "anat",
    "extension": [".h5", ".txt"],
    **{key: outputs.load()["transform"].entities[key] for key in ("suffix", "mode")},
}
LOOK_INSIDE = 64
"""Largest number of participant-sessions whose labels are checked, not only the headers."""

SEVERAL = 6
"""Largest number of names in a message."""

NAMES = {"probseg": "tpms", "structures": "aseg"}
"""Names of queries in the programs, where they differ from the ids of the outputs."""


@dataclass(frozen=True)
class Verdict:
    """Check of one stage.

    Attributes
    ----------
    stage : str
        Name of the stage.
    skipped : bool
        Whether the program skips it and takes the derivatives.
    why : str
        Reason why it does not; empty if it does.
    """

    stage: str
    skipped: bool
    why: str = ""


@dataclass
class Check:
    """Check of a folder of derivatives.

    Attributes
    ----------
    verdicts : dict of str to dict of str to list of Verdict
        Checks of the stages by program and participant-session.
    problems : list of str
        Problems that affect all participants.
    merged : list of str
        Participants with one anatomy for all sessions.
    spaces : list of str
        Spaces with transforms in both directions for every participant-session.
    of_others : dict of str to str
        Suffix of the image with the transforms to the space of fMRIPrep, by participant-session, where that
        is no T1w image; empty if a participant-session has no such transforms at all.
    without : dict of str to list of str
        Participant-sessions of other contrasts only, which a program cannot use, by program; they have no
        verdicts.
    """

    verdicts: dict[str, dict[str, list[Verdict]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    spaces: list[str] = field(default_factory=list)
    of_others: dict[str, str] = field(default_factory=dict)
    without: dict[str, list[str]] = field(default_factory=dict)


def queries(program: str, reference: str = "T1w") -> dict[str, dict[str, Any]]:
    """Return the queries of a program for images, by name.

    Parameters
    ----------
    program : {'fMRIPrep', 'NiBabies'}
        The program.
    reference : {'T1w', 'T2w'}
        Contrast of the reference image.

    Examples
    --------
    >>> queries("fMRIPrep")["mask"]["space"] is None, queries("NiBabies")["mask"]["space"]
    (True, 'T1w')
    """
    other = "T1w" if reference == "T2w" else "T2w"
    out = {}
    for output in outputs.load().values():
        if program not in output.lookup or not output.dtype:
            continue
        own_space = reference if output.flavored and program == "NiBabies" else None
        query: dict[str, Any] = IMAGE | {"space": own_space}
        if output.labels:
            query["label"] = list(output.labels)
        else:
            query["desc"] = output.entities.get("desc")
        query["suffix"] = output.entities["suffix"].format(suffix=reference, contrast=other)
        out[NAMES.get(output.id, output.id)] = query
    return out


def check(
    root: Path, labels: list[str] | None = None, spaces: list[str] | None = None, reference: str = "T1w"
) -> Check:
    """Check which stages fMRIPrep and NiBabies skip with a folder of derivatives.

    Parameters
    ----------
    root : Path
        Root of the derivatives.
    labels : list of str, optional
        Participants, with or without ``sub-``; by default all.
    spaces : list of str, optional
        Output spaces in the notation of fMRIPrep; by default all with transforms.
    reference : {'T1w', 'T2w'}
        Contrast of the reference image of NiBabies; that of fMRIPrep is always T1w.

    Raises
    ------
    DatasetError
        If the folder has no anatomical derivatives.
    UsageError
        If a participant is missing.
    """
    participant_sessions = _participant_sessions(root, labels)
    out = Check(problems=_problems(root))
    index = _index(root, sorted({subject for subject, _ in participant_sessions}))
    out.merged = sorted(
        f"sub-{subject}"
        for subject, session in participant_sessions
        if not session and _merged(root, subject)
    )
    images = {"fMRIPrep": "T1w", "NiBabies": reference}
    able = {
        program: [ps for ps in participant_sessions if _has(root, *ps, image)]
        for program, image in images.items()
    }
    there = _spaces(root, participant_sessions, reference)
    asking = able["NiBabies"] or participant_sessions  # theirs is the same reference
    out.spaces = [space for space in there if all(space in _both_ways(root, *ps, reference) for ps in asking)]
    lacking = [ps for ps in able["fMRIPrep"] if ALWAYS not in _both_ways(root, *ps, "T1w")]
    others = {
        _key(*ps): suffix
        for ps in lacking
        for suffix in reversed(MODALITIES)
        if ALWAYS in _both_ways(root, *ps, suffix)
    }
    out.of_others = others if len(others) == len(lacking) else {}
    wanted = list(dict.fromkeys([*(spaces or there), ALWAYS]))
    inside = len(participant_sessions) <= LOOK_INSIDE
    for program in PROGRAMS:
        image = images[program]
        out.without[program] = [_key(*ps) for ps in participant_sessions if ps not in able[program]]
        asked = wanted if program == "fMRIPrep" else list(spaces or there)
        out.verdicts[program] = {
            _key(*ps): _judge(index, program, image, *ps, asked, inside) for ps in able[program]
        }
    return out


def _has(root: Path, subject: str, session: str | None, image: str) -> bool:
    """Return whether results are of an image of that contrast, or may be: there is none of another one."""
    names = [path.name for path in root.joinpath(*_key(subject, session).split("_"), "anat").glob("*.nii*")]
    preproc = outputs.ending("preproc", suffix="(?P<suffix>[0-9A-Za-z]+)").replace(".nii.gz", r"\.nii")
    found = {m["suffix"] for name in names if (m := re.search(f"_{preproc}", name))}
    return image in found or not found


def _participant_sessions(root: Path, labels: list[str] | None) -> list[tuple[str, str | None]]:
    """Return the participants and sessions with anatomical derivatives."""
    if not root.is_dir():
        raise DatasetError(root, "the folder does not exist", "Check the path")
    found = [
        (participant.name[4:], None if folder == participant else folder.name[4:])
        for participant in sorted(root.glob("sub-*"))
        for folder in (participant, *sorted(participant.glob("ses-*")))
        if any(folder.glob("anat/*.nii*"))
    ]
    if not found:
        raise DatasetError(
            root, "no anatomical derivatives (sub-*/anat, sub-*/ses-*/anat) in the folder", "Check the path"
        )
    wanted = [label.removeprefix("sub-") for label in labels or []]
    unknown = sorted(set(wanted) - {subject for subject, _ in found})
    if unknown:
        raise UsageError(root, f"no anatomical derivatives of sub-{unknown[0]}", "Check --participant-label")
    return [ps for ps in found if not wanted or ps[0] in wanted]


def _key(subject: str, session: str | None) -> str:
    return f"sub-{subject}" + (f"_ses-{session}" if session else "")


def _problems(root: Path) -> list[str]:
    """Return the problems that stop the indexing of the whole folder."""
    out = []
    if not (root / "dataset_description.json").is_file():
        out.append(
            f"{root / 'dataset_description.json'}: the file is missing, so the folder is not a BIDS dataset."
        )
    for path in sorted(root.rglob("*.json")):
        parts = path.relative_to(root).parts
        if parts[0].startswith(("sub-", "dataset_")) and "figures" not in parts:
            try:
                sidecars.read_object(path)
            except InputError as error:
                out.append(f"{error} It stops the indexing of all participants.")
    return out


Index = dict[str, list[tuple[Path, dict[str, Any]]]]
"""Files and their entities by participant."""


def _index(root: Path, subjects: list[str]) -> Index:
    """Return the index of both programs, without the sidecars.

    Queries are answered from one table: for thousands of participants the queries of the layout take longer
    than the indexing.
    """
    chosen = "|".join(map(re.escape, subjects))
    ignore = [
        re.compile(r"^/(?!sub-)"),
        re.compile(rf"^/sub-(?!(?:{chosen})(?:/|$))"),
        re.compile(r"/figures"),
    ]
    indexer = BIDSLayoutIndexer(validate=False, ignore=ignore, index_metadata=False)
    layout = BIDSLayout(str(root), config=load("nipreps.json"), validate=False, indexer=indexer)
    out: Index = defaultdict(list)
    for row in layout.to_df().to_dict("records"):
        entities = {key: value for key, value in row.items() if value == value and value is not None}
        out[str(entities.get("subject"))].append((Path(entities.pop("path")), entities))
    return out


def fits(query: dict[str, Any], entities: dict[str, Any]) -> bool:
    """Return whether a file matches a query; None stands for a missing entity, a list for any of its values.

    Examples
    --------
    >>> fits({"desc": None, "suffix": ["dseg", "mask"]}, {"suffix": "dseg"})
    True
    >>> fits({"desc": None}, {"desc": "aseg"})
    False
    """
    for key, wanted in query.items():
        found = entities.get(key)
        if wanted is None or found is None:
            if found is not wanted:
                return False
        elif str(found) not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True


def _judge(
    index: Index,
    program: str,
    reference: str,
    subject: str,
    session: str | None,
    spaces: list[str],
    inside: bool,
) -> list[Verdict]:
    """Return the checks of the stages of a program for a participant-session."""
    base = {"session": session} if session else {}

    def look(query: dict[str, Any]) -> list[Path]:
        return [path for path, entities in index[subject] if fits(base | query, entities)]

    found = {key: look(query) for key, query in queries(program, reference).items()}
    named = _key(subject, session)
    preproc = _single(found["preproc"], f"{named}_{outputs.ending('preproc', suffix=reference)}")
    space = "" if program == "fMRIPrep" else f"_space-{reference}"
    mask = _single(found["mask"], f"{named}{space}_{outputs.ending('mask')}")
    grid = "" if preproc or mask else content.other_grid(found["preproc"] + found["mask"])
    out = [
        _verdict("conform and bias correction", preproc),
        _verdict("skull-stripping", mask or grid or (preproc and _mask_alone(preproc))),
    ]
    dseg = _single(found["dseg"], f"{named}{space}_{outputs.ending('dseg')}")
    dseg = dseg or ("" if preproc else content.other_grid(found["preproc"] + found["dseg"]))
    if inside:
        dseg = dseg or content.odd_labels(found["dseg"][0])
    tissues = _tissues(found["tpms"], f"{named}{space}") or (
        "" if preproc else content.other_grid(found["preproc"] + found["tpms"])
    )
    out.append(_verdict("tissue segmentation", dseg or tissues))
    if program == "NiBabies":
        aseg = f"{named}{space}_{outputs.ending('structures')}"
        out.append(_verdict("structures", _single(found["aseg"], aseg)))
        if found["other_preproc"] and not preproc:
            out.append(_verdict("alignment of T1w and T2w", _coregistered(look, named, found)))
    for name in spaces:
        label = name.replace(":cohort-", "+")
        pairs = ((reference, label), (label, reference))
        ways = [look(TRANSFORM | {"from": start, "to": end}) for start, end in pairs]
        names = [f"{named}_{outputs.ending('transform', suffix=start, space=end)}" for start, end in pairs]
        why = [
            _single(way, text) or content.unreadable(way[0]) for way, text in zip(ways, names, strict=True)
        ]
        out.append(_verdict(f"registration to {name}", why[0] or why[1]))
    return out


def _verdict(stage: str, why: str) -> Verdict:
    return Verdict(stage, not why, why)


def _mask_alone(why: str) -> str:
    return f"without the preprocessed image the mask must have the grid of the conformed image ({why})"


def _coregistered(look: Any, named: str, found: dict[str, list[Path]]) -> str:
    if len(found["other_preproc"]) > 1:
        return _single(found["other_preproc"], "")
    for pair in (("T1w", "T2w"), ("T2w", "T1w")):
        ways = look(TRANSFORM | {"from": pair[0], "to": pair[1]})
        why = _single(ways, f"{named}_{outputs.ending('transform', suffix=pair[0], space=pair[1])}")
        if why or (why := content.unreadable(ways[0])):
            return why
    return ""


def _single(paths: list[Path], example: str) -> str:
    """Return the problem if not exactly one file was found; else an empty text."""
    if not paths:
        return f"there is no {example}"
    if len(paths) > 1:
        names = ", ".join(sorted(path.name for path in paths)[:SEVERAL])
        return f"{len(paths)} files match where one must: {names}"
    return ""


def _tissues(paths: list[Path], stem: str) -> str:
    for tissue in DSEG_NAMES:
        own = [path for path in paths if f"_label-{tissue}_" in path.name]
        if why := _single(own, f"{stem}_{outputs.ending('probseg', label=tissue)}"):
            return why
    return ""


def _spaces(root: Path, participant_sessions: list[tuple[str, str | None]], reference: str) -> list[str]:
    """Return the spaces with transforms of any participant-session."""
    found = [space for ps in participant_sessions for space in _both_ways(root, *ps, reference)]
    return list(dict.fromkeys(found))


def _both_ways(root: Path, subject: str, session: str | None, reference: str) -> list[str]:
    """Return the templates with transforms in both directions, in the notation of fMRIPrep."""
    folder = root.joinpath(*_key(subject, session).split("_"), "anat")
    ends = defaultdict(set)
    for path in folder.glob("*_mode-image_xfm.*"):
        pair = re.search(r"_from-([0-9A-Za-z+]+)_to-([0-9A-Za-z+]+)_", path.name)
        if pair and path.suffix in (".h5", ".txt") and reference in pair.groups():
            ends[pair[2] if pair[1] == reference else pair[1]].add(pair[1] == reference)
    contrasts = re.compile(r"orig.*|T1w|T2w|FLAIR|PDw|T2starw|fsnative|T1w\w+")
    both = [name for name, ways in ends.items() if len(ways) == 2 and not contrasts.fullmatch(name)]
    return sorted(re.sub(r"\+(\w+)$", r":cohort-\1", name) for name in both)


def _merged(root: Path, subject: str) -> bool:
    """Return whether derivatives without session come from raw images with sessions."""
    preproc = outputs.sidecar(outputs.ending("preproc", suffix="*"))
    for path in sorted(root.joinpath(f"sub-{subject}", "anat").glob(f"*_{preproc}")):
        try:
            sources = sidecars.read_object(path).get("Sources")
        except InputError:
            continue
        if any("/ses-" in str(source) for source in (sources if isinstance(sources, list) else [sources])):
            return True
    return False
