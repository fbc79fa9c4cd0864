"""Scores of registrations on known answers, and transforms as the Learn2Reg challenge exchanges them."""

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.bidsapp.cli import main
from brainseg.models.deformation.warp import Warp
from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Grid, Volume
from brainseg.models.io import itk, learn2reg
from brainseg.training.evaluation import registration

AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])
AFFINE[:3, 3] = -10.0, 4.0, 2.0


def boxes(shift: int) -> Volume:
    data = torch.zeros(24, 24, 24, dtype=torch.int16)
    data[6 + shift : 12 + shift, 6:18, 6:18] = 1
    data[12 + shift : 18 + shift, 6:18, 6:18] = 2
    return Volume(data, AFFINE)


def shifted(x: float) -> Warp:
    matrix = np.eye(4)
    matrix[0, 3] = x
    return Warp((matrix,))


def test_a_perfect_registration_is_perfect():
    scores = registration.pair_scores(shifted(3.0), boxes(3), boxes(0))
    assert scores == pytest.approx({"dice": 1, "hd95_mm": 0, "sd_log_jacobian": 0, "folds": 0}, abs=1e-6)


def test_none_is_as_bad_as_the_shift():
    scores = registration.pair_scores(shifted(0.0), boxes(3), boxes(0))
    assert scores["dice"] == pytest.approx(0.5)
    assert scores["hd95_mm"] == pytest.approx(3)


def test_spread_is_that_of_the_true_logarithm():
    grid = Grid((24, 24, 24), np.eye(4))
    half = torch.zeros(3, 24, 24, 24)
    half[0, 12:] = torch.arange(12.0)[:, None, None]  # stretched to twice its size on one side
    jacobian = Warp((Volume(half, grid.affine),)).jacobian(Grid((23, 23, 23), np.eye(4))).data.numpy()
    found = registration.spread_of(jacobian)
    share = (jacobian > 1.5).mean()
    assert found["sd_log_jacobian"] == pytest.approx(np.log(2) * np.sqrt(share * (1 - share)), abs=1e-4)
    assert found["folds"] == 0


def test_a_field_that_ends_with_the_image_does_not_fold_there():
    field = Volume(torch.full((3, 24, 24, 24), 2.0), AFFINE)
    scores = registration.pair_scores(Warp((field,)), boxes(2), boxes(0))
    assert scores["folds"] == 0 and scores["sd_log_jacobian"] == pytest.approx(0, abs=1e-4)


def test_folds_are_counted():
    field = torch.zeros(3, 10, 10, 10)
    field[0, 5] = -3.0
    jacobian = Warp((Volume(field, np.eye(4)),)).jacobian(Grid((9, 9, 9), np.eye(4)))
    assert registration.spread_of(jacobian.data.numpy())["folds"] == pytest.approx(1 / 9)


def test_the_worst_third():
    # Learn2Reg's Dice30 is a percentile
    scores = [{"dice": d, "hd95_mm": 1.0} for d in np.linspace(0.1, 1.0, 10)]
    found = registration.summary(scores)
    assert found["dice"] == pytest.approx(0.55) and found["worst30"] == pytest.approx(0.2)
    assert found["dice30"] == pytest.approx(0.37)


@pytest.mark.parametrize("every", [1, 2])
def test_submissions_come_back(tmp_path, every):
    turned = AFFINE @ np.diag([-1.0, 1, 1, 1])
    fixed, moving = Grid((20, 24, 22), AFFINE), Grid((18, 24, 24), turned)
    field = torch.zeros(3, 20, 24, 22)
    field[1] = 1.5
    warp = Warp((Volume(field, AFFINE), shifted(0.75).steps[0]))
    path = tmp_path / "disp_0001_0002.npz"
    learn2reg.write(path, warp, fixed, moving, every=every)
    with np.load(path) as arrays:
        stored = arrays[arrays.files[0]]
    assert stored.dtype == np.float16 and stored.shape == (3, 20 // every, 24 // every, 22 // every)
    points = np.array([[-5.0, 12.0, 10.0], [0.0, 10.0, 8.0]])
    back = learn2reg.read(path, fixed, moving).points(points)
    np.testing.assert_allclose(back, warp.points(points), atol=0.02)


def test_a_submission_of_another_image_is_refused(tmp_path):
    path = tmp_path / "disp.npz"
    np.savez(path, np.zeros((3, 5, 5, 5), np.float16))
    grid = Grid((20, 20, 20), AFFINE)
    with pytest.raises(InputError, match="does not fit"):
        learn2reg.read(path, grid, grid)
    path.write_text("no")
    with pytest.raises(InputError, match=r"Give a \.npz or \.h5"):
        learn2reg.read(path, grid, grid)


def test_the_command_scores_one_pair_and_many(tmp_path, capsys):
    for name, shift in (("a", 0), ("b", 3)):
        nib.Nifti1Image(boxes(shift).data.numpy(), AFFINE).to_filename(tmp_path / f"{name}.nii.gz")
    itk.write(tmp_path / "x.h5", shifted(3.0))
    words = ["evaluate", str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")]
    assert main.main([*words, "--registration", str(tmp_path / "x.h5")]) == 0
    assert "Dice               1.0000" in capsys.readouterr().out
    learn2reg.write(tmp_path / "y.npz", shifted(-3.0), boxes(3).grid, boxes(0).grid)
    rows = ["fixed\tmoving\ttransform", "a.nii.gz\tb.nii.gz\tx.h5", "b.nii.gz\ta.nii.gz\ty.npz"]
    (tmp_path / "pairs.tsv").write_text("\n".join(rows))
    words = ["evaluate", str(tmp_path), str(tmp_path), "--registration", str(tmp_path / "pairs.tsv")]
    assert main.main([*words, "--out", str(tmp_path / "out.tsv")]) == 0
    assert (tmp_path / "out.tsv").read_text().count("\n") == 3
    assert "pairs              2" in capsys.readouterr().out
    assert main.main([*words[:-1], str(tmp_path / "none.h5")]) != 0
    assert "does not exist" in capsys.readouterr().err
