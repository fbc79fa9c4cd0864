"""The commands of ``brainseg`` for templates, derivatives and viewers, and their arguments."""

from __future__ import annotations

from .dispatch import Command
from .parser import Parser


def _add_check_derivatives(parser: Parser) -> None:
    add = parser.add_argument
    add("folder", metavar="OUT", complete="folder", help="derivatives, of brainseg-bids or another program")
    add(
        "--participant-label",
        nargs="+",
        metavar="LABEL",
        complete="participant",
        help="only these participants (default: all)",
    )
    add(
        "--output-spaces",
        nargs="+",
        metavar="SPACE",
        complete="template",
        help="output spaces of the planned run (default: all that the derivatives have transforms to)",
    )
    add(
        "--reference",
        choices=("T1w", "T2w"),
        default="T1w",
        help="--reference-anat of NiBabies (default: T1w)",
    )


def _add_templates(parser: Parser) -> None:
    add = parser.add_argument
    add("action", choices=("list", "get"), help="list templates, or fetch some from TemplateFlow")
    add(
        "name",
        metavar="NAME",
        nargs="*",
        complete="template",
        help="NAME[:cohort-N][:res-N], as in --output-spaces of brainseg-bids; list: its cohorts and "
        "resolutions (default: all templates)",
    )
    add(
        "--atlas",
        nargs="+",
        metavar="ATLAS",
        help="get: also these atlases in the template, as in --atlases of brainseg-bids: NAME[:desc-DESC]",
    )


def _add_stats(parser: Parser) -> None:
    add = parser.add_argument
    add("folder", metavar="OUT", complete="folder", help="derivatives of brainseg-bids")
    add(
        "--to",
        metavar="DIR",
        complete="folder",
        help="folder for DIR/sub-LABEL[_ses-LABEL]/stats, SUBJECTS_DIR for asegstats2table and "
        "aparcstats2table (default: OUT/fs-stats)",
    )
    add(
        "--fs-dir",
        metavar="DIR",
        complete="folder",
        help="the same in DIR, and images in DIR/sub-LABEL[_ses-LABEL]/mri: orig, T1, brainmask, aseg and "
        "aparc+aseg (.mgz), conformed as by FreeSurfer",
    )
    add(
        "--participant-label",
        nargs="+",
        metavar="LABEL",
        complete="participant",
        help="only these participants (default: all)",
    )


def _add_melage_plugin(parser: Parser) -> None:
    parser.add_argument("folder", metavar="DIR", complete="folder", help="the folder plugins of MELAGE")


COMMANDS: dict[str, Command] = {
    "templates": Command(
        "{list,get} [NAME ...]",
        "list templates, or fetch them from TemplateFlow",
        "List the templates that --output-spaces of brainseg-bids takes, or fetch TemplateFlow's into its "
        "folder (TEMPLATEFLOW_HOME). The default template comes with the program.",
        _add_templates,
        "brainseg.bidsapp.tools.templates.command:run",
    ),
    "check-derivatives": Command(
        "OUT",
        "show what fMRIPrep and NiBabies would use of a folder",
        "Show which stages fMRIPrep and NiBabies would skip with the derivatives in OUT, why they would "
        "compute the others, and the commands to run them.",
        _add_check_derivatives,
        "brainseg.bidsapp.tools.check_derivatives:run",
    ),
    "stats": Command(
        "OUT [--to DIR | --fs-dir DIR]",
        "write volumes and images as FreeSurfer does, for programs that read its files",
        "Write the volumes in OUT as FreeSurfer does, for every participant-session: aseg.stats, and "
        "lh.aparc.stats and rh.aparc.stats where there are parcels. asegstats2table, aparcstats2table and "
        "other scripts read them. With --fs-dir also the images.",
        _add_stats,
        "brainseg.bidsapp.tools.stats.command:run",
    ),
    "melage-plugin": Command(
        "DIR",
        "add these tools to the MELAGE viewer",
        "Write an extension of the MELAGE viewer into its folder plugins: structures, tissues, brain mask or "
        "lesions of the open image, by this program. Label descriptions for MELAGE and ITK-SNAP are with it.",
        _add_melage_plugin,
        "brainseg.bidsapp.tools.viewers.melage_plugin:run",
    ),
}
