"""Build each stage of the participant workflow from the parameters of one participant-session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import Merge, Select
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow

from ..interfaces.base import about
from ..interfaces.own_labels import has_tissues, sees_acquired, sees_tissues, several_contrasts
from ..models.parcellation import names
from ..models.pipeline.lesion_image import beside_csf, shown_in, skipped, trained_on
from ..models.pipeline.networks import record_of
from ..models.population import labels
from ..models.population.populations import Population
from ..models.preprocessing.thick_slices import too_coarse
from ..models.segmentation.skullstrip import upright_model
from ..models.templates import spaces
from .bias import init_bias_wf
from .common.parameters import ParticipantInputs, ProcessingOptions, Resources, transforms_by_space
from .common.resources import memory
from .conform import init_conform_wf
from .coregistration import init_coregistration_wf
from .growth import init_growth_wf
from .hippocampus import init_hippocampus_wf
from .intracranial import init_intracranial_wf
from .lesion import init_lesion_wf
from .outputs import init_outputs_wf
from .parcellation import init_parcellation_wf
from .precomputed.graphs import init_precomputed_mask_wf, init_precomputed_segmentation_wf, replace_tissues
from .quality import init_quality_wf
from .registration import init_registration_wf
from .segmentation import init_own_labels_wf, init_segmentation_wf
from .skullstrip import init_skullstrip_wf

STOPPED = (
    "The run was stopped after the brain mask, as asked for. If the mask is wrong, save a corrected one "
    "beside it as *_desc-corrected_mask.nii.gz; then run again without --stop-after."
)

LESION_CAUTION = "Lesions were segmented where CSF is as bright (--force): check and correct the lesion mask"
"""Reason of the QC rating *check* for lesions outside FLAIR."""

SHRINK, SLOPPY_SHRINK = 4, 8
"""Subsampling of the grid on which the bias field is estimated, usually and with ``sloppy``."""


@dataclass(frozen=True)
class Plan:
    """Parameters of one participant-session and the facts that the stages derive from them.

    Attributes
    ----------
    inputs, options, resources : ParticipantInputs, ProcessingOptions, Resources
        The parameters.
    record : Population
        Record of the population.
    memory : dict of str to float
        Memory (GB) by stage.
    """

    inputs: ParticipantInputs
    options: ProcessingOptions = field(default_factory=ProcessingOptions)
    resources: Resources = field(default_factory=Resources)

    @cached_property
    def record(self) -> Population:
        with about(None):
            return record_of(self.inputs.population, self.options.networks)

    @cached_property
    def memory(self) -> dict[str, float]:
        need = memory(self.inputs.source_file)
        return {stage: min(gb, self.resources.mem_gb) for stage, gb in need.items()}

    @property
    def threads(self) -> dict[str, Any]:
        """Arguments of a stage that computes on several threads."""
        return {"num_threads": self.resources.num_threads}

    @property
    def network(self) -> dict[str, Any]:
        """Arguments of a stage with a network."""
        return self.threads | {"device": self.resources.device}

    @cached_property
    def mask_only(self) -> str | None:
        """Why there is no result but the brain mask; None if there are all."""
        stopped = STOPPED if self.options.stop_after == "skullstrip" else None
        return too_coarse(self.inputs.source_file, self.record) or stopped

    @property
    def suffix(self) -> str:
        """BIDS suffix of the reference image."""
        return _suffix(self.inputs.source_file)

    @property
    def label_table(self) -> str:
        return self.options.label_table or self.record.labels

    @cached_property
    def own_tissues(self) -> bool:
        """Whether the tissues are those of a network of own labels."""
        model = self.record.own_labels
        return bool(model) and has_tissues(model) and "dseg" not in self.inputs.precomputed

    @cached_property
    def own_acquired(self) -> bool:
        """Whether a network of own labels sees images without correction of their bias."""
        return bool(self.record.own_labels) and sees_acquired(self.record.own_labels)

    @cached_property
    def own_sees_tissues(self) -> bool:
        """Whether a network of own labels sees the tissues of the structures."""
        return bool(self.record.own_labels) and sees_tissues(self.record.own_labels)

    @cached_property
    def own_contrasts(self) -> bool:
        """Whether a network of own labels sees images of other contrasts, too."""
        return bool(self.record.own_labels) and several_contrasts(self.record.own_labels)

    @property
    def tissue_probabilities(self) -> list[str]:
        """Precomputed probabilities of GM, WM and CSF; empty if there are none."""
        found = self.inputs.precomputed
        return [found[tissue] for tissue in labels.DSEG_NAMES if tissue in found]

    @property
    def images(self) -> list[str]:
        """The reference image, then those of other contrasts."""
        return [self.inputs.source_file, *self.inputs.other_contrasts]

    @property
    def contrasts(self) -> list[str]:
        """BIDS suffixes of ``images``."""
        return [_suffix(path) for path in self.images]

    @cached_property
    def atlases(self) -> tuple[str, ...]:
        """Atlases in the output spaces of this participant-session."""
        with about(None):
            there = {spaces.parse(text).name for text in self.options.output_spaces}
            return tuple(text for text in self.options.atlases if names.parse(text).template in there)

    @property
    def lesion_number(self) -> int:
        """Position in ``images`` of the one in which lesions are segmented."""
        return shown_in(self.contrasts, self.record.lesion) or 0

    @property
    def lesion_contrasts(self) -> bool:
        """Whether the lesion stage has a network of several contrasts, all of which there are."""
        return self.segments_lesions and len(trained_on(self.record.lesion)) > 1

    @property
    def segments_lesions(self) -> bool:
        """Whether there is an image and a network for the lesion stage."""
        suffix = self.contrasts[self.lesion_number]
        return self.options.lesion and not skipped(
            suffix, self.record.lesion, self.options.force, self.contrasts
        )

    @property
    def lesions_beside_csf(self) -> bool:
        """Whether lesions are segmented in an image in which CSF is as bright."""
        return self.segments_lesions and beside_csf(self.contrasts[self.lesion_number], self.record.lesion)


def build_conform(plan: Plan) -> LiterateWorkflow:
    """Build the conform stage."""
    return init_conform_wf(
        averaged=list(plan.inputs.averaged),
        sloppy=plan.options.sloppy,
        reorient=plan.options.reorient,
        model=upright_model(plan.record) if plan.options.reorient == "auto" else "",
        mem_gb=plan.memory["skullstrip" if plan.options.reorient == "auto" else "conform"],
    )


def build_skullstrip(plan: Plan) -> LiterateWorkflow:
    """Build the skull-stripping, or the stage that takes a precomputed mask."""
    common: dict[str, Any] = {"mode": plan.options.skull_strip, "mem_gb": plan.memory["skullstrip"]}
    if mask := plan.inputs.precomputed.get("mask"):
        common["region"] = not plan.mask_only and "structures" not in plan.inputs.precomputed
        return init_precomputed_mask_wf(
            mask=mask, population=plan.inputs.population, plausible_ml=plan.record.brain_ml, **common
        )
    return init_skullstrip_wf(
        population=plan.inputs.population, networks=plan.options.networks, **common, **plan.network
    )


def build_intracranial(plan: Plan) -> LiterateWorkflow:
    """Build the measurement of the intracranial volume."""
    return init_intracranial_wf(
        population=plan.inputs.population,
        networks=plan.options.networks,
        mem_gb=plan.memory["intracranial"],
        **plan.network,
    )


def build_bias(plan: Plan) -> LiterateWorkflow:
    """Build the bias correction."""
    shrink = SLOPPY_SHRINK if plan.options.sloppy else SHRINK
    return init_bias_wf(shrink=shrink, mem_gb=plan.memory["bias"], **plan.threads)


def build_segmentation(plan: Plan) -> LiterateWorkflow:
    """Build the segmentation, or the stage that takes a precomputed one, and replace precomputed tissues."""
    precomputed, probabilities = plan.inputs.precomputed, plan.tissue_probabilities
    common: dict[str, Any] = {"label_table": plan.label_table, "mem_gb": plan.memory["segmentation"]}
    if "structures" in precomputed:
        workflow = init_precomputed_segmentation_wf(
            structures=precomputed["structures"], probabilities=probabilities, **common
        )
    else:
        workflow = init_segmentation_wf(
            population=plan.inputs.population,
            networks=plan.options.networks,
            effort=plan.options.effort,
            **common,
            **plan.network,
        )
    if "dseg" not in precomputed:
        return workflow
    return replace_tissues(
        workflow, dseg=precomputed["dseg"], probabilities=probabilities, mem_gb=plan.memory["outputs"]
    )


def build_own_labels(plan: Plan) -> LiterateWorkflow:
    """Build the stage of a network of own labels."""
    return init_own_labels_wf(
        model=plan.record.own_labels,
        contrast=plan.suffix,
        others=[_suffix(path) for path in plan.inputs.other_contrasts] if plan.own_contrasts else [],
        effort=plan.options.effort,
        precomputed=bool(plan.tissue_probabilities),
        tissues_by=plan.record.segmentation,
        mem_gb=plan.memory["segmentation"],
        **plan.network,
    )


def build_growth(plan: Plan) -> LiterateWorkflow:
    """Build the estimation of age."""
    return init_growth_wf(population=plan.inputs.population, age=plan.inputs.age)


def build_registration(plan: Plan) -> LiterateWorkflow:
    """Build the registration to every output space."""
    return init_registration_wf(
        templates=plan.options.output_spaces,
        engine=plan.options.engine,
        refine=plan.options.refine,
        velocity=plan.record.velocity,
        population=plan.inputs.population,
        precomputed=transforms_by_space(plan.inputs),
        mem_gb=plan.memory["registration"],
        **plan.network,
    )


def build_quality(plan: Plan) -> LiterateWorkflow:
    """Build the quality control."""
    return init_quality_wf(
        label_table=plan.label_table,
        plausible_ml=plan.record.brain_ml,
        intracranial_ml=plan.record.intracranial_ml,
        expected_dice=plan.record.expected_dice,
        cautions=[LESION_CAUTION] if plan.lesions_beside_csf else [],
        mem_gb=plan.memory["quality"],
    )


def build_parcellation(plan: Plan) -> LiterateWorkflow:
    """Build the stage that carries the parcels of atlases into the image."""
    return init_parcellation_wf(
        atlases_named=plan.atlases,
        maps=plan.inputs.maps,
        population=plan.inputs.population,
        label_table=plan.label_table,
        mem_gb=plan.memory["parcellation"],
    )


def build_hippocampus(plan: Plan) -> LiterateWorkflow:
    """Build the division of the hippocampus."""
    return init_hippocampus_wf(
        model=plan.record.hippocampus,
        contrast=plan.suffix,
        mem_gb=plan.memory["hippocampus"],
        **plan.network,
    )


def build_coregistration(plan: Plan) -> LiterateWorkflow:
    """Build the coregistration of images of other contrasts."""
    return init_coregistration_wf(
        other_contrasts=list(plan.inputs.other_contrasts),
        reference=plan.suffix,
        reorient=plan.options.reorient,
        model=upright_model(plan.record) if plan.options.reorient == "auto" else "",
        unit="session" if "_ses-" in plan.inputs.key else "participant",
        sloppy=plan.options.sloppy,
        mem_gb=plan.memory["bias"],
        **plan.threads,
    )


def build_lesion(plan: Plan) -> LiterateWorkflow:
    """Build the lesion segmentation."""
    image = plan.images[plan.lesion_number]
    return init_lesion_wf(
        model=plan.record.lesion,
        image=image,
        force=plan.options.force,
        contrasts=plan.contrasts,
        mem_gb=plan.memory["lesion"],
        **plan.network,
    )


def build_lesion_image(plan: Plan) -> pe.Node:
    """Build the node that selects the coregistered image for the lesion stage."""
    select = Select(index=[plan.lesion_number - 1])
    return pe.Node(select, name="shows_lesions", run_without_submitting=True)


def build_lesion_contrasts(plan: Plan) -> pe.Node:
    """Build the node that collects the images of all contrasts for a network of several."""
    return pe.Node(Merge(2), name="contrasts_of_lesions", run_without_submitting=True)


def build_lesion_results(plan: Plan) -> pe.Node:
    """Build the node that collects mask, probability and table of the lesions."""
    return pe.Node(Merge(3), name="lesions", run_without_submitting=True)


def build_outputs(plan: Plan) -> LiterateWorkflow:
    """Build the stage that writes the derivatives."""
    inputs, options = plan.inputs, plan.options
    return init_outputs_wf(
        bids_root=inputs.bids_root,
        out_dir=inputs.out_dir,
        key=inputs.key,
        label_table=plan.label_table,
        averaged=list(inputs.averaged),
        other_contrasts=list(inputs.other_contrasts),
        precomputed=dict(inputs.precomputed_uris),
        flavor=options.flavor,
        leave_out=list(options.leave_out),
        smooth=options.smooth,
        hippocampus=options.hippocampus,
        maps=inputs.maps if plan.atlases else None,
        lesion=plan.segments_lesions,
        networks=options.networks,
        own_labels=bool(plan.record.own_labels),
        own_tissues=plan.own_tissues,
        reorient=bool(options.reorient),
        sloppy=options.sloppy,
        mem_gb=plan.memory["outputs"],
        **plan.threads,
    )


BUILDERS: dict[str, Callable[[Plan], pe.Workflow | pe.Node]] = {
    "conform": build_conform,
    "skullstrip": build_skullstrip,
    "intracranial": build_intracranial,
    "bias": build_bias,
    "segmentation": build_segmentation,
    "own_labels": build_own_labels,
    "growth": build_growth,
    "registration": build_registration,
    "quality": build_quality,
    "parcellation": build_parcellation,
    "hippocampus": build_hippocampus,
    "coregistration": build_coregistration,
    "lesion": build_lesion,
    "lesion_image": build_lesion_image,
    "lesion_contrasts": build_lesion_contrasts,
    "lesion_results": build_lesion_results,
    "outputs": build_outputs,
}
"""Function that builds each stage, by the stage's name in the table of connections."""


def _suffix(path: str) -> str:
    """Return the BIDS suffix of an image, such as ``T1w``."""
    return Path(path).name.split(".")[0].rpartition("_")[2]
