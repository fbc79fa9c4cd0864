"""Settings of a run: one immutable value from command line and TOML, stored as TOML with every run."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ...models.errors import UsageError
from ...models.population import populations
from . import atlases, folders, networks, orientation, output_spaces, reproducible, resources
from .steps import STEPS

LEVELS = ("participant", "group")
TEMPLATES = output_spaces.DEFAULT
"""Templates if none are named."""

MODALITIES = ("T1w", "UNIT1", "T2w", "FLAIR", "PDw", "T2starw", "PDT2", "inplaneT1", "inplaneT2")
"""Suffixes of anatomical images; the first one that a participant has becomes the reference."""

POPULATIONS = {name: populations.unusable(name) for name in populations.names()}
"""Populations, with the reason where one cannot be processed."""

MAX_THREADS = 8
"""Threads of one step by default: more hardly speed one up, and other participants can use them."""

REFERENCES = {
    "sessionwise": "one image per session, results in the folder of the session",
    "first-lex": "the first image of all sessions, results in the folder of the participant",
    "unbiased": "the average of all images of that contrast in their midway space",
}
"""Which image a participant's anatomy is taken from."""

FLAVORS = ("fmriprep", "nibabies", "both")
"""Programs whose file names the derivatives follow: NiBabies needs ``space-T1w``, fMRIPrep no ``space-``."""

FORMER = {"quality": "effort"}
"""Former names of settings, in configuration files and status files, and the present names."""

SLOPPY = "--sloppy: coarse and fast, for trying only; the results are marked"
USAGE = "Usage: brainseg-bids BIDS OUT {participant,group} ... [options], the options last"

OF_MACHINE = {"nprocs": "nprocs", "omp_nthreads": "omp_nthreads", "mem_gb": "mem"}
"""Settings whose defaults depend on the machine, and their options: only given ones are stored."""

RECORD = "record"
"""Table of a run's TOML that is for the reader and not read back."""


