"""Registration: from the structures' centroids to an alignment with the template."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.registration import Register
from ..models import templates

DESC = """\
The image was aligned to the template {template} (Fonov et al., 2011, \
doi:10.1016/j.neuroimage.2010.07.033) by an affine that was fitted robustly, in closed form, to the \
centroids of the structures (an idea of EasyReg; Iglesias, 2023, doi:10.1038/s41598-023-33781-0). """


def init_registration_wf(
    *, name: str = "registration_wf", template: str = templates.DEFAULT, mem_gb: float = 0.5
) -> LiterateWorkflow:
    """Align a scan to a template.

    Parameters
    ----------
    name : str
        Name of the workflow.
    template : str
        Name of the template.
    mem_gb : float
        Memory (GB) that the node may need.

    Inputs
    ------
    source_file
        The scan as the dataset holds it.
    in_measures
        JSON with the structures' centroids.

    Outputs
    -------
    out_transform
        JSON with the matrix from the scan's mm to the template's, and the residual.
    notes
        What a reader of the results should know.
    """
    workflow = LiterateWorkflow(name)
    workflow.__desc__ = DESC.format(template=template)
    inputs = ["source_file", "in_measures"]
    inputnode = pe.Node(IdentityInterface(inputs), name="inputnode")
    outputnode = pe.Node(IdentityInterface(["out_transform", "notes"]), name="outputnode")
    registration = pe.Node(Register(template=template), name="registration", n_procs=1, mem_gb=mem_gb)
    workflow.connect(
        [
            (inputnode, registration, [(n, n) for n in inputs]),
            (registration, outputnode, [(n, n) for n in ("out_transform", "notes")]),
        ]
    )
    return workflow
