"""Populations as records: networks, methods, labels and templates by age group.

A record (``models/data/populations/NAME.toml``) contains all properties of a population; the code does not
depend on its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from ..data import user
from ..errors import UsageError
from . import record_files
from .age_cohorts import Cohorts

NOT_VALID = "its record is not valid"
WEEKS, YEARS = "gestational weeks", "years"
BIDS_UNITS = {YEARS: "year"}
"""Units of age as JSON files have them, where they differ."""
"""Units of age, before and after birth."""

FLAGS = {
    "effort": "--effort accurate",
    "label_table": "a coarser label table",
    "likelihood": "likelihood=False",
    "posteriors": "--posteriors",
}
"""Options of a segmentation method, as users write them."""


@dataclass(frozen=True)
class Method:
    """Method of one stage: the section ``[methods.STAGE]`` of a record.

    Attributes
    ----------
    method : str
        Name of the procedure in the stage's table of methods.
    spacing : float
        Working voxel size (mm).
    threshold : float
        Probability above which a voxel is inside a mask.
    options : tuple of str
        Options that the procedure has, keys of :data:`FLAGS`.
    refused : dict of str to str
        Why it does not have the others.
    text : str
        Template of the methods text (:mod:`brainseg.models.pipeline.methods`).
    cases : dict of str to str
        Parts of the text that depend on the options of a run.
    """

    method: str = ""
    spacing: float = 0.0
    threshold: float = 0.5
    options: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    text: str = ""
    cases: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Population:
    """The record of a population.

    Attributes
    ----------
    name : str
        Name on the command line.
    age_unit : str
        ``years``, or ``gestational weeks`` before birth.
    ages : tuple of float
        Age range of the networks.
    labels, parcellation : str
        Label table, and the atlas that divides the cortex; empty without one.
    template : str
        Default template.
    coarse, skullstrip, segmentation : str
        Names of the networks' weights.
    t1w_mask : str
        Weights for the brain mask of T1- and T2-weighted scans; empty if ``skullstrip`` serves all contrasts.
    methods : dict of str to Method
        By stage (``skullstrip``, ``segmentation``, ``registration``) its procedure.
    brain_ml : tuple of float
        Plausible volume of the brain mask (mL); a volume beyond it is flagged.
    training_images : str
        Images of the training: ``synthetic``, or ``real and synthetic``.
    expected_dice : bool
        Whether quality control predicts the Dice coefficient of every structure.
    untrained : str
        Why the population cannot be processed; empty if it can.
    reconstructions : tuple of str
        Beginnings of an image's ``rec-`` entity that identify the population.
    cohorts : dict of str to Cohorts
        Templates with cohorts by age.
    thickest_mm : float
        Largest voxel side of a scan that is segmented; 0 for no limit. Thicker scans get a brain mask only.
    growth : str
        Growth curves (:mod:`brainseg.models.population.growth`); empty if there are none.
    hippocampus, lesion, velocity : str
        Weights for the parts of the hippocampus, for lesions, and for the start of a registration; empty if
        there are none.
    parts : dict of str to str
        By optional step, a label table with further parts of structures.
    registration : dict of str to object
        ``spacing`` (mm), ``emphasis`` and ``steps`` of the deformation where they differ from the defaults
        (:meth:`brainseg.models.deformation.diffeomorphic.Options.finer`).
    own_labels : str
        Weights of a network whose labels and tissues are written beside the structures; empty without one.
    intracranial : str
        Weights for the cranial cavity; empty if its volume is not measured.
    intracranial_ml : tuple of float
        Plausible intracranial volume (mL); a volume beyond it is flagged.
    """

    name: str
    age_unit: str
    ages: tuple[float, float]
    labels: str = ""
    template: str = ""
    coarse: str = ""
    skullstrip: str = ""
    t1w_mask: str = ""
    segmentation: str = ""
    methods: dict[str, Method] = field(default_factory=dict)
    brain_ml: tuple[float, float] = (0.0, 3000.0)
    training_images: str = ""
    expected_dice: bool = False
    untrained: str = ""
    reconstructions: tuple[str, ...] = ()
    cohorts: dict[str, Cohorts] = field(default_factory=dict)
    thickest_mm: float = 0.0
    growth: str = ""
    hippocampus: str = ""
    lesion: str = ""
    parts: dict[str, str] = field(default_factory=dict)
    registration: dict[str, Any] = field(default_factory=dict)
    velocity: str = ""
    own_labels: str = ""
    parcellation: str = ""
    intracranial: str = ""
    intracranial_ml: tuple[float, float] = (0.0, 4000.0)

    @property
    def networks(self) -> tuple[str, str, str]:
        """Return the weights in the order of the pipeline."""
        return self.coarse, self.skullstrip, self.segmentation

    @property
    def masking(self) -> tuple[str, ...]:
        """Return the weights that a brain mask may need; the scan decides which of them make it."""
        return tuple(filter(None, (self.coarse, self.skullstrip, self.t1w_mask)))

    def used(self, registration: str = "deep", steps: Collection[str] = ()) -> list[str]:
        """Return the weights that a run uses.

        Parameters
        ----------
        registration : str
            Kind of registration; only ``deep`` has a network.
        steps : collection of str
            Optional steps that are on.
        """
        further = {"lesion": self.lesion, "hippocampus": self.hippocampus}
        start = self.velocity if registration == "deep" else ""
        names = [
            *self.masking,
            self.intracranial,
            self.segmentation,
            self.own_labels,
            start,
            *(further[s] for s in steps if s in further),
        ]
        return list(dict.fromkeys(filter(None, names)))


def refusal(record: Population, option: str) -> UsageError | None:
    """Return the error for a segmentation option that a population's method lacks.

    Parameters
    ----------
    record : Population
        The population.
    option : str
        Key of :data:`FLAGS`.

    Returns
    -------
    UsageError or None
        The error; None if the method has the option.
    """
    method = record.methods["segmentation"]
    if option in method.options:
        return None
    flag = FLAGS[option]
    why = method.refused.get(option, f"the method {method.method} does not have it")
    return UsageError(None, f"{flag} is not available for {record.name} brains: {why}", f"Leave {flag} out")


def check_options(record: Population, options: Iterable[str]) -> None:
    """Refuse options that a population's segmentation method lacks.

    Parameters
    ----------
    record : Population
        The population.
    options : iterable of str
        Keys of :data:`FLAGS`.

    Raises
    ------
    UsageError
        For the first such option.
    """
    for option in options:
        if error := refusal(record, option):
            raise error


def names() -> list[str]:
    """Return the names of the populations with a record: the shipped ones, then the user's."""
    return list(user.every("populations", ".toml"))


