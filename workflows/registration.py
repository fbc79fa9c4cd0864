"""Registration: from a segmented image to its transforms to every output space."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.io.precomputed import PrecomputedAlignment
from ..interfaces.registration import Register, check_cohort
from ..models.pipeline import methods
from ..models.population import populations
from ..models.registration import reference
from ..models.templates import catalog, spaces

AFFINE = """\
The image was aligned to {templates} by an affine that was fitted robustly, in closed form, to the \
centroids of the structures (as in EasyReg; Iglesias, 2023, doi:10.1038/s41598-023-33781-0) and \
refined on their maps. """
SYN = """\
A diffeomorphism followed, by SyN of ANTs (Avants et al., 2008, doi:10.1016/j.media.2007.06.004) with the \
default settings of ANTsPy. """
REFERENCES = {
    catalog.DEFAULT: f"{catalog.DEFAULT} (Fonov et al., 2009, doi:10.1016/S1053-8119(09)70884-5)",
    catalog.SYMMETRIC: f"{catalog.SYMMETRIC} (Fonov et al., 2011, doi:10.1016/j.neuroimage.2010.07.033)",
}
FIELDS = ("in_file", "in_mask", "in_structures", "in_probabilities", "in_measures")


def init_registration_wf(
    *,
    name: str = "registration_wf",
    templates: tuple[str, ...] = (spaces.DEFAULT,),
    engine: str = "deep",
    refine: int | None = None,
    velocity: str = "",
    population: str = "adult",
    precomputed: dict[str, dict[str, str]] | None = None,
    device: str = "cpu",
    num_threads: int = 1,
    mem_gb: float = 1.5,
) -> LiterateWorkflow:
    """Register an image to every output space.

    Parameters
    ----------
    name : str
        Name of the workflow.
    templates : tuple of str
        Output spaces as the user writes them. Quality is judged with the first.
    engine : {'deep', 'ants', 'none'}
        Registration method; ``none`` is affine only.
    refine : int, optional
        Iterations at the finest level.
    velocity : str
        Weights of the network that predicts the initial velocity field; empty to start from the affine.
    population : str
        Name of the population. Its record maps ages to cohorts of a template.
    precomputed : dict of str to dict, optional
        Precomputed transforms by the label of the space: ``forward``, ``inverse``, and their BIDS URIs
        ``forward_uri`` and ``inverse_uri``.
    device : str
        Device of the networks.
    num_threads, mem_gb : int, float
        Threads and memory (GB) of a node.

    Raises
    ------
    InputError
        If a template needs a gestational age, but the population's ages are in years.

    Inputs
    ------
    source_file : str
        Image in the dataset.
    in_file, in_mask, in_structures : str
        Bias-corrected image, brain mask and structures (FreeSurfer ids) on one grid, shape (X, Y, Z).
    in_probabilities : list of str
        Probabilities of GM, WM and CSF on the same grid.
    in_measures : str
        JSON with volumes (mm3), centroids (mm) and age.

    Outputs
    -------
    out_transform : str
        JSON of the registration to the first space: matrix from mm to mm, residual (mm), transform files.
    out_transforms : list of str
        The same of all spaces, in their order.
    notes : list of str
        Notes for the report.
    """
    workflow = LiterateWorkflow(name)
    precomputed = precomputed or {}
    computed = [text for text in templates if spaces.parse(text).label not in precomputed]
    for text in computed:
        check_cohort(text, population)
    named = " and ".join(_reference(text) for text in computed)
    deep = methods.deformation(populations.load(population), predicted=bool(velocity))
    warped = {"deep": deep, "ants": SYN, "none": ""}[engine]
    workflow.__desc__ = AFFINE.format(templates=named) + warped if computed else ""
    if len(computed) < len(templates):
        named = " and ".join(_reference(text) for text in templates if text not in computed)
        workflow.__desc__ += f"Transforms to {named} were precomputed and used unchanged. "
    inputs = ["source_file", *FIELDS]
    inputnode = pe.Node(IdentityInterface(inputs), name="inputnode")
    outputnode = pe.Node(IdentityInterface(["out_transform", "out_transforms", "notes"]), name="outputnode")
    everything = pe.Node(Merge(len(templates)), name="everything", run_without_submitting=True)
    notes = pe.Node(Merge(len(templates)), name="notes", run_without_submitting=True)
    for number, text in enumerate(templates, 1):
        # Only networks that segment the template use a GPU; without a slot none may be used.
        own = "cpu" if device.startswith("cuda") and reference.is_shipped(text) else device
        register = Register(template=text, engine=engine, device=own, use_gpu=own.startswith("cuda"))
        register.inputs.population = population
        if velocity:
            register.inputs.velocity = velocity
        if refine is not None:
            register.inputs.refine = refine
        label = "registration" if len(templates) == 1 else f"registration_{number}"
        fields = inputs
        if text not in computed:
            found = precomputed[spaces.parse(text).label]
            register = PrecomputedAlignment(
                template=text, in_forward=found["forward"], in_inverse=found["inverse"]
            )
            register.inputs.uris = [found["forward_uri"], found["inverse_uri"]]
            fields = ["source_file", "in_measures"]
        registration = pe.Node(register, name=label, n_procs=num_threads, mem_gb=mem_gb)
        workflow.connect(
            [
                (inputnode, registration, [(n, n) for n in fields]),
                (registration, everything, [("out_transform", f"in{number}")]),
                (registration, notes, [("notes", f"in{number}")]),
            ]
        )
        if number == 1:
            workflow.connect(registration, "out_transform", outputnode, "out_transform")
    workflow.connect(
        [(everything, outputnode, [("out", "out_transforms")]), (notes, outputnode, [("out", "notes")])]
    )
    return workflow


def _reference(text: str) -> str:
    space = spaces.parse(text)
    return f"the template {REFERENCES.get(space.name, str(space) if space.path is None else space.name)}"