@dataclass(frozen=True)
class Settings:
    """Settings of a run; see ``brainseg-bids --help`` for the meaning of each.

    Parameters
    ----------
    bids_dir, output_dir : Path
        The dataset and the derivatives' root, absolute.
    analysis_level : tuple of str
        ``participant``, ``group``, in the order to run.
    notes : tuple of str
        What the user is told about the options; not stored in the TOML.
    given : tuple of str
        Names of the options that the user gave; not stored either.
    """

    bids_dir: Path
    output_dir: Path
    analysis_level: tuple[str, ...]
    participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    bids_filter_file: Path | None = None
    bids_database_dir: Path | None = None
    skip_bids_validation: bool = False
    population: str = "auto"
    subject_anatomical_reference: str = "sessionwise"
    derivatives: tuple[str, ...] = ()
    derivatives_flavor: str = "fmriprep"
    steps: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    force: bool = False
    sloppy: bool = False
    output_spaces: tuple[str, ...] = TEMPLATES
    atlases: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    smooth: float | None = None
    registration: str = "deep"
    registration_refine: int | None = None
    reorient: str = ""
    skull_strip: str = "auto"
    effort: str = "fast"
    random_seed: int = 0
    reproducible: bool = False
    nprocs: int = 1
    omp_nthreads: int = 1
    mem_gb: float = 4.0
    device: str = "auto"
    n_gpus: int | None = None
    plugin: str = "multiproc"
    nipype_plugin_file: Path | None = None
    work_dir: Path = Path("work")
    keep_work_dir: bool = False
    resume: bool = True
    resume_failed: bool = False
    stop_on_first_crash: bool = False
    stop_after: str | None = None
    quality_gate: str | None = None
    group_by: str | None = None
    no_pages: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    dry_run: bool = False
    write_graph: bool = False
    write_job: str | None = None
    image: str | None = None
    per_task: int = 1
    max_array: int | None = None
    only_failed: bool = False
    verbose: int = 0
    debug: bool = False
    notes: tuple[str, ...] = ()
    given: tuple[str, ...] = field(default=(), compare=False)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of images to use, in order of preference."""
        return tuple(s for s in MODALITIES if s in self.modalities) if self.modalities else MODALITIES

    @property
    def that_matter(self) -> dict[str, Any]:
        """Settings that change results: if they differ, a finished participant is computed again."""
        return {
            "population": self.population,
            "skull_strip": self.skull_strip,
            "effort": self.effort,
            "output_spaces": list(self.output_spaces),
            "registration": self.registration,
            "registration_refine": self.registration_refine,
            "random_seed": self.random_seed,
            "subject_anatomical_reference": self.subject_anatomical_reference,
            "derivatives": list(self.derivatives),
            "derivatives_flavor": self.derivatives_flavor,
            "steps": sorted(name for name in STEPS if self.step(name)),
            **({"force": True} if self.force else {}),
            **({"atlases": atlases.digests(self.atlases)} if self.atlases else {}),
            **({"maps": sorted(self.map_paths)} if self.maps else {}),
            **({"smooth": self.smooth} if self.smooth else {}),
            **({"network": networks.digests(self.networks)} if self.network else {}),
            **({"reorient": self.reorient} if self.reorient else {}),
            **({"reproducible": True} if self.reproducible else {}),
            "sloppy": self.sloppy,
            "stop_after": self.stop_after,
        }

    def step(self, name: str) -> bool:
        """Return whether a step is on: the last word on it counts, or else its default.

        Examples
        --------
        >>> settings = Settings(Path("/in"), Path("/out"), ("group",), steps=("no-posteriors",))
        >>> settings.step("posteriors"), settings.step("template-outputs")
        (False, True)
        """
        said = [word for word in self.steps if word.removeprefix("no-") == name]
        return not said[-1].startswith("no-") if said else STEPS[name][0]

    @property
    def again(self) -> str:
        """How a run is continued, in words."""
        return "Run the same command again" if self.resume else "Run the command again without --no-resume"

    @property
    def networks(self) -> dict[str, str]:
        """Networks of the user by step, each an installed name or a file."""
        return dict(text.split("=", 1) for text in self.network)

    @property
    def map_paths(self) -> dict[str, str]:
        """Paths of the maps to measure in parcels by name, with fields for the participant."""
        return dict(text.split("=", 1) for text in self.maps)

    @property
    def precomputed(self) -> dict[str, Path]:
        """Folders of precomputed derivatives, by name."""
        pairs = (text.partition("=") for text in self.derivatives)
        return {name: Path(path) for name, _, path in pairs}


def build(options: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Complete options by the defaults for this machine.

    Parameters
    ----------
    options : mapping
        Values by name of field, as the command line gives them; ``mem`` is a text with a unit.
    environ : mapping
        Environment variables (those of batch systems are read).

    Raises
    ------
    UsageError
        If a value is impossible; the message says what is possible.
    """
    values = {k: v for k, v in options.items() if k in {f.name for f in fields(Settings)} and v is not None}
    values["given"] = tuple(sorted(options))
    _refuse_blanks(options)
    _check_folders(values)
    values["analysis_level"] = _levels(values.get("analysis_level", ()))
    for name, flag in (("group_by", "--group-by"), ("no_pages", "--no-pages")):
        if values.get(name) and "group" not in values["analysis_level"]:
            raise UsageError(None, f"{flag} is for the level group", "Add group after participant")
    values["derivatives"] = folders.named(values.get("derivatives", ()))
    values["steps"] = _steps(values.get("steps", ()))
    values["network"], values["steps"], said = networks.choose(values.get("network", ()), values["steps"])
    paths = ("bids_dir", "output_dir", "bids_filter_file", "bids_database_dir", "nipype_plugin_file")
    for name in (*paths, "work_dir"):
        if name in values or name == "work_dir":
            values[name] = Path(values.get(name, "work")).expanduser().resolve()
    for name, prefix in {"participant_label": "sub-", "session_label": "ses-"}.items():
        values[name] = _labels(values.get(name, ()), prefix)
        if "" in values[name]:
            raise _blank(name)
    values["modalities"] = _modalities(values.get("modalities", ()))
    values["output_spaces"], notes = output_spaces.choose(values.get("output_spaces", TEMPLATES))
    values |= atlases.both(values)
    values["notes"] = (*values.get("notes", ()), *notes, *said, *([SLOPPY] if values.get("sloppy") else ()))
    _check_numbers(values)
    _check_population(values.get("population", "auto"))
    values["reorient"] = orientation.codes(values.get("reorient", ""))
    values.setdefault("nprocs", resources.cpus(environ))
    for name in ("nprocs", "omp_nthreads", "n_gpus", "per_task", "max_array"):
        if values.get(name, 1) < (0 if name == "n_gpus" else 1):
            reason = f"--{name.replace('_', '-')} {values[name]} is too few"
            raise UsageError(None, reason, "Give a positive number")
    if values.get("reproducible"):
        values = reproducible.restrict(values)
    values["omp_nthreads"], said = resources.step_threads(values, environ, MAX_THREADS)
    values["notes"] += (*said, *_ignored(values))
    memory = resources.memory_gb(environ)
    mem = options.get("mem")
    values["mem_gb"] = resources.parse_memory(mem) if mem else memory * resources.SHARE
    if values["mem_gb"] > memory * 1.001:
        reason = f"--mem {mem} is more than this process may use ({memory:.1f}G)"
        raise UsageError(None, reason, "Give less, or ask the scheduler or container for more")
    if values.get("debug"):
        values.setdefault("plugin", "linear")
    return Settings(**values)


def _check_numbers(values: Mapping[str, Any]) -> None:
    """Check iterations, and that there is something to smooth, by a width that is one."""
    if values.get("registration_refine", 0) < 0:
        raise UsageError(None, "--registration-refine must not be negative", "0 leaves the finest level out")
    width = values.get("smooth")
    if width is not None and not 0 < width <= 40:
        raise UsageError(None, f"--smooth {width:g} is no width in mm", "Give 1 to 40, such as 8")
    if width is not None and "vbm" not in values["steps"]:
        raise UsageError(None, "--smooth needs maps to smooth", "Add --steps vbm")


