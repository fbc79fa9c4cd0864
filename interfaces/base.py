"""What all nodes share: images from one stage to the next, errors that name the scan, threads and devices."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
import torch
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, Str, isdefined, traits

from ..models.errors import BrainsegError, MissingFileError
from ..models.geometry.volume import Volume
from ..models.networks import zoo
from ..models.networks.inference import out_of_memory

T = TypeVar("T")


class StageInputSpec(BaseInterfaceInputSpec):
    """What every stage is told."""

    # Not required to exist: conform says why it does not, which a trait cannot.
    source_file = File(desc="the scan as the dataset holds it; errors name it")
    num_threads = traits.Range(low=1, value=1, usedefault=True, nohash=True, desc="threads to compute with")


class NetworkInputSpec(StageInputSpec):
    """What stages with a network are told besides."""

    device = Str("cpu", usedefault=True, nohash=True, desc="where the networks run")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="whether the node takes a GPU slot")


class Stage(SimpleInterface):
    """A node of one stage: sets the threads, names the scan in errors, and leaves the rest to `_stage`."""

    input_spec = StageInputSpec

    def _run_interface(self, runtime):
        threads = int(self.inputs.num_threads)
        os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
        torch.set_num_threads(threads)
        source = self.inputs.source_file
        with about(source if isdefined(source) else None):
            self._stage(Path(runtime.cwd))
        return runtime

    def _stage(self, folder: Path) -> None:
        """Fill ``self._results``; files go into ``folder``."""
        raise NotImplementedError


@contextmanager
def about(source: str | None) -> Iterator[None]:
    """Name the scan in errors that name no file, and turn bad weights into an error that says so."""
    try:
        yield
    except BrainsegError as error:
        if error.path or not source:
            raise
        raise type(error)(source, error.reason, error.remedy) from error
    except zoo.ModelError as error:
        raise unusable(error) from error


def unusable(error: zoo.ModelError) -> MissingFileError:
    """The error for networks that are missing or damaged."""
    return MissingFileError(None, str(error), "Install the program again; its networks come with it")


def on_device(compute: Callable[[str], T], device: str) -> tuple[T, list[str]]:
    """Compute on a device, or on the CPU if its memory does not suffice.

    Returns
    -------
    result
        What ``compute(device)`` returned.
    notes : list of str
        Says so if the CPU had to help out.
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
    """Write a volume for the next stage, uncompressed: the work folder is for speed."""
    image = nib.Nifti1Image(volume.data.numpy(), volume.affine)
    image.to_filename(path)
    return str(path)


def load(path: str | Path) -> Volume:
    """Read a volume that an earlier stage wrote, its type kept."""
    image = nib.load(path)
    return Volume(torch.from_numpy(np.array(image.dataobj)), np.asarray(image.affine, np.float64))
