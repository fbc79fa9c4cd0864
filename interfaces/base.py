"""Base classes of the nodes: images between stages, errors that name the image, threads and devices."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    File,
    SimpleInterface,
    Str,
    isdefined,
    traits,
)

from ..models.errors import BrainsegError, MissingFileError
from ..models.geometry.volume import Volume
from ..models.io import images
from ..models.networks import zoo
from ..models.networks.inference import out_of_memory

T = TypeVar("T")


class StageInputSpec(BaseInterfaceInputSpec):
    """Inputs of every stage."""

    # Not required to exist: conform reports why it is missing, which a trait cannot.
    source_file = File(desc="image in the dataset; errors name it")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="number of threads")


class NetworkInputSpec(StageInputSpec):
    """Inputs of every stage with a network."""

    device = Str("cpu", usedefault=True, nohash=True, desc="device of the networks")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="whether the node takes a GPU slot")


class Stage(SimpleInterface):
    """Base of all nodes: set the threads, run `_stage`, and name the image in errors."""

    input_spec = StageInputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        threads = int(self.inputs.num_threads)
        os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
        torch.set_num_threads(threads)
        source = self.inputs.source_file
        with about(source if isdefined(source) else None):
            self._stage(Path(runtime.cwd))
        return runtime

    def _stage(self, folder: Path) -> None:
        """Compute the stage.

        Parameters
        ----------
        folder : Path
            Folder for files; the outputs go into ``self._results``.
        """
        raise NotImplementedError


class Sink(Stage):
    """Base of nodes that write derivatives; Nipype cannot track these files, so they always run."""

    @property
    def always_run(self) -> bool:
        """Return whether the node runs although its inputs are unchanged."""
        return True


@contextmanager
def about(source: str | None) -> Iterator[None]:
    """Name the image in errors that name no file, and report unusable weights as a missing file.

    Parameters
    ----------
    source : str or None
        The image.

    Raises
    ------
    BrainsegError
        The error with the image's path, or for unusable weights a `MissingFileError`.
    """
    try:
        yield
    except BrainsegError as error:
        if error.path or not source:
            raise
        raise type(error)(source, error.reason, error.remedy) from error
    except zoo.ModelError as error:
        raise unusable(error) from error


def unusable(error: zoo.ModelError) -> MissingFileError:
    """Return the error for networks that are missing or damaged.

    Parameters
    ----------
    error : ModelError
        Error of the network.

    Returns
    -------
    MissingFileError
        Error with a remedy.
    """
    return MissingFileError(None, str(error), "Install the program again; its networks come with it")


def on_device(compute: Callable[[str], T], device: str) -> tuple[T, list[str]]:
    """Compute on a device, or on the CPU if its memory does not suffice.

    Parameters
    ----------
    compute : callable
        Function of the device.
    device : str
        Device, such as ``cpu`` or ``cuda:0``.

    Returns
    -------
    result
        Return value of ``compute``.
    notes : list of str
        A note if the CPU was used instead of the device.
    """
    try:
        return compute(device), []
    except RuntimeError as error:
        if device == "cpu" or not out_of_memory(error):
            raise
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    return compute("cpu"), [f"The memory of the device {device} did not suffice: the CPU was used."]


def save(volume: Volume, path: Path) -> str:
    """Write a volume for the next stage, uncompressed and in the order of the memory, for speed.

    Parameters
    ----------
    volume : Volume
        The volume, shape (X, Y, Z).
    path : Path
        NIfTI file.

    Returns
    -------
    str
        The path.
    """
    images.write(volume, path)
    return str(path)


def load(path: str | Path) -> Volume:
    """Read a volume of an earlier stage.

    Parameters
    ----------
    path : str or Path
        NIfTI file.

    Returns
    -------
    Volume
        The volume with the data type of the file, shape (X, Y, Z).
    """
    return images.read(path)
