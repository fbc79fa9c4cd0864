"""Registration to a template as a node."""

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
from ..models.registration import reference, registration
from ..models.registration.registration import Anatomy
from ..models.templates import age_template, spaces
from .base import NetworkInputSpec, Stage, load
from .growth import read_age
from .segmentation import read_measures

FAR_OFF = 8.0
"""Median residual (mm) from which the alignment deserves a look."""

FOLDED = 1e-4
"""Share of folding voxels from which it does."""

FAR_WEEKS = 1.0
"""Weeks between a brain and the nearest cohort of a template from which it does."""


class _RegisterInputSpec(NetworkInputSpec):
    in_measures = File(exists=True, mandatory=True, desc="JSON with the structures' centroids")
    in_file = File(exists=True, desc="the bias-corrected scan; without it the alignment stays affine")
    in_mask = File(exists=True, desc="the brain")
    in_structures = File(exists=True, desc="FreeSurfer ids")
    in_probabilities = InputMultiObject(File(exists=True), desc="GM, WM, CSF")
    template = Str(spaces.DEFAULT, usedefault=True, desc="the output space")
    population = Str("adult", usedefault=True, desc="whose brain it is; it tells cohorts by age")
    engine = traits.Enum(*registration.ENGINES, usedefault=True, desc="what registers")
    refine = traits.Range(low=0, desc="steps at the finest level")
    velocity = Str(desc="weights that predict where the deformation ends")
    networks = traits.List(
        Str, desc="weights that find a template's structures: coarse, skullstrip, segmentation"
    )


class _RegisterOutputSpec(TraitedSpec):
    out_transform = File(exists=True, desc="JSON: the affine, its residual, and the files of the warps")
    notes = traits.List(Str, desc="what a reader of the results should know")


class Register(Stage):
    """Register a scan to a template."""

    input_spec = _RegisterInputSpec
    output_spec = _RegisterOutputSpec

    def _stage(self, folder: Path) -> None:
        given = self.inputs
        networks = reference.Networks(*given.networks) if given.networks else reference.Networks()
        volumes, points = read_measures(given.in_measures)
        age = read_age(given.in_measures)
        template = with_cohort(given.template, given.population, age, volumes)
        fixed = reference.load(template, networks, given.device)
        moving = self._moving()
        if moving is None:
            result = registration.align(points, fixed)
        else:
            refine = given.refine if isdefined(given.refine) else None
            finer = populations.load(given.population).registration
            network = given.velocity if isdefined(given.velocity) else None
            result = registration.register(
                moving,
                fixed,
                engine=given.engine,
                refine=refine,
                options=Options().finer(**finer) if finer else None,
                network=network or None,
            )
        about = {"matrix": result.matrix.tolist(), "error_mm": result.error_mm, "space": template}
        about |= {"engine": result.engine, "folds": result.folds}
        for name, warp in (("forward", result.forward), ("inverse", result.inverse)):
            about[name] = str(folder / f"{name}.h5")
            itk.write(about[name], warp)
        path = folder / "transform.json"
        path.write_text(json.dumps(about))
        self._results["out_transform"] = str(path)
        self._results["notes"] = _far(given.template, template, age) + _notes(result, template)

    def _moving(self) -> Anatomy | None:
        """The scan, or nothing if only its centroids are known."""
        given = self.inputs
        if not (isdefined(given.in_file) and isdefined(given.in_structures)):
            return None
        maps = given.in_probabilities if isdefined(given.in_probabilities) else []
        return Anatomy(
            load(given.in_file),
            load(given.in_mask),
            load(given.in_structures),
            read_measures(given.in_measures)[1],
            {name: load(path) for name, path in zip(labels.DSEG_NAMES, maps, strict=False)},
        )


