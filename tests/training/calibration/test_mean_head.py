"""The mean head: symmetric shares of classes that add up to one."""

import json

import numpy as np
import pytest

from brainseg.training.calibration import mean_head


@pytest.mark.slow
def test_a_mean_head_of_toy_heads(toy_arrays, tmp_path):
    path = mean_head.write(tmp_path / "new" / "head.npz", toy_arrays, "toy heads", "CC0")
    with np.load(path) as arrays:
        maps, affine = arrays["maps"].astype(float) / 255, arrays["affine"]
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["classes"][0] == "background" and {"GM", "WM", "CSF", "cerebellar_gm"} <= set(card["classes"])
    assert len(card["classes"]) == len(maps) and card["license"] == "CC0"
    np.testing.assert_allclose(maps.sum(0), 1, atol=0.02)
    np.testing.assert_array_equal(maps, maps[:, ::-1])
    middle = np.linalg.inv(affine) @ [0, 0, 0, 1]
    assert maps[0][tuple(np.rint(middle[:3]).astype(int))] == 0 and maps[0, 0, 0, 0] == 1
