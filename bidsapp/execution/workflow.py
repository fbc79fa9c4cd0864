"""From units to one Nipype workflow, and its execution."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...models.errors import BrainsegError, MissingFileError, UsageError
from ...models.io import atomic
from ...models.population import populations
from ...workflows.common.parameters import ParticipantInputs, ProcessingOptions, Resources
from .. import __version__
from ..config.settings import TEMPLATES, Settings
from ..inputs.select import Unit
from ..status import records
from . import failures
from .directories import Places
from .tracker import Board

LOG = logging.getLogger("brainseg")
NAME = "brainseg_wf"
LEFT_OUT = ("posteriors", "template-outputs", "jacobian")
"""Steps that, when off, leave files out."""

POLL = 0.2
"""Seconds between two looks at what is done."""


def workflow_name(key: str) -> str:
    """Name of a unit's workflow.

    Examples
    --------
    >>> workflow_name("sub-01_ses-2")
    'sub_01_ses_2_wf'
    """
    return key.replace("-", "_").replace("+", "_plus_") + "_wf"


def chain(**arguments: Any) -> Any:
    """The workflow of one unit, from image to derivatives."""
    from ...workflows.participant import init_participant_wf

    return init_participant_wf(**arguments)


def describe_dataset(out_dir: Path, bids_root: Path, links: dict[str, Path]) -> None:
    """Write what makes the output folder a BIDS dataset, before anything else."""
    from ...interfaces.io.dataset import write_dataset_description

    write_dataset_description(out_dir, bids_root, __version__, links)


def devices(settings: Settings) -> list[str]:
    """Devices to share the units among.

    Raises
    ------
    UsageError
        If there are not as many as were asked for.
    """
    asked = settings.n_gpus
    if settings.device == "cpu" and not asked:
        return ["cpu"]
    import torch

    from ...models.networks.device import resolve

    device = resolve("cpu" if asked == 0 and settings.device == "auto" else settings.device)
    if not device.startswith("cuda"):
        if asked:
            raise UsageError(
                None, f"--n-gpus {asked}, but networks run on the {device}", "Give --device cuda"
            )
        return [device]
    there = torch.cuda.device_count()
    if asked is None or asked == 1:
        return [device]
    if asked == 0 or asked > there:
        raise UsageError(
            None, f"--n-gpus {asked} with --device {device}: there are {there}", "Give as many or fewer"
        )
    return [f"cuda:{number}" for number in range(asked)]


def build(units: list[Unit], settings: Settings, places: Places, board: Board, use: list[str]) -> Any:
    """One workflow over all units; a unit whose own cannot be built fails alone."""
    workflow = _empty(settings, places)
    for number, unit in enumerate(units):
        name = workflow_name(unit.key)
        try:
            one = unit_workflow(unit, settings, places, use[number % len(use)], name)
        except Exception as error:
            # Weights that are missing, or a settings mistake, hold for every unit alike.
            if isinstance(error, (MissingFileError, UsageError)):
                raise
            if not isinstance(error, BrainsegError):
                LOG.exception("%s: its workflow cannot be built", unit.key)
            board.refuse(unit, failures.of_error(error, "start"))
            continue
        board.expect(unit, name)
        workflow.add_nodes([one])
    return workflow


def spaces_of(settings: Settings, unit: Unit) -> tuple[str, ...]:
    """The output spaces of a unit: those asked for, or its population's own template if none was."""
    own = populations.load(unit.population).template
    return settings.output_spaces if settings.output_spaces != TEMPLATES or not own else (own,)


def unit_workflow(unit: Unit, settings: Settings, places: Places, device: str, name: str) -> Any:
    """The workflow of one unit with the nodes that end it."""
    from . import nodes

    workflow = chain(
        name=name,
        inputs=ParticipantInputs(
            source_file=str(unit.image),
            bids_root=str(settings.bids_dir),
            out_dir=str(places.out),
            key=unit.key,
            population=unit.population,
            age=unit.age,
            averaged=tuple(str(path) for path in unit.averaged),
            other_contrasts=tuple(str(path) for path in unit.beside),
            precomputed={role: str(path) for role, path in unit.given.files.items()},
            precomputed_uris=unit.given.uris,
        ),
        options=ProcessingOptions(
            skull_strip=settings.skull_strip,
            accurate=settings.effort == "accurate",
            label_table=unit.label_table,
            hippocampus=settings.step("hippocampus"),
            lesion=settings.step("lesion"),
            output_spaces=spaces_of(settings, unit),
            engine=settings.registration,
            refine=settings.registration_refine,
            flavor=settings.derivatives_flavor,
            leave_out=tuple(name for name in LEFT_OUT if not settings.step(name)),
            stop_after=settings.stop_after,
            sloppy=settings.sloppy,
        ),
        resources=Resources(device=device, num_threads=settings.omp_nthreads, mem_gb=settings.mem_gb),
    )
    finish, report = nodes.finish_node(), nodes.report_node(places.out, unit.key)
    workflow.connect(
        [
            (workflow.get_node("outputnode"), finish, [("out_files", "out_files")]),
            (finish, report, [("out_files", "out_files")]),
        ]
    )
    return workflow


