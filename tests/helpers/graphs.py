"""Workflows of one participant-session from plain keyword arguments."""

from __future__ import annotations

from dataclasses import fields

from brainseg.workflows.common.parameters import ParticipantInputs, ProcessingOptions, Resources
from brainseg.workflows.participant import init_participant_wf


def participant_wf(unit=None, **arguments):
    """Return the workflow of a unit of ``stage_results``, or of an image that does not exist.

    ``arguments`` are attributes of `ParticipantInputs`, `ProcessingOptions` and `Resources`.
    """
    arguments = {
        "source_file": str(unit.source if unit else "/bids/sub-01/anat/sub-01_T1w.nii.gz"),
        "bids_root": str(unit.bids if unit else "/bids"),
        "out_dir": str(unit.out if unit else "/out"),
        "key": unit.key if unit else "sub-01",
    } | arguments
    groups = []
    for kind in (ParticipantInputs, ProcessingOptions, Resources):
        names = [field.name for field in fields(kind) if field.name in arguments]
        groups.append(kind(**{name: arguments.pop(name) for name in names}))
    assert not arguments, f"no such parameters: {sorted(arguments)}"
    inputs, options, resources = groups
    return init_participant_wf(name="sub_01_wf", inputs=inputs, options=options, resources=resources)
