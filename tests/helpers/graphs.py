"""Workflows of one participant-session from plain keyword arguments."""

from __future__ import annotations

from dataclasses import fields

from brainseg.workflows.common.parameters import ParticipantInputs, ProcessingOptions, Resources
from brainseg.workflows.participant import init_participant_wf


def participant_wf(participant_session=None, **arguments):
    """Return the workflow of a participant-session of ``stage_results``, or of an image that does not exist.

    ``arguments`` are attributes of `ParticipantInputs`, `ProcessingOptions` and `Resources`.
    """
    arguments = {
        "source_file": str(
            participant_session.source if participant_session else "/bids/sub-01/anat/sub-01_T1w.nii.gz"
        ),
        "bids_root": str(participant_session.bids if participant_session else "/bids"),
        "out_dir": str(participant_session.out if participant_session else "/out"),
        "key": participant_session.key if participant_session else "sub-01",
    } | arguments
    groups = []
    for kind in (ParticipantInputs, ProcessingOptions, Resources):
        names = [field.name for field in fields(kind) if field.name in arguments]
        groups.append(kind(**{name: arguments.pop(name) for name in names}))
    assert not arguments, f"no such parameters: {sorted(arguments)}"
    inputs, options, resources = groups
    return init_participant_wf(name="sub_01_wf", inputs=inputs, options=options, resources=resources)
