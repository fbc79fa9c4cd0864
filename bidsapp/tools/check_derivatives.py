"""``brainseg check-derivatives``: what fMRIPrep and NiBabies would use of a folder, and how to run them."""

from __future__ import annotations

import argparse
import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

from ...interfaces.io.dataset import SLOPPY
from ..handoff import lookup
from ..handoff.lookup import ALWAYS, PROGRAMS, SEVERAL, Check
from ..reports import derivatives
from ..status import records


def run(args: argparse.Namespace) -> int:
    """Print which stages fMRIPrep and NiBabies would skip with the derivatives; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg check-derivatives``.
    """
    root = Path(args.folder).expanduser().resolve()
    found = lookup.check(root, args.participant_label, args.output_spaces, args.reference)
    print("\n".join(lines(found, root, args.reference)))
    return 0 if not found.problems and any(_usable(found, program) for program in PROGRAMS) else 1


def lines(found: Check, root: Path, reference: str = "T1w") -> list[str]:
    """Return the lines of the report.

    Parameters
    ----------
    found : Check
        The result of the check.
    root : Path
        The folder of the derivatives.
    reference : str
        Contrast of the reference image for NiBabies, ``T1w`` or ``T2w``.
    """
    out = [str(root), *(f"! {problem}" for problem in found.problems)]
    out += [f"! {SLOPPY}"] if records.any_sloppy(root) else []
    for program in PROGRAMS:
        out += ["", f"{program} with --derivatives:", *_without(found, program, reference)]
        out += _stages(found, program)
        hint = advice(found) if program == "fMRIPrep" else flavor_advice(found)
        out += [f"  {hint}"] if hint else []
    out += ["", "These derivatives have no surfaces: both commands switch surface reconstruction off."]
    for program in PROGRAMS:
        if _usable(found, program):
            out += ["", f"{program}:", *(f"  {line}" for line in commands(found, root, program, reference))]
        elif found.verdicts[program]:
            out += ["", f"{program}: these derivatives would not save any stage yet; see above."]
        else:
            out += ["", f"{program} cannot use these derivatives; see above."]
    return out


def _without(found: Check, program: str, reference: str) -> list[str]:
    """Return the line on participant-sessions without the image that a program needs."""
    keys = found.without.get(program, [])
    if not keys:
        return []
    who = ", ".join(keys[:SEVERAL]) + (f" and {len(keys) - SEVERAL} more" * (len(keys) > SEVERAL))
    image = "T1w" if program == "fMRIPrep" else reference
    other = "T1w" if reference == "T2w" else "T2w"
    more = f" (--reference {other} for those with a {other} image)" if program == "NiBabies" else ""
    return [f"  {program} needs a {image} image: not for {who}{more}"]


def _usable(found: Check, program: str) -> bool:
    """Return whether at least the first two stages are skipped for any participant-session."""
    return any(verdicts[0].skipped and verdicts[1].skipped for verdicts in found.verdicts[program].values())


def _stages(found: Check, program: str) -> list[str]:
    by_stage: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, verdicts in found.verdicts[program].items():
        for verdict in verdicts:
            by_stage[verdict.stage][key] = verdict
    width = max(map(len, by_stage), default=0)
    out = []
    for stage, by_key in by_stage.items():
        skipped = [key for key, verdict in by_key.items() if verdict.skipped]
        how = "skipped" if len(skipped) == len(by_key) else "computed" if not skipped else "mixed"
        count = f" ({len(skipped)} of {len(by_key)} skipped)" if how == "mixed" else ""
        out.append(f"  {stage:<{width}}  {how}{count}")
        reasons: dict[str, list[str]] = defaultdict(list)
        for key, verdict in by_key.items():
            if not verdict.skipped:
                reasons[_general(verdict.why, key)].append(key)
        for why, keys in reasons.items():
            who = ", ".join(keys[:SEVERAL]) + (f" and {len(keys) - SEVERAL} more" * (len(keys) > SEVERAL))
            out.append(f"      {who}: {why}")
    return out


def _general(why: str, key: str) -> str:
    """Return a reason without the name of the participant-session, to group equal reasons.

    Examples
    --------
    >>> _general("there is no sub-01_dseg.nii.gz", "sub-01")
    'there is no *_dseg.nii.gz'
    """
    return re.sub(rf"\b{re.escape(key)}(?=_)", "*", why)