def with_cohort(
    template: str, population: str, age: dict | None, volumes: dict[int, float] | None = None
) -> str:
    """An output space with the cohort for an age, where it comes in several and none was named.

    Where a template by age has families, the tissues' volumes (mm3) tell which one is nearest. Of a template
    in a folder, TemplateFlow's or the user's own, it is the cohort that is nearest in gestational age.

    Raises
    ------
    InputError
        If the age is not known, or no cohort can be right.

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
    if volumes and space.name in age_template.names():
        cohort = age_template.nearest(space.name, cohort, value, volumes)
    return str(replace(space, cohort=cohort))


def check_cohort(template: str, population: str) -> None:
    """Refuse, before anything is computed, a template by gestational age for who is born.

    Raises
    ------
    InputError
        If the space has a cohort for each week, none is named, and the population's ages are others.
    """
    space = spaces.parse(template)
    if space.cohort is not None or populations.load(population).age_unit == populations.WEEKS:
        return
    own = space.path is None and space.name in age_template.names()
    ages = {f"{age_template.card(space.name)['weeks'][0]:g}": 0.0} if own else spaces.by_age(space)
    if ages:
        raise InputError(
            None,
            f"the template {space.name} goes by gestational age, and this brain was taken as {population}",
            f"Give --population, or name a cohort: {replace(space, cohort=next(iter(ages)))}",
        )


def _nearest_week(template: str, population: str, age: dict | None) -> str:
    """A space in a folder, with the cohort that is nearest in gestational age if it has several."""
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
        f"the template {space.name} goes by age, and the age is not known",
        f"Write it in participants.tsv, or name a cohort: {replace(space, cohort=cohort)}",
    )


def _far(asked: str, template: str, age: dict | None) -> list[str]:
    """What to say if the nearest cohort of a template in a folder is not near."""
    ages, cohort = spaces.by_age(spaces.parse(asked)), spaces.parse(template).cohort
    if age is None or cohort not in ages or abs(ages[cohort] - float(age["age"])) <= FAR_WEEKS:
        return []
    name = spaces.parse(asked).name
    return [
        f"Of the template {name} the cohort {cohort} is the nearest on this machine; it has "
        f"{ages[cohort]:g} weeks and the brain {float(age['age']):.1f}: add a nearer one if there is one."
    ]


def _notes(result: registration.RegistrationResult, template: str) -> list[str]:
    notes = []
    space = spaces.parse(template)
    meant = (
        age_template.parse_cohort(space.name, space.cohort or "")
        if space.name in age_template.names()
        else None
    )
    if meant and meant[0] != space.name:
        about = age_template.card(meant[0])["about"]
        notes.append(
            f"Of the template {space.name} the cohort {space.cohort} was used, learned from {about}: the "
            f"shares of its tissues are nearest to this brain's. That is no diagnosis."
        )
    if result.error_mm > FAR_OFF:
        notes.append(
            f"After alignment the structures lie {result.error_mm:.1f} mm (median) from those of "
            f"{template}: look at the images in template space."
        )
    if result.folds > FOLDED:
        notes.append(f"The deformation to {template} folds in {100 * result.folds:.3f} % of the voxels.")
    return notes


@dataclass(frozen=True)
class Alignment:
    """What a registration node found.

    Attributes
    ----------
    space : str
        The output space as the user wrote it.
    matrix : ndarray, shape (4, 4)
        Scan's mm to the template's.
    error_mm : float
        Median residual of the structures after the affine.
    forward, inverse : Warp
        What brings the scan into the space, and back.
    engine : str
        ``deep``, ``ants`` or ``none``.
    folds : float
        Share of voxels where space folds.
    sources : tuple of str
        BIDS URIs of the transforms, there and back, if others computed them.
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
    """Read what a registration node wrote."""
    content = json.loads(Path(path).read_text())
    matrix = np.array(content["matrix"], float)
    warps = {"forward": Warp((np.linalg.inv(matrix),)), "inverse": Warp((matrix,))}
    warps |= {name: itk.read(content[name]) for name in warps if name in content}
    more = {name: content[name] for name in ("engine", "folds", "sources") if name in content}
    space = content.get("space", spaces.DEFAULT)
    return Alignment(space, matrix, float(content["error_mm"]), **warps, **more)


def read_transform(path: str | Path) -> tuple[np.ndarray, float]:
    """Matrix and residual (mm) of an alignment."""
    content = json.loads(Path(path).read_text())
    return np.array(content["matrix"], float), float(content["error_mm"])
