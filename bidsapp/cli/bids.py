"""The command ``brainseg-bids``."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from ...models.errors import BrainsegError, UsageError
from .. import __version__
from ..config.settings import (
    FLAVORS,
    MODALITIES,
    POPULATIONS,
    REFERENCES,
    STEPS,
    TEMPLATES,
    Settings,
    build,
    read_toml,
)
from .completion import SHELLS, Completion

DESCRIPTION = """\
Brain MRI in, derivatives out: for every participant of a BIDS dataset a brain mask, a bias-corrected
image, a segmentation into structures and tissues, volumes, an alignment to a template and a report; for
the study a table."""

EPILOG = """\
exit codes: 0 all done; 1 some participants failed, the others are complete; 2 wrong usage; 3 a report
failed; 4 the quality gate was not passed; 65 the dataset is not usable; 70 internal error; 126, 127 a needed
file or program is missing; 128+N stopped by signal N"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the flag that was meant."""

    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2].split()
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            close = difflib.get_close_matches(unknown[0].split("=")[0], flags, n=3)
            message += f" (did you mean {' or '.join(close)}?)" if close else ""
        self.exit(2, f"{self.prog}: {message}\nSee {self.prog} --help\n")


def parser() -> Parser:
    """The command line; nothing has a default here, so that it can override a configuration file."""
    out = Parser(
        prog="brainseg-bids",
        description=DESCRIPTION,
        epilog=EPILOG,
        usage="brainseg-bids BIDS OUT {participant,group} ... [options]",
        formatter_class=_Formatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    where = out.add_argument_group("what to do")
    where.add_argument(
        "bids_dir", metavar="BIDS", nargs="?", help="the dataset, with dataset_description.json"
    )
    where.add_argument("output_dir", metavar="OUT", nargs="?", help="folder for the derivatives")
    where.add_argument(
        "analysis_level",
        metavar="LEVEL",
        nargs="*",
        help="participant, group, or both: they run in this order",
    )
    _add_choice(out.add_argument_group("which images"))
    _add_processing(out.add_argument_group("how they are processed"))
    _add_resources(out.add_argument_group("with what"))
    _add_running(out.add_argument_group("how the run goes"))
    _add_other(out.add_argument_group("other"))
    return out


def _add_choice(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--participant-label",
        nargs="+",
        metavar="LABEL",
        help="only these, with or without sub- (default: all)",
    )
    add("--session-label", nargs="+", metavar="LABEL", help="only these, with or without ses- (default: all)")
    add("--modalities", nargs="+", metavar="SUFFIX", help=f"only images of these ({', '.join(MODALITIES)})")
    add(
        "--subject-anatomical-reference",
        choices=tuple(REFERENCES),
        help="; ".join(f"{name}: {what}" for name, what in REFERENCES.items()) + " (default: sessionwise)",
    )
    add("--bids-filter-file", metavar="JSON", help="{suffix: {entity: value}}; null: absent, *: any value")
    add("--bids-database-dir", metavar="DIR", help="keep the index of the dataset there between runs")
    add(
        "--skip-bids-validation",
        action="store_true",
        help="do not run the BIDS validator, even if it is installed",
    )


def _add_processing(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    able = ["auto"] + [name for name, why in POPULATIONS.items() if not why]
    add(
        "--population",
        metavar=f"{{{','.join(able)}}}",
        help="auto reads the age from participants.tsv and refuses those too young for the networks",
    )
    add(
        "--output-spaces",
        nargs="+",
        metavar="SPACE",
        help="templates to align to: TemplateFlow's NAME[:cohort-N][:res-N], or NAME=IMAGE or NAME=FOLDER "
        f"(default: {', '.join(TEMPLATES)})",
    )
    add(
        "--registration",
        choices=("deep", "ants", "none"),
        help="deep: symmetric and diffeomorphic; ants: SyN; none: affine only",
    )
    add("--registration-refine", type=int, metavar="N", help="steps of deep at 2 mm (more: closer, slower)")
    add(
        "--skull-strip",
        choices=("auto", "skip", "force"),
        help="auto recognises images without skull; skip takes all as such, force none",
    )
    add(
        "--quality",
        choices=("fast", "accurate"),
        help="accurate: the segmenting network looks at the mirror image too, for seconds more",
    )
    add(
        "--steps",
        nargs="+",
        metavar="STEP",
        help="switch steps on, or off as no-STEP: "
        + "; ".join(f"{name} ({'on' if on else 'off'}): {what}" for name, (on, what) in STEPS.items()),
    )
    add(
        "-d",
        "--derivatives",
        nargs="+",
        metavar="NAME=PATH",
        help="derivatives whose mask, segmentation or transforms are used in place of computing them",
    )
    add(
        "--derivatives-flavor",
        choices=FLAVORS,
        help="names of the results: as fMRIPrep looks for them, as NiBabies does, or both "
        "(default: fmriprep)",
    )
    add("--sloppy", action="store_true", help="fast and coarse, for trying; the results are marked")
    add("--random-seed", type=int, metavar="N", help="seed of every random number (default: 0)")


def _add_resources(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--nprocs", type=int, metavar="N", help="CPUs in all (default: those this process may use)")
    add("--omp-nthreads", type=int, metavar="N", help="CPUs for one step (default: at most 8)")
    add("--mem", metavar="SIZE", help="memory in all, such as 8G or 8000M (default: 90%% of what it may use)")
    add(
        "--device",
        type=device_name,
        metavar="{auto,cpu,cuda[:N],mps}",
        help="where networks run (default: auto)",
    )
    add("--n-gpus", type=int, metavar="N", help="graphics cards to share the participants among (default: 1)")
    add("-w", "--work-dir", metavar="DIR", help="folder for intermediate files (default: ./work)")
    add("--keep-work-dir", action="store_true", help="keep them, also of participants that are done")


def _add_running(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--resume",
        action=argparse.BooleanOptionalAction,
        help="go on where an earlier run was, and leave finished participants as they are (default: yes)",
    )
    add("--resume-failed", action="store_true", help="only what failed in an earlier run")
    add("--stop-on-first-crash", action="store_true", help="end the run at the first failure")
    add(
        "--stop-after",
        choices=("skullstrip",),
        help="write the brain masks and their pictures only; one that is corrected by hand and saved beside "
        "it as *_desc-corrected_mask.nii.gz is used by the next run",
    )
    add(
        "--quality-gate",
        nargs="?",
        const="fail",
        choices=("fail", "check"),
        help="exit code 4 if quality control fails a participant (check: or would have one looked at)",
    )
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add("--reports-only", action="store_true", help="make the reports anew from the derivatives")
    add("--boilerplate-only", action="store_true", help="write the methods text only")
    add("--write-graph", action="store_true", help="draw the workflow into the run's log folder")
    add(
        "--plugin",
        choices=("multiproc", "linear"),
        help="several processes, or one step after the other in one",
    )
    add(
        "--nipype-plugin-file",
        metavar="YAML",
        help="run by another Nipype plugin: {plugin: SLURM, plugin_args: {...}}",
    )
    add("--debug", action="store_true", help="as --plugin linear; keeps intermediate files, shows tracebacks")
    add("--config-file", metavar="TOML", help="options from a file; every run keeps its own in OUT/logs/RUN")


def _add_other(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-v", "--verbose", action="count", help="also show what Nipype says; -vv: all of it")
    add(
        "--notrack",
        action="store_true",
        help="accepted and without effect: nothing is ever reported to anyone",
    )
    add(
        "--completion",
        action=Completion,
        choices=SHELLS,
        help='print what completes this command in your shell: eval "$(brainseg-bids --completion bash)"',
    )
    add("--version", action="version", version=f"brainseg-bids {__version__}", help="print the version")
    add("-h", "--help", action="help", help="print this")


class _Formatter(argparse.HelpFormatter):
    """Wide enough for flag and help in one line, and flags without repeating their values."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=min(118, max(80, _columns())))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        if action.nargs == "+":
            value = f"{action.metavar} ..."
        return f"{', '.join(action.option_strings)} {value}"


def _columns() -> int:
    try:
        return os.get_terminal_size().columns
    except OSError:
        return 118


def device_name(text: str) -> str:
    kind, colon, number = text.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (colon and (kind != "cuda" or not number.isdigit())):
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, cpu, cuda, cuda:N or mps")
    return text


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Settings from the command line, and from the configuration file that it names.

    Raises
    ------
    UsageError
        If what it says cannot be done.
    SystemExit
        If it cannot be understood, or after ``--help`` and ``--version``.
    """
    given = vars(parser().parse_intermixed_args(argv))
    if "config_file" in given:
        given = _from_file(Path(given["config_file"])) | given
    return build({k: v for k, v in given.items() if v not in (None, [])})


def _from_file(path: Path) -> dict[str, Any]:
    """Options of a configuration file, understood by the same parser."""
    content = read_toml(path)
    known = {action.dest: action for action in parser()._actions}
    argv: list[str] = []
    out: dict[str, Any] = {}
    for name, value in content.items():
        action = known.get(name)
        if action is None or name in ("help", "version", "config_file", "completion"):
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"Did you mean {' or '.join(close)}" if close else "See --help for the names"
            raise UsageError(path, f"unknown setting {name!r}", hint)
        if not action.option_strings:
            out[name] = value
        elif isinstance(value, bool):
            if isinstance(action, argparse.BooleanOptionalAction):
                argv.append(action.option_strings[0 if value else 1])
            elif action.nargs != 0:
                raise UsageError(path, f"{name} wants a value, not {str(value).lower()}", "See --help")
            elif value:
                argv.append(action.option_strings[-1])
        elif isinstance(action, argparse._CountAction):
            argv += [action.option_strings[0]] * int(value)
        elif isinstance(value, list):
            argv += [action.option_strings[-1], *map(str, value)]
        else:
            argv.append(f"{action.option_strings[-1]}={value}")
    return out | {k: v for k, v in vars(parser().parse_args(argv)).items() if v not in (None, [])}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    code = _main(argv)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # where it goes is full or gone: Python is not to try again
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _main(argv: Sequence[str] | None) -> int:
    debug = "--debug" in (sys.argv if argv is None else argv)
    try:
        settings = parse(argv)
        from ..execution.run import run

        return run(settings, list(sys.argv[1:] if argv is None else argv))
    except BrainsegError as error:
        if debug:
            raise
        _tell(str(error))
        return error.exit_code
    except KeyboardInterrupt as stop:
        by = f" by {stop}" if str(stop) else ""
        _tell(f"stopped{by}. Run the same command again: it goes on from here.")
        return getattr(stop, "exit_code", 130)
    except BrokenPipeError:
        return 0
    except Exception as error:
        if debug:
            raise
        _tell(f"internal error: {type(error).__name__}: {error} (--debug shows where)")
        return BrainsegError.exit_code


def _tell(text: str) -> None:
    """A line on the error stream, if that can still be written."""
    with suppress(OSError):
        print(f"brainseg-bids: {text}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
