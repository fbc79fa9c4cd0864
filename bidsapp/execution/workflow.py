"""One Nipype workflow for many participant-sessions, and its execution."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from ...interfaces.io import files
from ...interfaces.io.dataset import (
    SLOPPY,
    is_marked_sloppy,
    write_dataset_description,
    write_label_table,
)
from ...interfaces.own_labels import own_labels_of
from ...models.data import model_files
from ...models.errors import BrainsegError, MissingFileError, UsageError
from ...models.io import outputs
from ...models.population import labels
from ...workflows.common.parameters import ParticipantInputs, ProcessingOptions, Resources
from ...workflows.participant import init_participant_wf
from .. import __version__
from ..config import plugin_file
from ..config.settings import Settings
from ..inputs import options
from ..inputs.select import ParticipantSession, spaces_of
from ..status import cards, failures, records
from . import nodes
from .context import Run
from .directories import Directories
from .scheduler import logs, nipype_internals, plugins, signals, slots
from .scheduler.devices import arithmetic
from .tracker import Tracker, passes_on

LOG = logging.getLogger("brainseg")
NAME = "brainseg_wf"
LEFT_OUT = ("posteriors", "template-outputs", "jacobian", "vbm")
"""Steps whose files are omitted if the step is off."""

POLL = 0.05
"""Seconds between two polls of the running nodes."""


def workflow_name(key: str) -> str:
    """Return the name of the workflow of a participant-session.

    Parameters
    ----------
    key : str
        The participant-session, such as ``sub-01_ses-2``.

    Examples
    --------
    >>> workflow_name("sub-01_ses-2")
    'sub_01_ses_2_wf'
    """
    return key.replace("-", "_").replace("+", "_plus_") + "_wf"


def describe_dataset(
    out_dir: Path,
    bids_root: Path,
    links: dict[str, Path],
    sloppy: bool = False,
    label_files: Collection[str] | None = None,
) -> None:
    """Write the files that make the output folder a BIDS dataset.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    bids_root : Path
        The dataset.
    links : dict of str to Path
        Further datasets by name, for BIDS URIs.
    sloppy : bool
        Whether this run, or one whose results are still there, is for trying only.
    label_files : collection of str, optional
        Names of the label tables to write (default: all).
    """
    # A sloppy run marks the description before its first result, so all status files are read only then.
    sloppy = sloppy or (is_marked_sloppy(out_dir) and records.any_sloppy(out_dir))
    write_dataset_description(out_dir, bids_root, __version__, links, sloppy=sloppy, label_files=label_files)


def describe_networks(settings: Settings, out_dir: Path) -> None:
    """Write the model cards of the user's networks, and the label table of one with labels of its own."""
    cards.keep(settings, out_dir)
    own = own_labels_of(settings.networks)
    if own:
        table = labels.of_card(model_files.read_card(own))
        write_label_table(out_dir, outputs.own_desc(model_files.title(own)), table)


def build(participant_sessions: list[ParticipantSession], run: Run, devices: list[str]) -> pe.Workflow:
    """Return one workflow for all participant-sessions; one that cannot be built fails alone.

    Parameters
    ----------
    participant_sessions : list of ParticipantSession
        The participant-sessions.
    run : Run
        The context of the run.
    devices : list of str
        Devices of the networks; the participant-sessions use them in turn.

    Returns
    -------
    Workflow
        The workflow.

    Raises
    ------
    MissingFileError, UsageError
        If weights are missing or a setting is invalid, which affects all participant-sessions.
    """
    workflow = _empty(run)
    # Another plugin of Nipype computes elsewhere.
    known = {} if run.settings.nipype_plugin_file else {name: arithmetic(name) for name in devices}
    for number, ps in enumerate(participant_sessions):
        name, device = workflow_name(ps.key), devices[number % len(devices)]
        try:
            one = participant_session_workflow(ps, run.settings, run.directories, device, name)
        except (MissingFileError, UsageError):
            raise
        except Exception as error:
            if not isinstance(error, BrainsegError):
                LOG.exception("%s: its workflow cannot be built", ps.key)
            run.tracker.refuse(ps, failures.of_error(error, "start"))
            continue
        run.tracker.expect(ps, name, known.get(device), stages=_stages(one))
        workflow.add_nodes([one])
    return workflow


