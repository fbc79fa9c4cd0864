"""Node of the registration to a template, and the choice of a template's cohort."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from nipype.interfaces.base import File, InputMultiObject, Str, TraitedSpec, isdefined, traits

from ..models.deformation.diffeomorphic import Options
from ..models.deformation.warp import Warp
from ..models.errors import InputError
from ..models.io import itk
from ..models.population import labels, populations
from ..models.registration import linear, reference, registration
from ..models.registration.result import Anatomy, RegistrationResult
from ..models.templates import age_template, catalog, spaces
from .base import NetworkInputSpec, Stage, load
from .growth import read_age
from .segmentation import read_measures

FAR_OFF = 8.0
"""Median residual (mm) above which a note asks to check the alignment."""

FOLDED = 1e-4
"""Share of folding voxels above which a note is written."""

FAR_WEEKS = 1.0
"""Weeks between a brain and the nearest cohort of a template above which a note is written."""


class _RegisterInputSpec(NetworkInputSpec):
    in_measures = File(exists=True, mandatory=True, desc="JSON with volumes, centroids and age")
    in_file = File(exists=True, desc="bias-corrected image; without it the alignment is affine")
    in_mask = File(exists=True, desc="brain mask")
    in_structures = File(exists=True, desc="structures, FreeSurfer ids")
    in_probabilities = InputMultiObject(File(exists=True), desc="probabilities of GM, WM and CSF")
    template = Str(spaces.DEFAULT, usedefault=True, desc="output space")
    population = Str("adult", usedefault=True, desc="name of the population")
    engine = traits.Enum(*registration.ENGINES, usedefault=True, desc="registration method")
    refine = traits.Range(low=0, desc="iterations at the finest level")
    velocity = Str(desc="weights of the network that predicts the initial velocity field")


class _RegisterOutputSpec(TraitedSpec):
    out_transform = File(exists=True, desc="JSON: affine matrix, residual, and files of the transforms")
    notes = traits.List(Str, desc="notes for the report")


class Register(Stage):
    """Register an image to a template."""

    input_spec = _RegisterInputSpec
    output_spec = _RegisterOutputSpec

    def _stage(self, folder: Path) -> None:
        inputs = self.inputs
        volumes, points = read_measures(inputs.in_measures)
        age = read_age(inputs.in_measures)
        template = with_cohort(inputs.template, inputs.population, age, volumes)
        fixed = reference.load(template, inputs.population, inputs.device)
        moving = self._moving()
        if moving is None:
            result = linear.align(points, fixed.centroids)
        else:
            refine = inputs.refine if isdefined(inputs.refine) else None
            finer = populations.load(inputs.population).registration
            network = inputs.velocity if isdefined(inputs.velocity) else None
            result = registration.register(
                moving,
                fixed,
                engine=inputs.engine,
                refine=refine,
                options=Options().finer(**finer) if finer else None,
                network=network or None,
            )
        about = {"matrix": result.matrix.tolist(), "error_mm": result.error_mm, "space": template}
        about |= {"engine": result.engine, "folds": result.folds}
        for name, warp in (("forward", result.forward), ("inverse", result.inverse)):
            about[name] = str(folder / f"{name}.h5")
            itk.write(about[name], warp, compress=False)
        path = folder / "transform.json"
        path.write_text(json.dumps(about))
        self._results["out_transform"] = str(path)
        self._results["notes"] = _distance_notes(inputs.template, template, age) + _notes(result, template)

    def _moving(self) -> Anatomy | None:
        """Return the image and its segmentation; None if only the centroids are known."""
        inputs = self.inputs
        if not (isdefined(inputs.in_file) and isdefined(inputs.in_structures)):
            return None
        maps = inputs.in_probabilities if isdefined(inputs.in_probabilities) else []
        return Anatomy(
            load(inputs.in_file),
            load(inputs.in_mask),
            load(inputs.in_structures),
            read_measures(inputs.in_measures)[1],
            {name: load(path) for name, path in zip(labels.DSEG_NAMES, maps, strict=False)},
        )


def with_cohort(
    template: str, population: str, age: dict | None, volumes: dict[int, float] | None = None
) -> str:
    """Return an output space with the cohort for an age.

    Templates without cohorts, and spaces that name a cohort, stay the same. If a template by age has
    families, the volumes select the nearest one. A template in a folder (of TemplateFlow or the user) gets
    the cohort that is nearest in gestational age.

    Parameters
    ----------
    template : str
        Output space as the user writes it.
    population : str
        Name of the population.
    age : dict or None
        ``age`` and ``unit``.
    volumes : dict of int to float, optional
        Volumes (mm3) by FreeSurfer id.

    Returns
    -------
    str
        The output space.

    Raises
    ------
    InputError
        If the age is unknown, or the cohorts go by another age than the population.

    Examples
    --------
    >>> with_cohort("BrainsegFetal", "fetal", {"age": 27.7, "unit": "gestational weeks"})
    'BrainsegFetal:cohort-28'
    >>> with_cohort("BrainsegFetal:cohort-30", "fetal", None)
    'BrainsegFetal:cohort-30'
    """
    space = spaces.parse(template)
    cohorts = populations.load(population).cohorts.get(space.name)
    if space.cohort is not None:
        return template
    if cohorts is None or space.path is not None:
        return _nearest_week(template, population, age)
    if age is None:
        raise _ageless(space, cohorts.names[0])
    value = float(age["age"]) * (12 if cohorts.unit == "months" and age.get("unit") == "years" else 1)
    cohort = cohorts.of(value)
    if volumes and space.name in catalog.names():
        cohort = age_template.nearest(space.name, cohort, value, volumes)
    return str(replace(space, cohort=cohort))


def check_cohort(template: str, population: str) -> None:
    """Refuse a template by gestational age for a population with another age.

    Parameters
    ----------
    template : str
        Output space as the user writes it.
    population : str
        Name of the population.

    Raises
    ------
    InputError
        If the space needs a cohort by gestational age, and the population's ages are in years.
    """
    space = spaces.parse(template)
    if space.cohort is not None or populations.load(population).age_unit == populations.WEEKS:
        return
    own = space.path is None and space.name in catalog.names()
    ages = {f"{catalog.card(space.name)['weeks'][0]:g}": 0.0} if own else spaces.by_age(space)
    if ages:
        raise InputError(
            None,
            f"the template {space.name} needs a gestational age, but the population is {population}",
            f"Set --population, or name a cohort: {replace(space, cohort=next(iter(ages)))}",
        )


def _nearest_week(template: str, population: str, age: dict | None) -> str:
    """Return a space in a folder with the cohort that is nearest in gestational age."""
    space = spaces.parse(template)
    ages = spaces.by_age(space)
    if not ages:
        return template
    check_cohort(template, population)
    if age is None:
        raise _ageless(space, next(iter(ages)))
    value = float(age["age"])
    return str(replace(space, cohort=min(ages, key=lambda label: abs(ages[label] - value))))


def _ageless(space: spaces.Space, cohort: str) -> InputError:
    return InputError(
        None,
        f"the template {space.name} needs an age, but the age is unknown",
        f"Add it to participants.tsv, or name a cohort: {replace(space, cohort=cohort)}",
    )


def _distance_notes(space: str, template: str, age: dict | None) -> list[str]:
    """Return a note if the nearest cohort of a template in a folder is far in age."""
    ages, cohort = spaces.by_age(spaces.parse(space)), spaces.parse(template).cohort
    if age is None or cohort not in ages or abs(ages[cohort] - float(age["age"])) <= FAR_WEEKS:
        return []
    name = spaces.parse(space).name
    return [
        f"The nearest cohort of the template {name} on this machine is {cohort}, of {ages[cohort]:g} weeks; "
        f"the brain has {float(age['age']):.1f} weeks. Add a nearer cohort if possible."
    ]


def _notes(result: RegistrationResult, template: str) -> list[str]:
    """Return notes on the cohort and the quality of a registration."""
    notes = []
    space = spaces.parse(template)
    cohort = catalog.parse_cohort(space.name, space.cohort or "") if space.name in catalog.names() else None
    if cohort and cohort[0] != space.name:
        about = catalog.card(cohort[0])["about"]
        notes.append(
            f"Cohort {space.cohort} of the template {space.name} (made from {about}) was used: its tissue "
            "volumes are nearest to those of this brain. This is not a diagnosis."
        )
    if result.error_mm > FAR_OFF:
        notes.append(
            f"After alignment the structures are {result.error_mm:.1f} mm (median) off those of "
            f"{template}: check the images in template space."
        )
    if result.folds > FOLDED:
        notes.append(f"The deformation to {template} folds in {100 * result.folds:.3f} % of the voxels.")
    return notes


@dataclass(frozen=True)
class Alignment:
    """Result of a registration node.

    Attributes
    ----------
    space : str
        Output space as the user writes it.
    matrix : ndarray, shape (4, 4)
        From mm of the image to mm of the template.
    error_mm : float
        Median residual (mm) of the structures after the affine.
    forward, inverse : Warp
        Transforms of the image to the space, and back.
    engine : str
        Registration method: ``deep``, ``ants``, ``none``, or ``given`` for precomputed transforms.
    folds : float
        Share of voxels in which the deformation folds.
    sources : tuple of str
        BIDS URIs of precomputed transforms, forward and inverse.
    """

    space: str
    matrix: np.ndarray
    error_mm: float
    forward: Warp
    inverse: Warp
    engine: str = "none"
    folds: float = 0.0
    sources: tuple[str, ...] = ()


def read_alignment(path: str | Path) -> Alignment:
    """Read the result of a registration node.

    Parameters
    ----------
    path : str or Path
        JSON of the node.

    Returns
    -------
    Alignment
        The result.
    """
    content = json.loads(Path(path).read_text())
    matrix = np.array(content["matrix"], float)
    warps = {"forward": Warp((np.linalg.inv(matrix),)), "inverse": Warp((matrix,))}
    warps |= {name: itk.read(content[name]) for name in warps if name in content}
    return Alignment(
        content.get("space", spaces.DEFAULT),
        matrix,
        float(content["error_mm"]),
        warps["forward"],
        warps["inverse"],
        content.get("engine", "none"),
        float(content.get("folds", 0.0)),
        tuple(content.get("sources", ())),
    )