def shipped() -> list[str]:
    """Return the names of the shipped populations, among which age and reconstruction decide."""
    return [name for name, path in user.every("populations", ".toml").items() if user.is_shipped(path)]


def valid() -> list[str]:
    """Return the names of the populations whose record is valid, with or without networks."""
    return [name for name in names() if not unusable(name).startswith(NOT_VALID)]


def trained() -> list[str]:
    """Return the names of the populations with networks; a record that is not valid is left out."""
    return [name for name in names() if not unusable(name)]


def unusable(name: str) -> str:
    """Return why a population cannot be processed; empty if it can."""
    try:
        return load(name).untrained
    except UsageError as error:
        return f"{NOT_VALID} ({error.path}: {error.reason})"


@cache
def load(name: str) -> Population:
    """Read the record of a population.

    Parameters
    ----------
    name : str
        Name of the population: a shipped one, or one in a folder of the user
        (:mod:`brainseg.models.data.user`). A user's record can have a ``base``, the population whose values
        it changes.

    Returns
    -------
    Population
        Its record.

    Raises
    ------
    UsageError
        If the population is unknown, or its record is not valid.
    """
    path = user.find("populations", f"{name}.toml")
    if path is None:
        raise UsageError(None, f"unknown population {name!r}", f"Use one of: {', '.join(names())}")
    content = record_files.read(path)
    try:
        return _population(content)
    except KeyError as error:
        raise UsageError(
            path, f"the record has no {error}", 'Add it, or a base, as in base = "adult"'
        ) from None
    except (TypeError, ValueError, AttributeError) as error:
        known = ", ".join(one.name for one in fields(Population))
        raise UsageError(path, f"the record does not fit ({error})", f"A record has {known}") from None


def _population(record: dict[str, Any]) -> Population:
    plausible = record.pop("plausible", {})
    cohorts = {
        template: Cohorts(c["unit"], tuple(map(str, c["names"])), tuple(c["until"]))
        for template, c in record.pop("cohorts", {}).items()
    }
    methods = {stage: _method(**content) for stage, content in record.pop("methods", {}).items()}
    if "registration" in record:
        record["registration"] = {"spacing": methods["registration"].spacing, **record["registration"]}
    ranges: dict[str, Any] = {k: tuple(v) for k, v in plausible.items()}
    return Population(
        methods=methods,
        ages=tuple(record.pop("ages")),
        reconstructions=tuple(record.pop("reconstructions", ())),
        cohorts=cohorts,
        **record.pop("networks", {}),
        **ranges,
        **record,
    )


def _method(options: Iterable[str] = (), text: str = "", **content: Any) -> Method:
    return Method(options=tuple(options), text=" ".join(text.split()), **content)


def resolve(population: str | Population) -> Population:
    """Return the record of a population.

    Parameters
    ----------
    population : str or Population
        Name or record.

    Returns
    -------
    Population
        Its record.
    """
    return load(population) if isinstance(population, str) else population


def by_age(age: float, unit: str) -> Population | None:
    """Return the shipped population of an age, with or without networks.

    Parameters
    ----------
    age : float
        Age.
    unit : str
        ``gestational weeks`` or ``years``.

    Returns
    -------
    Population or None
        The population; None if no range includes the age.

    Examples
    --------
    >>> by_age(28, WEEKS).name, by_age(0.5, YEARS).name, by_age(16, WEEKS)
    ('fetal', 'infant', None)
    """
    for name in shipped():
        record = load(name)
        if record.age_unit == unit and record.ages[0] <= age <= record.ages[1]:
            return record
    return None


def by_reconstruction(label: str) -> Population | None:
    """Return the shipped population of a ``rec-`` entity.

    Parameters
    ----------
    label : str
        Value of the entity; may be empty.

    Returns
    -------
    Population or None
        The population; None if the label identifies none.
    """
    for name in shipped():
        if label and label.lower().startswith(load(name).reconstructions):
            return load(name)
    return None
