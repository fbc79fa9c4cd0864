"""The processing chain on arrays: thick-slice check, skull-stripping, bias correction and segmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..data import model_files
from ..errors import InputError, MissingFileError
from ..geometry.volume import Volume
from ..population import populations
from ..population.populations import Population
from ..preprocessing import bias, thick_slices
from ..registration.result import Anatomy
from ..segmentation import segmentation, skullstrip
from ..segmentation.own import labels as own
from ..segmentation.own import tissues
from ..segmentation.own.inputs import as_acquired, sees_tissues
from ..segmentation.own.labels import OwnLabels
from ..segmentation.result import SegmentationResult, SkullStripResult
from . import networks


@dataclass(frozen=True)
class Processed:
    """A processed scan; all volumes are on its grid.

    Attributes
    ----------
    scan : Volume, float32
        The conformed scan.
    brain : SkullStripResult
        Brain mask.
    corrected : Volume, float32
        The scan after bias correction.
    segmentation : SegmentationResult
        Structures and tissues.
    """

    scan: Volume
    brain: SkullStripResult
    corrected: Volume
    segmentation: SegmentationResult

    @property
    def notes(self) -> list[str]:
        """Return the notes of all stages."""
        return [*self.brain.notes, *self.segmentation.notes]

    @property
    def anatomy(self) -> Anatomy:
        """Return the input of registration."""
        found = self.segmentation
        return Anatomy(
            self.corrected, self.brain.mask, found.structures, found.centroids, found.probabilities
        )


def process(
    scan: Volume,
    population: str | Population = "adult",
    *,
    skull_strip: str = "auto",
    effort: str = "fast",
    label_table: str | None = None,
    likelihood: bool = True,
    model: str | None = None,
    device: str = "cpu",
    progress: Callable[[str], None] = lambda stage: None,
) -> Processed:
    """Skull-strip, correct and segment a scan.

    Parameters
    ----------
    scan : Volume
        Result of :func:`brainseg.models.io.conform.read`.
    population : str or Population
        Name or record of the population.
    skull_strip : {'auto', 'skip', 'force'}
        See :func:`brainseg.models.segmentation.skullstrip.skullstrip`.
    effort, label_table, likelihood
        See :func:`brainseg.models.segmentation.segmentation.segment`.
    model : str, optional
        Another segmentation network; its limits of voxel size are unknown, so that thick slices are accepted.
    device : str
        Device of the networks.
    progress : callable
        Called with the name of every stage.

    Raises
    ------
    InputError, MissingFileError, UsageError
        If the slices are too thick or the scan has no brain; a network is not installed; the population's
        method does not have an option.
    """
    record = populations.resolve(population)
    if effort != "fast":
        populations.check_options(record, ["effort"])
    if not model:
        check_slices(scan, record)
    segmenting = with_network(record, model) if model else record
    progress("skull-stripping")
    brain = skullstrip.skullstrip(scan, record, mode=skull_strip, device=device)
    progress("bias correction")
    corrected, _ = bias.correct(scan, brain.mask)
    progress("segmentation")
    found = segmentation.segment(
        corrected,
        brain.mask,
        segmenting,
        device=device,
        effort=effort,
        label_table=label_table,
        likelihood=likelihood,
        region=brain.region,
    )
    return Processed(scan, brain, corrected, found)


def own_labels(
    scan: Volume,
    population: str | Population = "adult",
    *,
    model: str,
    skull_strip: str = "auto",
    effort: str = "fast",
    device: str = "cpu",
    progress: Callable[[str], None] = lambda stage: None,
) -> tuple[SkullStripResult, OwnLabels]:
    """Skull-strip a scan, correct it if its card says so, and segment the labels of a user's network.

    Before a network that sees the program's tissues, the scan is segmented into structures as well.

    Parameters
    ----------
    scan, population, skull_strip, device, progress
        As for :func:`process`.
    model : str
        Network that was trained on the user's labels.
    effort : {'fast', 'accurate'}
        See :func:`brainseg.models.segmentation.own.labels.segment`.

    Raises
    ------
    InputError
        If the scan has no brain.
    """
    card = model_files.read_card(model)
    given: list[Volume] = []
    if sees_tissues(card):
        done = process(scan, population, skull_strip=skull_strip, device=device, progress=progress)
        brain, corrected = done.brain, done.corrected
        given = tissues.channels(done.segmentation.probabilities, done.segmentation.structures)
    else:
        progress("skull-stripping")
        brain = skullstrip.skullstrip(scan, populations.resolve(population), mode=skull_strip, device=device)
        if not as_acquired(card):
            progress("bias correction")
            corrected, _ = bias.correct(scan, brain.mask)
    seen = scan if as_acquired(card) else corrected
    progress("segmentation")
    found = own.segment(seen, brain.mask, model, device=device, effort=effort, tissues=given)
    if given and (told := tissues.other_weights(card, populations.resolve(population).segmentation)):
        found.notes.append(told)
    return brain, found


def check_slices(scan: Volume, record: Population) -> None:
    """Refuse a scan with slices too thick for a population's networks.

    Parameters
    ----------
    scan : Volume
        The scan.
    record : Population
        The population.

    Raises
    ------
    InputError
        If the slices are too thick.
    """
    why = thick_slices.coarseness(scan.grid.spacing, record)
    if why:
        remedy = f"{thick_slices.REMEDY}; brainseg skullstrip --mask extracts only the brain"
        raise InputError(None, why, remedy)


def with_network(record: Population, name: str) -> Population:
    """Return a population's record with another segmentation network.

    Parameters
    ----------
    record : Population
        The population.
    name : str
        Weights: an installed name, or a ``.safetensors`` file. Its card may name a coarse network, too.

    Raises
    ------
    MissingFileError
        If it is not installed.
    UsageError
        If it is not for the segmentation of this population.
    """
    try:
        return networks.with_networks(record, {"segmentation": name})
    except model_files.ModelError as error:
        raise MissingFileError(None, str(error), "See brainseg models list") from None