def _stages(workflow: pe.Workflow) -> list[str]:
    """Return the stages of a participant-session's workflow in their order, the report included."""
    names = [name for name in workflow.list_node_names() if not passes_on(workflow.get_node(name))]
    ends = ("inputnode", "outputnode")  # of the whole and of every stage
    found = {name.partition(".")[0] for name in names if name.rpartition(".")[2] not in ends}
    return [name.removesuffix("_wf") for name in nipype_internals.members(workflow) if name in found]


def participant_session_workflow(
    participant_session: ParticipantSession,
    settings: Settings,
    directories: Directories,
    device: str,
    name: str,
) -> pe.Workflow:
    """Return the workflow of a participant-session with its last nodes.

    Parameters
    ----------
    participant_session : ParticipantSession
        The participant-session.
    settings : Settings
        Settings of the run.
    directories : Directories
        Folders of the run.
    device : str
        Device of the networks.
    name : str
        Name of the workflow.
    """
    workflow = init_participant_wf(
        name=name,
        inputs=ParticipantInputs(
            source_file=str(participant_session.image),
            bids_root=str(settings.bids_dir),
            out_dir=str(directories.out),
            key=participant_session.key,
            population=participant_session.population,
            age=participant_session.age,
            averaged=tuple(str(path) for path in participant_session.averaged),
            other_contrasts=tuple(str(path) for path in participant_session.other_contrasts),
            maps={name: str(path) for name, path in participant_session.maps.items()},
            precomputed={role: str(path) for role, path in participant_session.precomputed.files.items()},
            precomputed_uris=participant_session.precomputed.uris,
        ),
        options=_options(participant_session, settings),
        resources=Resources(device=device, num_threads=settings.omp_nthreads, mem_gb=settings.mem_gb),
    )
    finish, report = nodes.finish_node(), nodes.report_node(directories.out, participant_session.key)
    workflow.connect(workflow.get_node("outputnode"), "out_files", finish, "out_files")
    workflow.connect(finish, "out_files", report, "out_files")
    return workflow


def _options(participant_session: ParticipantSession, settings: Settings) -> ProcessingOptions:
    """Return the options of the processing of a participant-session."""
    return ProcessingOptions(
        skull_strip=settings.skull_strip,
        reorient=settings.reorient,
        effort=settings.effort,
        label_table=participant_session.label_table,
        networks=options.pinned(settings, participant_session.population),
        hippocampus=settings.step("hippocampus"),
        lesion=settings.step("lesion"),
        force=settings.force,
        output_spaces=spaces_of(settings, participant_session),
        atlases=options.atlases(settings, participant_session.population),
        smooth=settings.smooth or 0.0,
        engine=settings.registration,
        refine=settings.registration_refine,
        flavor=settings.derivatives_flavor,
        leave_out=tuple(name for name in LEFT_OUT if not settings.step(name)),
        stop_after=settings.stop_after,
        sloppy=settings.sloppy,
    )


def build_reports(keys: list[str], run: Run) -> pe.Workflow:
    """Return one workflow that writes the reports of participant-sessions from their derivatives.

    Parameters
    ----------
    keys : list of str
        The participant-sessions.
    run : Run
        The context of the run.
    """
    workflow = _empty(run)
    for key in keys:
        one = pe.Workflow(workflow_name(key))
        one.add_nodes([nodes.report_node(run.directories.out, key)])
        workflow.add_nodes([one])
        run.tracker.expect_report(key, one.name)
    return workflow


def _empty(run: Run) -> pe.Workflow:
    workflow = pe.Workflow(NAME, base_dir=str(run.directories.work))
    workflow.config["execution"] = {
        "crashfile_format": "txt",
        "crashdump_dir": str(run.directories.log),
        "create_report": "false",
        "remove_unnecessary_outputs": "false",
        "stop_on_first_crash": str(run.settings.stop_on_first_crash).lower(),
        "poll_sleep_duration": str(POLL),
        "check_version": "false",
    }
    return workflow


