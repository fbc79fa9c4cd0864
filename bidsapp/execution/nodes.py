"""The last two nodes of each workflow: completion of the results, and the report."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    Str,
    TraitedSpec,
)
from nipype.pipeline import engine as pe

from ...models.errors import ReportError
from ..reports.participant import write_participant
from ..status.records import REPORT
from .tracker import FINISH


class _FinishInputSpec(BaseInterfaceInputSpec):
    out_files = InputMultiObject(File(exists=True), mandatory=True, desc="all derivatives")


class _FinishOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="all derivatives")


class Finish(SimpleInterface):
    """Wait for all results of a participant-session."""

    input_spec = _FinishInputSpec
    output_spec = _FinishOutputSpec
    always_run = True

    def _run_interface(self, runtime):
        self._results["out_files"] = self.inputs.out_files
        return runtime


class _ReportInputSpec(BaseInterfaceInputSpec):
    out_dir = Str(mandatory=True, desc="root of the derivatives")
    key = Str(mandatory=True, desc="participant and session, such as sub-01_ses-02")
    out_files = InputMultiObject(File(), desc="derivatives to wait for")


class _ReportOutputSpec(TraitedSpec):
    out_report = File(exists=True, desc="the report")


class Report(SimpleInterface):
    """Write the report of a participant-session from its derivatives."""

    input_spec = _ReportInputSpec
    output_spec = _ReportOutputSpec
    always_run = True

    def _run_interface(self, runtime):
        page = write_participant(Path(self.inputs.out_dir), self.inputs.key)
        if not Path(page).is_file():
            raise ReportError(page, "the report was not written", "See the log of the run")
        self._results["out_report"] = str(page)
        return runtime


def finish_node() -> pe.Node:
    """Return the node that waits for all results; it runs in the main process."""
    return pe.Node(Finish(), name=FINISH, run_without_submitting=True)


def report_node(out_dir: Path, key: str) -> pe.Node:
    """Return the node that writes the report.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    key : str
        The participant-session, such as ``sub-01_ses-02``.
    """
    return pe.Node(Report(out_dir=str(out_dir), key=key), name=REPORT, mem_gb=1.0, n_procs=1)
