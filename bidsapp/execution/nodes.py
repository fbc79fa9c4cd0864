"""The two nodes that end every unit's workflow: its results are complete, and its report."""

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
    out_files = InputMultiObject(File(exists=True), mandatory=True, desc="everything that was written")


class _FinishOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="everything that was written")


class Finish(SimpleInterface):
    """Wait for all results of a unit."""

    input_spec = _FinishInputSpec
    output_spec = _FinishOutputSpec
    always_run = True

    def _run_interface(self, runtime):
        self._results["out_files"] = self.inputs.out_files
        return runtime


class _ReportInputSpec(BaseInterfaceInputSpec):
    out_dir = Str(mandatory=True, desc="the derivatives' root")
    key = Str(mandatory=True, desc="the unit, such as sub-01_ses-02")
    out_files = InputMultiObject(File(), desc="results that must be there before")


class _ReportOutputSpec(TraitedSpec):
    out_report = File(exists=True, desc="the page")


class Report(SimpleInterface):
    """Write the report of a unit from its derivatives."""

    input_spec = _ReportInputSpec
    output_spec = _ReportOutputSpec
    always_run = True

    def _run_interface(self, runtime):
        page = write_participant(Path(self.inputs.out_dir), self.inputs.key)
        if not Path(page).is_file():
            raise ReportError(page, "the report was not written", "Look at the log")
        self._results["out_report"] = str(page)
        return runtime


def finish_node() -> pe.Node:
    """The node at which a unit's results are complete; it runs in the main process."""
    return pe.Node(Finish(), name=FINISH, run_without_submitting=True)


def report_node(out_dir: Path, key: str) -> pe.Node:
    """The node that writes a unit's report."""
    return pe.Node(Report(out_dir=str(out_dir), key=key), name=REPORT, mem_gb=1.0, n_procs=1)
