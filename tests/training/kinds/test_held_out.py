"""Validation data are held out, and enough for a score that means something."""

import json

import numpy as np
import pytest

from brainseg.models.errors import UsageError
from brainseg.training.kinds import held_out
from brainseg.training.kinds.assemble import Data, assemble
from brainseg.training.kinds.registry import read


def _arrays(path, *seeds):
    cases = {f"labels{k}": np.random.default_rng(seed).integers(0, 9, 99) for k, seed in enumerate(seeds)}
    np.savez_compressed(path, meta=np.array(json.dumps({"count": len(seeds), "names": ["a"]})), **cases)
    return path


@pytest.mark.parametrize("kind", held_out.PAIRED)
def test_one_case_is_not_paired_with_itself(tmp_path, kind):
    training, one = _arrays(tmp_path / "a.npz", 1, 2), _arrays(tmp_path / "b.npz", 3)
    with pytest.raises(UsageError, match=r"b\.npz: there is one case for validation, .* paired with itself"):
        held_out.check(kind, training, one)
    held_out.check("cascade", training, one)
    held_out.check(kind, training, _arrays(tmp_path / "c.npz", 3, 4))


def test_training_data_do_not_validate(tmp_path):
    training = _arrays(tmp_path / "a.npz", 1, 2, 3)
    other = _arrays(tmp_path / "b.npz", 9, 2)
    with pytest.raises(UsageError, match=r"b\.npz: 1 arrays are in the training data a\.npz too"):
        held_out.check("cascade", training, other)
    with pytest.raises(UsageError, match=r"3 arrays are in the training data"):
        assemble(read("head-coarse"), Data(arrays=training, validation=training), tmp_path / "out")
    held_out.check("cascade", training, None)
