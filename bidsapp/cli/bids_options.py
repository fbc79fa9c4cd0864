"""The arguments of ``brainseg-bids``."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable

from ...models.population.steps import NETWORK_STEPS
from .. import __version__
from ..config.batch import ENGINES, SYSTEMS
from ..config.settings import FLAVORS, LEVELS, MODALITIES, POPULATIONS, REFERENCES, STEPS, TEMPLATES
from . import dispatch
from .atlas_options import add_atlases
from .parser import DEVICES, SHELLS, HelpFormatter, Noted, Parser, device_name

DESCRIPTION = """\
Brain MRI in, derivatives out: for every participant of a BIDS dataset a brain mask, a bias-corrected
image, a segmentation into structures and tissues, volumes, an alignment to a template and a report; for
the study a table."""

EPILOG = """\
exit codes: 0 all done; 1 some participants failed, the others are complete; 2 wrong usage; 3 a report
failed; 4 the quality gate was not passed; 65 the dataset is not usable; 70 internal error; 73 too little disk
space to begin or to go on; 75 nothing to do here, other processes are at work on what is left; 126, 127 a
needed file or program is missing; 128+N stopped by signal N"""

EXAMPLES = """\
  brainseg-bids BIDS OUT participant group              all participants, then tables and pages of the study
  brainseg-bids BIDS OUT participant --dry-run          what would be processed and written
  brainseg-bids BIDS OUT participant --participant-label 01 02 --nprocs 8 --mem 16G
  brainseg-bids BIDS OUT participant --write-job slurm  a script for a cluster
  brainseg-bids OUT status                              who is done, runs or has failed
"""

Add = Callable[..., argparse.Action]


class Completion(argparse.Action):
    """``--completion SHELL``: print the completion script and exit."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Print the script of the program."""
        print(dispatch.resolve("brainseg.bidsapp.cli.completion:script")(parser.prog, values), end="")
        parser.exit()