def commands(found: Check, root: Path, program: str, reference: str = "T1w") -> list[str]:
    """Return the commands that use the derivatives: two if only some anatomies are merged over sessions.

    Parameters
    ----------
    found : Check
        The result of the check.
    root : Path
        The folder of the derivatives.
    program : str
        ``fMRIPrep`` or ``NiBabies``.
    reference : str
        Contrast of the reference image for NiBabies, ``T1w`` or ``T2w``.
    """
    usable = {
        key
        for key, verdicts in found.verdicts[program].items()
        if verdicts[0].skipped and verdicts[1].skipped
    }
    sessions: dict[str, list[str]] = defaultdict(list)
    for key in usable:
        subject, _, session = key.partition("_ses-")
        sessions[subject] += [session] if session else []
    merged = sorted(subject for subject in sessions if subject in found.merged)
    apart = sorted(subject for subject in sessions if subject not in found.merged)
    everyone = len(usable) == len(found.verdicts[program]) and not found.without.get(program)
    out = []
    for subjects, whole in ((apart, False), (merged, True)):
        if not subjects:
            continue
        words = _words(root, program, found, reference)
        if program == "fMRIPrep" and whole:
            words.append("--no-track-sessions")
        elif program == "fMRIPrep" and any(len(sessions[subject]) > 1 for subject in subjects):
            words += ["--subject-anatomical-reference", "sessionwise"]
        if not everyone or (apart and merged):
            words += ["--participant-label", *(subject.removeprefix("sub-") for subject in subjects)]
        out.append(shlex.join(words))
    return out


def _words(root: Path, program: str, found: Check, reference: str) -> list[str]:
    name = program.lower()
    words = [
        name,
        str(_raw(root)),
        str(root.parent / name),
        "participant",
        "--derivatives",
        f"brainseg={root}",
    ]
    if found.spaces:
        words += ["--output-spaces", *found.spaces]
    if program == "fMRIPrep":
        return [*words, "--fs-no-reconall"]
    return [*words, "--reference-anat", reference, "--surface-recon-method", "none"]


def _raw(root: Path) -> Path | str:
    """Return the raw dataset that the derivatives name, or ``BIDS`` if they name none."""
    links = derivatives.read_json(root / "dataset_description.json").get("DatasetLinks")
    link = links.get("raw") if isinstance(links, dict) else None
    if not isinstance(link, str):
        return "BIDS"
    path = Path(link.removeprefix("file://"))
    return (root / path).resolve()


def advice(found: Check) -> str:
    """Return the option of brainseg-bids that makes fMRIPrep skip registration too; empty if not needed.

    Examples
    --------
    >>> advice(Check(spaces=["MNI152NLin2009aSym"]))
    'fMRIPrep always registers to MNI152NLin2009cAsym: run brainseg-bids --output-spaces MNI152NLin2009cAsym'
    >>> advice(Check(spaces=["MNI152NLin2009cAsym"]))
    ''
    >>> advice(Check(of_others={"sub-02": "FLAIR"}))
    'fMRIPrep uses transforms of T1w images only: those to MNI152NLin2009cAsym are of FLAIR (sub-02)'
    """
    nobody = bool(found.without.get("fMRIPrep")) and not found.verdicts["fMRIPrep"]
    if ALWAYS in found.spaces or nobody:
        return ""
    if found.of_others:
        suffixes = " and ".join(sorted(set(found.of_others.values())))
        keys = [*found.of_others]
        who = ", ".join(keys[:SEVERAL]) + (f" and {len(keys) - SEVERAL} more" * (len(keys) > SEVERAL))
        return f"fMRIPrep uses transforms of T1w images only: those to {ALWAYS} are of {suffixes} ({who})"
    return f"fMRIPrep always registers to {ALWAYS}: run brainseg-bids --output-spaces {ALWAYS}"


def flavor_advice(found: Check) -> str:
    """Return the option that makes NiBabies find what only fMRIPrep finds; empty if not needed."""
    fmriprep, nibabies = (
        [
            {verdict.stage: verdict for verdict in verdicts}["skull-stripping"].skipped
            for verdicts in found.verdicts[program].values()
        ]
        for program in PROGRAMS
    )
    if any(fmriprep) and nibabies and not any(nibabies):
        need = "run brainseg-bids --derivatives-flavor both (or nibabies, for NiBabies alone)"
        return f"The file names are those of fMRIPrep: {need}"
    return ""
