"""Two hippocampi registered, by ours and by the network that sums gradients up."""

import numpy as np
import pytest
import torch

from brainseg.models.errors import InputError
from brainseg.models.geometry.volume import Volume
from brainseg.models.hippocampus import registration
from brainseg.models.hippocampus.hippocampus import Parts
from brainseg.models.networks import gradient_net
from brainseg.models.networks.gradient_net import GradientNet
from brainseg.training.evaluation import registration as pairs

CHANNELS = (4, 6, 8)


def parts(scale=(1.0, 1.0, 1.0), shift=(0.0, 0.0, 0.0), bend: float = 0.0) -> Parts:
    """A bent sausage of two parts in a box, its brightness as that of tissue."""
    shape = (40, 56, 40)
    points = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    x, y, z = (p / s - t for p, s, t in zip(points, scale, shift, strict=True))
    z = z - bend * (y / 16) ** 2 * 4
    inside = (x / 6) ** 2 + (y / 18) ** 2 + (z / 6) ** 2
    soft = torch.from_numpy(1 / (1 + np.exp((inside - 1) * 8))).float()
    front = torch.from_numpy(1 / (1 + np.exp(-y * 2))).float()
    affine = np.eye(4)
    affine[:3, 3] = 5.0, -3.0, 8.0
    image = 0.8 - 0.4 * soft
    return Parts(
        Volume(image, affine),
        Volume(torch.stack([soft * front, soft * (1 - front)]), affine),
        Volume(torch.ones(shape), affine),
    )


@pytest.fixture(scope="module")
def both():
    return parts(), parts((1.15, 0.9, 1.1), (2.0, -3.0, 1.0), 0.8)


@pytest.fixture(scope="module")
def found(both):
    return registration.register(*both)


@pytest.mark.slow
def test_the_parts_come_together_without_folds(both, found):
    moving, fixed = (one.labels for one in both)
    scores = pairs.pair_scores(found.forward, moving, fixed)
    assert scores["dice"] > 0.93 and scores["hd95_mm"] <= 1.01
    assert scores["folds"] == 0 and scores["sd_log_jacobian"] < 0.5


@pytest.mark.slow
def test_there_and_back(both, found):
    points = np.argwhere(both[1].labels.data.numpy() > 0)[::7] + both[1].image.affine[:3, 3]
    back = found.inverse.points(found.forward.points(points))
    assert np.linalg.norm(back - points, axis=1).mean() < 0.2


@pytest.mark.slow
def test_changing_places_gives_the_inverse(both, found):
    other = registration.register(both[1], both[0])
    points = np.argwhere(both[1].labels.data.numpy() > 0)[::7] + both[1].image.affine[:3, 3]
    moved = np.linalg.norm(found.forward.points(points) - points, axis=1).mean()
    apart = np.linalg.norm(other.inverse.points(points) - found.forward.points(points), axis=1)
    assert apart.mean() < 0.1 * moved


def test_an_image_without_a_hippocampus_is_an_error(both):
    empty = both[0].probabilities.with_data(torch.zeros(2, 40, 56, 40))
    with pytest.raises(InputError, match="no hippocampus"):
        registration.register(Parts(both[0].image, empty, both[0].inside), both[1])


def test_an_untrained_network_is_the_identity():
    network = GradientNet(CHANNELS, scales=2)
    out = network(torch.rand(2, 2, 16, 16, 16))
    assert set(out) == {"forward", "backward"}
    for way in out.values():
        assert [tuple(d.shape) for _, d in way] == [(2, 3, 16, 16, 16), (2, 3, 8, 8, 8)]
        for gradients, displacement in way:
            assert bool((gradients == 0.5).all()) and float(displacement.abs().max()) < 1e-5


def test_gradients_sum_up_to_the_grid():
    gradients = torch.full((1, 3, 6, 6, 6), 0.5)
    gradients[:, 0, 3:] = 0.75
    found = gradient_net.accumulated(gradients)[0]
    assert found[0, :, 0, 0].tolist() == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5])
    assert float(found[1:].abs().max()) == 0
    shifted = gradient_net.accumulated(
        torch.full((1, 3, 6, 6, 6), 0.5), torch.tensor([[0.0] * 3 + [0.4] + [0.0] * 8])
    )
    assert float(shifted[0, 0].mean()) == pytest.approx(1.0) and float(shifted[0, 1:].abs().max()) < 1e-5


def test_the_way_back_sees_the_differences_with_a_minus():
    network = GradientNet(CHANNELS, scales=1)
    for head in (*network.heads, network.affine):
        torch.nn.init.normal_(head.weight, std=0.05)
    x = torch.rand(1, 2, 16, 16, 16)
    there, back = network(x), network(x.flip(1))
    torch.testing.assert_close(there["forward"][0][1], back["backward"][0][1])


def test_crops_of_any_size_are_aligned_in_mm():
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -7.0, 3.0, 1.0
    network = GradientNet(CHANNELS, scales=1)
    moving, fixed = Volume(torch.rand(10, 12, 14), affine), Volume(torch.rand(12, 12, 12), np.eye(4))
    warp = gradient_net.align(network, moving, fixed, side=16)
    # Untrained, it lays the middles onto each other.
    middle = warp.points(np.array([[6.0, 6.0, 6.0]]))
    np.testing.assert_allclose(middle, [[-2.0, 9.0, 8.0]], atol=1e-4)
