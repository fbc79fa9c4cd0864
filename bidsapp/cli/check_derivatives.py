"""``brainseg check-derivatives``: what was found, in words, and the commands that use it."""

from __future__ import annotations

import argparse
import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

from ..handoff import lookup
from ..handoff.lookup import ALWAYS, PROGRAMS, SEVERAL, Check


def describe(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("folder", metavar="OUT", help="derivatives, of brainseg-bids or of others")
    add("--participant-label", nargs="+", metavar="LABEL", help="only these (default: all)")
    add(
        "--output-spaces",
        nargs="+",
        metavar="SPACE",
        help="spaces that you will ask for (default: those there are transforms of)",
    )
    add("--reference", choices=("T1w", "T2w"), default="T1w", help="for NiBabies: its --reference-anat (T1w)")


def run(given: argparse.Namespace) -> int:
    """Say which stages fMRIPrep and NiBabies would skip with the derivatives in OUT, and why not others."""
    from ..execution.directories import quiet_environment

    quiet_environment()
    root = Path(given.folder).expanduser().resolve()
    found = lookup.check(root, given.participant_label, given.output_spaces, given.reference)
    print("\n".join(lines(found, root, given.reference)))
    return 0 if not found.problems and any(_usable(found, program) for program in PROGRAMS) else 1


def lines(found: Check, root: Path, reference: str = "T1w") -> list[str]:
    """All that is said."""
    out = [str(root), *(f"! {problem}" for problem in found.problems)]
    for program in PROGRAMS:
        out += ["", f"{program} with --derivatives:", *_stages(found, program)]
        hint = advice(found) if program == "fMRIPrep" else flavor_advice(found)
        out += [f"  {hint}"] if hint else []
    out += ["", "Surfaces are not among these derivatives: both commands leave them out."]
    for program in PROGRAMS:
        if _usable(found, program):
            out += ["", f"{program}:", *(f"  {line}" for line in commands(found, root, program, reference))]
        else:
            out += ["", f"{program}: there is no use in it yet; see above."]
    return out


def _usable(found: Check, program: str) -> bool:
    """Whether at least the first stages are skipped for anyone."""
    return any(verdicts[0].skipped and verdicts[1].skipped for verdicts in found.verdicts[program].values())


def _stages(found: Check, program: str) -> list[str]:
    by_stage: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, verdicts in found.verdicts[program].items():
        for verdict in verdicts:
            by_stage[verdict.stage][key] = verdict
    width = max(map(len, by_stage))
    out = []
    for stage, verdicts in by_stage.items():
        skipped = [key for key, verdict in verdicts.items() if verdict.skipped]
        how = "skipped" if len(skipped) == len(verdicts) else "computed" if not skipped else "mixed"
        count = f" ({len(skipped)} of {len(verdicts)} skipped)" if how == "mixed" else ""
        out.append(f"  {stage:<{width}}  {how}{count}")
        reasons: dict[str, list[str]] = defaultdict(list)
        for key, verdict in verdicts.items():
            if not verdict.skipped:
                reasons[_general(verdict.why, key)].append(key)
        for why, keys in reasons.items():
            who = ", ".join(keys[:SEVERAL]) + (f" and {len(keys) - SEVERAL} more" * (len(keys) > SEVERAL))
            out.append(f"      {who}: {why}")
    return out


def _general(why: str, key: str) -> str:
    """A reason without the unit's name, so that those of many fall together.

    Examples
    --------
    >>> _general("there is no sub-01_dseg.nii.gz", "sub-01")
    'there is no *_dseg.nii.gz'
    """
    return re.sub(rf"\b{re.escape(key)}(?=_)", "*", why)


def commands(found: Check, root: Path, program: str, reference: str = "T1w") -> list[str]:
    """The commands that use what is there: one, or two where some anatomies are merged over sessions."""
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
    everyone = len(usable) == len(found.verdicts[program])
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
    """The dataset that the derivatives were made of, as far as they say."""
    from ..reports import derivatives

    links = derivatives.read_json(root / "dataset_description.json").get("DatasetLinks")
    link = links.get("raw") if isinstance(links, dict) else None
    if not isinstance(link, str):
        return "BIDS"
    path = Path(link.removeprefix("file://"))
    return (root / path).resolve()


def advice(found: Check) -> str:
    """What to ask of brainseg-bids so that registration is skipped too.

    Examples
    --------
    >>> advice(Check(spaces=["MNI152NLin2009aSym"]))
    'fMRIPrep registers to MNI152NLin2009cAsym in any case: brainseg-bids --output-spaces MNI152NLin2009cAsym'
    >>> advice(Check(spaces=["MNI152NLin2009cAsym"]))
    ''
    """
    if ALWAYS in found.spaces:
        return ""
    return f"fMRIPrep registers to {ALWAYS} in any case: brainseg-bids --output-spaces {ALWAYS}"


def flavor_advice(found: Check) -> str:
    """What to ask of brainseg-bids so that NiBabies finds what only fMRIPrep does."""
    masks = [
        {verdict.stage: verdict for verdict in verdicts}["skull-stripping"].skipped
        for program in PROGRAMS
        for verdicts in found.verdicts[program].values()
    ]
    half = len(masks) // 2
    if all(masks[:half]) and not any(masks[half:]):
        return "The names are as fMRIPrep looks for them: brainseg-bids --derivatives-flavor both"
    return ""