def build_reports(keys: list[str], settings: Settings, places: Places, board: Board) -> Any:
    """One workflow that makes the reports of units from their derivatives."""
    from nipype.pipeline import engine as pe

    from . import nodes

    workflow = _empty(settings, places)
    for key in keys:
        one = pe.Workflow(workflow_name(key))
        one.add_nodes([nodes.report_node(places.out, key)])
        workflow.add_nodes([one])
        board.expect_report(key, one.name)
    return workflow


def _empty(settings: Settings, places: Places) -> Any:
    from nipype.pipeline import engine as pe

    workflow = pe.Workflow(NAME, base_dir=str(places.work))
    workflow.config["execution"] = {
        "crashfile_format": "txt",
        "crashdump_dir": str(places.log),
        "create_report": "false",
        "remove_unnecessary_outputs": "false",
        "stop_on_first_crash": str(settings.stop_on_first_crash).lower(),
        "poll_sleep_duration": str(POLL),
        "check_version": "false",
    }
    return workflow


def execute(workflow: Any, settings: Settings, places: Places, board: Board, gpus: int = 0) -> None:
    """Run a workflow to its end; what fails is on the board.

    Raises
    ------
    KeyboardInterrupt
        If the user or the system stops the run.
    """
    if not workflow.list_node_names():
        return
    plugin = _plugin(workflow, settings, places, board, gpus)
    try:
        workflow.run(plugin=plugin)
    except KeyboardInterrupt as stop:
        board.interrupt(f"the run was stopped{f' by {stop}' if str(stop) else ''}")
        raise
    except Exception as error:
        _account(error, settings, board)
    finally:
        plugin.close()


def plugin_of(path: Path) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a Nipype plugin from a YAML or JSON file.

    Raises
    ------
    UsageError
        If the file cannot be read or names none.
    """
    import yaml

    remedy = "Such as: {plugin: SLURM, plugin_args: {sbatch_args: --mem=8G}}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"the plugin file cannot be read ({error.strerror})"
        raise UsageError(path, reason, "Check the path") from None
    except (yaml.YAMLError, ValueError) as error:
        reason = f"it is not valid YAML ({' '.join(str(error).split())[:120]})"
        raise UsageError(path, reason, remedy) from None
    name = content.get("plugin") if isinstance(content, dict) else None
    arguments = content.get("plugin_args") or {} if isinstance(content, dict) else {}
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise UsageError(path, "it does not name a plugin and its arguments", remedy)
    return name, arguments


def warm_up(settings: Settings) -> None:
    """Let the workers' libraries be imported while this process does other things."""
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    for name in (*threads, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = str(settings.omp_nthreads)
    if settings.plugin == "multiproc":
        from . import plugins

        plugins.start_server()


def _account(error: Exception, settings: Settings, board: Board) -> None:
    """Nipype ends with an exception whenever a node failed: is it one that the board knows of?"""
    if settings.stop_on_first_crash and any(f.stage != records.REPORT for f in board.faults):
        board.interrupt("the run was stopped at the first failure")
    elif board.pending:
        LOG.error("the execution ended early", exc_info=error)
        for key in sorted(board.pending):
            board.fail(key, failures.of_error(error, board.records[key].stage or "start"))


def _plugin(workflow: Any, settings: Settings, places: Places, board: Board, gpus: int) -> Any:
    from . import plugins

    numbers = {name: number for number, name in enumerate(board.records)}
    order: Callable[[Any], int] = lambda node: numbers.get(board.locate(node)[0], 0)  # noqa: E731
    arguments = {
        "n_procs": settings.nprocs,
        "memory_gb": settings.mem_gb,
        "n_gpu_procs": gpus,
        "status_callback": _guarded(board.callback),
    }
    telling = {"on_failure": _guarded(board.failure), "order": order, "seed": settings.random_seed}
    if settings.nipype_plugin_file:
        name, more = plugin_of(settings.nipype_plugin_file)
        return plugins.foreign(name, arguments | more, _guarded(board.failure))
    if settings.plugin == "linear":
        return plugins.LinearPlugin(arguments, **telling)
    level = logging.DEBUG if settings.verbose > 1 else logging.INFO
    log = {"log_file": places.log / "brainseg.log", "level": level, "echo": bool(settings.verbose)}
    return plugins.WorkersPlugin(arguments, **telling, **log)


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    """A fault in telling must not end what is told of."""

    def guarded(*arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception:
            LOG.exception("the status could not be followed")

    return guarded


def write_methods(workflow: Any, out_dir: Path) -> Path:
    """Write the methods text of a unit's workflow with the dataset."""
    path = out_dir / "logs" / "CITATION.md"
    text = workflow.visit_desc().strip()
    header = f"<!-- Written by brainseg-bids {__version__}; free to copy into a paper (CC0). -->\n\n"
    atomic.write_text(path, f"{header}{text}\n")
    return path


def draw(workflow: Any, places: Places) -> list[Path]:
    """Draw a unit's workflow: a picture where graphviz is installed, and its description."""
    dot = places.log / "graph.dot"
    with suppress(OSError):  # without graphviz only the description is written
        workflow.write_graph(dotfilename=str(dot), graph2use="colored", format="svg", simple_form=True)
    return [path for path in (dot.with_suffix(".svg"), dot) if path.is_file()]


def has_graphviz() -> bool:
    """Whether graphs can be drawn."""
    return shutil.which("dot") is not None