def _ignored(values: Mapping[str, Any]) -> list[str]:
    """Return a note if an option has no effect beside another one."""
    idle = values.get("reports_only") and values.get("stop_after")
    return ["--stop-after is ignored: --reports-only computes nothing"] if idle else []


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a configuration file: the long options' names, with ``_`` or ``-``, and their values."""
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"the configuration file cannot be read ({error.strerror})"
        raise UsageError(path, reason, "Check the path") from None
    except ValueError as error:
        reason = f"it is not valid TOML ({error})"
        raise UsageError(path, reason, "Correct it; see --help for the names") from None
    return present_names({k.replace("-", "_"): v for k, v in content.items() if k != RECORD})


def present_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their present names; a present name wins over a former one.

    Examples
    --------
    >>> present_names({"quality": "fast", "nprocs": 2})
    {'effort': 'fast', 'nprocs': 2}
    """
    renamed = {FORMER[name]: value for name, value in values.items() if name in FORMER}
    return renamed | {name: value for name, value in values.items() if name not in FORMER}


def to_toml(settings: Settings, record: Mapping[str, Any] | None = None) -> str:
    """The settings as TOML that ``--config-file`` reads back, with ``record`` for the reader.

    Examples
    --------
    >>> "nprocs = 1" in to_toml(Settings(Path("/in"), Path("/out"), ("group",), given=("nprocs",)))
    True
    """
    lines = []
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if OF_MACHINE.get(entry.name, "") not in ("", *settings.given):
            continue
        if entry.name == "mem_gb":
            # Rounded down: read back, it must not be more than there is.
            lines.append(f'mem = "{int(value * 1000)}M"')
        elif value not in (None, (), "") and entry.name not in ("notes", "given"):
            lines.append(f"{entry.name} = {_toml_value(value)}")
    if record:
        lines += ["", f"[{RECORD}]"] + [f"{k} = {_toml_value(v)}" for k, v in record.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    # JSON's strings are TOML's, but for DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _check_folders(values: Mapping[str, Any]) -> None:
    """Check that both folders are given, and that neither is an analysis level in the wrong place."""
    names = {"bids_dir": "dataset (BIDS)", "output_dir": "output folder (OUT)"}
    for name, what in names.items():
        given = values.get(name)
        if given is None or (given in LEVELS and not values.get("analysis_level")):
            raise UsageError(None, f"no {what} was given", USAGE)


def _levels(words: Any) -> tuple[str, ...]:
    levels = (words,) if isinstance(words, str) else tuple(words)
    if not levels:
        raise UsageError(None, "no analysis level (participant, group or both) was given", USAGE)
    for level in levels:
        if level not in LEVELS:
            reason = f"{level!r} is not an analysis level"
            remedy = f"Use {' or '.join(LEVELS)}; options stand before or after the three names"
            raise UsageError(None, reason, remedy)
    return tuple(dict.fromkeys(levels))


def _labels(texts: Any, prefix: str) -> tuple[str, ...]:
    """Labels without prefix, each once; commas separate too."""
    words = [word.strip() for text in texts for word in str(text).rstrip(",").split(",")]
    return tuple(dict.fromkeys(word.removeprefix(prefix) for word in words))


def _refuse_blanks(values: Mapping[str, Any]) -> None:
    """Refuse empty texts: mostly a variable of the shell that is not set, which must not mean "all"."""
    for name, value in values.items():
        for text in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(text, str) and not text.strip(" ,"):
                raise _blank(name)


def _blank(name: str) -> UsageError:
    names = {"bids_dir": "BIDS", "output_dir": "OUT", "analysis_level": "LEVEL"}
    option = names.get(name) or f"--{name.replace('_', '-')}"
    return UsageError(
        None, f"{option} is empty", "Give a value, or leave it out (is a variable of the shell not set?)"
    )


def _modalities(names: Any) -> tuple[str, ...]:
    known = {name.lower(): name for name in MODALITIES}
    out = []
    for text in _labels(names, ""):
        name = text.lower()
        if name not in known:
            raise UsageError(None, f"unknown modality {text!r}", f"Known are {', '.join(MODALITIES)}")
        out.append(known[name])
    return tuple(dict.fromkeys(out))


def _steps(texts: Any) -> tuple[str, ...]:
    words = _labels((texts,) if isinstance(texts, str) else texts, "")
    for word in words:
        if word.removeprefix("no-") not in STEPS:
            reason = f"--steps {word}: there is no such step"
            raise UsageError(None, reason, f"Steps are {', '.join(STEPS)}; no-STEP is off")
    return words


def _check_population(name: str) -> None:
    if name == "auto" or POPULATIONS.get(name) == "":
        return
    able = ["auto"] + [known for known, why in POPULATIONS.items() if not why]
    reason = POPULATIONS.get(name) or "no such population is known"
    raise UsageError(None, f"--population {name}: {reason}", f"Use {', '.join(able[:-1])} or {able[-1]}")