def execute(workflow: pe.Workflow, run: Run, devices: Sequence[str] = ()) -> None:
    """Run a workflow; the tracker records failures.

    Parameters
    ----------
    workflow : Workflow
        The workflow.
    run : Run
        The context of the run.
    devices : sequence of str
        Devices of the networks.

    Raises
    ------
    KeyboardInterrupt
        If the user or the system stops the run.
    """
    if not workflow.list_node_names():
        return
    plugin = _plugin(run, devices)
    try:
        workflow.run(plugin=plugin)
    except KeyboardInterrupt as asked:
        _interrupt(asked, run)
        raise
    except Exception as error:
        stop = signals.received()
        if stop is not None:  # it tore what was going on, or came while that was put away
            LOG.debug("an error after the request to stop", exc_info=error)
            _interrupt(stop, run)
            raise stop from None
        _account(error, run.settings, run.tracker)
    finally:
        plugin.close()


def _interrupt(stop: KeyboardInterrupt, run: Run) -> None:
    """Record that the user or the system stopped the run."""
    reason = f"the run was stopped{f' by {stop}' if str(stop) else ''}"
    run.tracker.interrupt(reason, f"{run.settings.again} to continue")


def _account(error: Exception, settings: Settings, tracker: Tracker) -> None:
    """Record an exception that no node explains: Nipype raises one whenever a node fails."""
    if settings.stop_on_first_crash and any(f.stage != records.REPORT for f in tracker.faults):
        tracker.interrupt("the run was stopped at the first failure", f"{settings.again} to continue")
    elif tracker.pending:
        LOG.error("the execution ended early", exc_info=error)
        for key in sorted(tracker.pending):
            tracker.fail(key, failures.of_error(error, tracker.records[key].stage or "start"))


def _plugin(run: Run, devices: Sequence[str]) -> Any:
    settings, tracker = run.settings, run.tracker
    ranks = {key: rank for rank, key in enumerate(tracker.records)}
    arguments = {
        "n_procs": settings.nprocs,
        "memory_gb": settings.mem_gb,
        "n_gpu_procs": sum(name.startswith("cuda") for name in devices),
        "status_callback": _guarded(tracker.callback),
    }
    rank = lambda node: ranks.get(tracker.locate(node)[0], -1)  # noqa: E731
    admit = lambda node: tracker.admit(tracker.locate(node)[0])  # noqa: E731
    hooks: dict[str, Any] = {
        "on_failure": _guarded(tracker.failure),
        "order": rank,
        "admit": admit,
        "seed": settings.random_seed,
    }
    if settings.nipype_plugin_file:
        name, more = plugin_file.read(settings.nipype_plugin_file)
        return plugins.foreign(name, arguments | more, _guarded(tracker.failure), admit, rank)
    if settings.plugin == "linear":
        return plugins.LinearPlugin(arguments, **hooks)
    log: dict[str, Any] = {
        "log_file": run.directories.log / logs.FILE,
        "level": logs.level(settings.verbose),
        "echo": bool(settings.verbose),
        "slots": slots.slots(devices),
    }
    return plugins.WorkersPlugin(arguments, **hooks, **log)


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    """Return the function with its exceptions logged: an error in the tracker must not stop the run."""

    def guarded(*arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception:
            LOG.exception("the status could not be updated")

    return guarded


def write_methods(workflow: Any, out_dir: Path, sloppy: bool = False) -> Path:
    """Write the methods text of a workflow to the output folder and return its path.

    Parameters
    ----------
    workflow : Workflow
        The workflow.
    out_dir : Path
        Root of the derivatives.
    sloppy : bool
        Whether the results are for trying only.
    """
    path = out_dir / "logs" / "CITATION.md"
    text = (f"**{SLOPPY}.**\n\n" if sloppy else "") + workflow.visit_desc().strip()
    header = f"<!-- Written by brainseg-bids {__version__}; free to copy into a paper (CC0). -->\n\n"
    files.write_text(path, f"{header}{text}\n")
    return path


def draw(workflow: Any, directories: Directories) -> list[Path]:
    """Draw a workflow in the log folder and return the files.

    Parameters
    ----------
    workflow : Workflow
        The workflow.
    directories : Directories
        Folders of the run.

    Returns
    -------
    list of Path
        The description (DOT) and, with Graphviz, the figure (SVG).
    """
    dot = directories.log / "graph.dot"
    with suppress(OSError):  # without graphviz only the description is written
        workflow.write_graph(dotfilename=str(dot), graph2use="colored", format="svg", simple_form=True)
    return [path for path in (dot.with_suffix(".svg"), dot) if path.is_file()]


def has_graphviz() -> bool:
    """Return whether Graphviz is installed."""
    return shutil.which("dot") is not None