def parser() -> Parser:
    """Return the parser; it has no defaults, so that the command line overrides a configuration file."""
    out = Parser(
        prog="brainseg-bids",
        description=DESCRIPTION,
        epilog=EPILOG,
        usage="brainseg-bids BIDS OUT {participant,group} ... [options]\n"
        "       brainseg-bids OUT status [--tsv | --json]",
        formatter_class=HelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    out.examples = EXAMPLES
    _add_level(out.section("what to do"))
    _add_selection(out.section("which images"))
    _add_processing(out.section("how they are processed"))
    _add_resources(out.section("resources"))
    _add_execution(out.section("execution"))
    _add_jobs(out.section("jobs of a batch system"))
    _add_other(out.section("other"))
    _add_elsewhere(out)
    return out


def _add_level(add: Add) -> None:
    add(
        "bids_dir",
        metavar="BIDS",
        nargs="?",
        complete="folder",
        help="the dataset, with dataset_description.json",
    )
    add("output_dir", metavar="OUT", nargs="?", complete="folder", help="folder for the derivatives")
    add(
        "analysis_level",
        metavar="LEVEL",
        nargs="*",
        complete=LEVELS,
        help="participant, group, or both: they run in this order",
    )


def _add_selection(add: Add) -> None:
    add(
        "--participant-label",
        nargs="+",
        metavar="LABEL",
        complete="participant",
        help="only these participants, with or without sub- (default: all)",
    )
    add(
        "--session-label",
        nargs="+",
        metavar="LABEL",
        complete="session",
        help="only these sessions, with or without ses- (default: all)",
    )
    add(
        "--modalities",
        nargs="+",
        metavar="SUFFIX",
        complete=MODALITIES,
        help=f"only images with these suffixes (of {', '.join(MODALITIES)})",
    )
    add(
        "--subject-anatomical-reference",
        choices=tuple(REFERENCES),
        help="; ".join(f"{name}: {what}" for name, what in REFERENCES.items()) + " (default: sessionwise)",
    )
    add(
        "--bids-filter-file",
        metavar="JSON",
        complete="file",
        help="file with {suffix: {entity: value}} to select images; null: entity absent, *: any value",
    )
    add(
        "--bids-database-dir",
        metavar="DIR",
        complete="folder",
        help="folder that keeps the index of the dataset between runs",
    )
    add(
        "--skip-bids-validation",
        action="store_true",
        help="do not run the BIDS validator, even if it is installed",
    )


def _add_processing(add: Add) -> None:
    able = ["auto"] + [name for name, why in POPULATIONS.items() if not why]
    add(
        "--population",
        metavar=f"{{{','.join(able)}}}",
        complete=tuple(able),
        help="population of the participants; auto: by age in participants.tsv, ages without trained "
        "networks are refused (default: auto)",
    )
    add(
        "--output-spaces",
        nargs="+",
        metavar="SPACE",
        complete="template",
        help="templates to align to: NAME[:cohort-N][:res-N] of TemplateFlow, NAME=IMAGE or NAME=FOLDER "
        f"(default: {', '.join(TEMPLATES)})",
    )
    add_atlases(add)
    add(
        "--smooth",
        type=float,
        metavar="MM",
        help="also write the maps of the step vbm smoothed by a Gaussian of this width (full width at half "
        "maximum, mm)",
    )
    add(
        "--registration",
        choices=("deep", "ants", "none"),
        help="deep: diffeomorphic, initialized by a network; ants: SyN; none: affine only (default: deep)",
    )
    add(
        "--registration-refine",
        type=int,
        metavar="N",
        help="iterations of deep at the finest level, 2 mm (more: more accurate, slower)",
    )
    add(
        "--reorient",
        nargs="?",
        const="auto",
        metavar="CODES",
        help="correct the orientation of a copy; auto (without CODES): where the head shows that the header "
        "is wrong; CODES: true direction of the voxel axes of all images, such as LIA",
    )
    add(
        "--skull-strip",
        choices=("auto", "skip", "force"),
        help="auto: detect stripped images; skip: assume stripped; force: always strip (default: auto)",
    )
    add(
        "--effort",
        choices=("fast", "accurate"),
        former=("--quality",),
        help="accurate: average over the image and its mirror image in every pass of the segmentation, some "
        "seconds more (default: fast, in the last pass)",
    )
    add(
        "--steps",
        nargs="+",
        metavar="STEP",
        complete=tuple(word for name in STEPS for word in (name, f"no-{name}")),
        help="switch steps on, or off as no-STEP: "
        + "; ".join(f"{name} ({'on' if on else 'off'}): {what}" for name, (on, what) in STEPS.items()),
    )
    add(
        "--network",
        nargs="+",
        metavar="STEP=NETWORK",
        complete="network",
        help="networks of your own by step, each a name of brainseg models list or a .safetensors file with "
        "its model card: " + "; ".join(f"{step}: {what}" for step, what in NETWORK_STEPS.items()),
    )
    add(
        "--force",
        action="store_true",
        help="do what is refused as unreliable: lesions in a T2w image if there is no FLAIR image",
    )
    add(
        "-d",
        "--derivatives",
        nargs="+",
        metavar="NAME=PATH",
        complete="folder",
        help="derivatives whose masks, segmentations and transforms are used instead of computing them",
    )
    add(
        "--derivatives-flavor",
        choices=FLAVORS,
        help="file names of the results: those that fMRIPrep reads, those that NiBabies reads, or both "
        "(default: fmriprep)",
    )
    add("--sloppy", action="store_true", help="coarse and fast, for tests; the results are marked")
    add("--random-seed", type=int, metavar="N", help="seed of all random numbers (default: 0)")
    add(
        "--reproducible",
        action="store_true",
        help="the same bytes on all x86-64 processors with AVX2: float32 on the CPU, one thread per step, no "
        "newer instructions; slower (more threads with --omp-nthreads, of the same number everywhere)",
    )


def _add_resources(add: Add) -> None:
    add("--nprocs", type=int, metavar="N", help="total number of CPUs (default: all that are available)")
    add("--omp-nthreads", type=int, metavar="N", help="CPUs per step (default: what participants leave)")
    add(
        "--mem",
        metavar="SIZE",
        help="total memory, such as 8G or 8000M; without unit: MB (default: 90%% of that of the machine, "
        "container or job)",
    )
    add(
        "--device",
        type=device_name,
        metavar="{auto,cpu,cuda[:N],mps}",
        complete=DEVICES,
        help="device that the networks run on (default: auto)",
    )
    add(
        "--n-gpus",
        type=int,
        metavar="N",
        help="number of GPUs to share between participants (default: those of CUDA_VISIBLE_DEVICES or of the "
        "Slurm job, else 1)",
    )
    add(
        "-w",
        "--work-dir",
        metavar="DIR",
        complete="folder",
        help="folder for intermediate files (default: ./work)",
    )
    add("--keep-work-dir", action="store_true", help="keep intermediate files of finished participants")


def _add_execution(add: Add) -> None:
    add(
        "--resume",
        action=argparse.BooleanOptionalAction,
        help="continue an earlier run and keep finished participants (default: yes)",
    )
    add("--resume-failed", action="store_true", help="only participants that failed in an earlier run")
    add("--stop-on-first-crash", action="store_true", help="end the run at the first failure")
    add(
        "--stop-after",
        choices=("skullstrip",),
        help="write only the brain masks and their figures; the next run uses a mask that you corrected and "
        "saved in the same folder as *_desc-corrected_mask.nii.gz",
    )
    add(
        "--quality-gate",
        nargs="?",
        const="fail",
        choices=("fail", "check"),
        help="exit with code 4 if a participant fails quality control (check: or is rated check)",
    )
    add(
        "--group-by",
        metavar="COLUMN",
        help="group level: sum up the volumes by a column of group_volumes.tsv, such as sex or one of the "
        "study's participants.tsv, in group_summary.tsv, and split the page by it",
    )
    add(
        "--no-pages",
        action="store_true",
        help="group level: write only the tables, and leave the pages of study and participants as they are",
    )
    add("--dry-run", action="store_true", help="print what would be done, and do nothing")
    add("--reports-only", action="store_true", help="write only the reports, from existing derivatives")
    add("--boilerplate-only", action="store_true", help="write only the methods text")
    add("--write-graph", action="store_true", help="draw the workflow into the log folder of the run")
    add(
        "--plugin",
        choices=("multiproc", "linear"),
        help="multiproc: several processes; linear: one step after the other in one process "
        "(default: multiproc)",
    )
    add(
        "--nipype-plugin-file",
        metavar="YAML",
        complete="file",
        help="another Nipype plugin: {plugin: SLURM, plugin_args: {...}}",
    )
    add(
        "--debug",
        action="store_true",
        help="use --plugin linear, keep intermediate files and show tracebacks",
    )
    add(
        "--config-file",
        metavar="TOML",
        complete="file",
        help="file with options; every run stores its own in OUT/logs/RUN",
    )


def _add_jobs(add: Add) -> None:
    add(
        "--write-job",
        choices=(*SYSTEMS, *ENGINES),
        help="compute nothing; write the jobs for this batch system or workflow engine, with these options, "
        "and a list of the participants that are left to do, into OUT/logs/jobs",
    )
    add(
        "--image",
        metavar="SIF",
        complete="file",
        help="container image that the jobs run with Apptainer or Singularity (default: this installation)",
    )
    add("--per-task", type=int, metavar="K", help="participants of each task of the array (default: 1)")
    add(
        "--max-array",
        type=int,
        metavar="N",
        help="largest index of an array; longer lists become several arrays (default: by Slurm, or 1000)",
    )
    add(
        "--only-failed",
        action="store_true",
        help="jobs only for participants that failed or were killed in an earlier run",
    )


def _add_other(add: Add) -> None:
    add("-v", "--verbose", action="count", help="show Nipype's messages too; -vv: all of them")
    add("--notrack", action="store_true", help="accepted for compatibility; no usage data is ever sent")
    add(
        "--completion",
        action=Completion,
        choices=SHELLS,
        help='print the completion script for a shell: eval "$(brainseg-bids --completion bash)"',
    )
    add("--version", action="version", version=f"brainseg-bids {__version__}", help="print the version")
    add("-h", "--help", action="help", help="print this help")


def _add_elsewhere(out: Parser) -> None:
    """Accept the options of BIDS Apps, fMRIPrep and MRIQC that have other names here, or no meaning."""
    out.also("--nprocs", "--n-cpus", "--nthreads", "--n-procs")
    out.also("--omp-nthreads", "--ants-nthreads")
    out.also("--mem", "--mem-mb", type=functools.partial(_with_unit, "M"), metavar="MB")
    out.also("--mem", "--mem-gb", type=functools.partial(_with_unit, "G"), metavar="GB")
    out.also("--session-label", "--session-id")
    out.also("--skull-strip", "--skull-strip-t1w")
    out.also("--nipype-plugin-file", "--use-plugin")
    out.also(
        "--subject-anatomical-reference",
        "--longitudinal",
        action=Noted,
        nargs=0,
        note="all sessions of a participant share one reference image, their average "
        "(--subject-anatomical-reference unbiased)",
        sets=("subject_anatomical_reference", "unbiased"),
    )
    out.needless("--fs-license-file", "ignored; no license file is needed", metavar="FILE")
    out.needless("--fs-no-reconall", "ignored; surfaces are never computed", nargs=0)
    out.needless("--anat-only", "ignored; only anatomical images are ever processed", nargs=0)
    out.needless("--no-sub", "ignored; no data ever leave this machine", nargs=0)


def _with_unit(unit: str, text: str) -> str:
    """Return an amount of memory with its unit, if it has none."""
    return text if text[-1:].isalpha() else text + unit
