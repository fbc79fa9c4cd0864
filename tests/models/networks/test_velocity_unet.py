"""A network that predicts where the registration ends: symmetric, trained in seconds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainseg.models.deformation.diffeomorphic import middle
from brainseg.models.deformation.velocity import taper
from brainseg.models.networks import zoo
from brainseg.models.networks.velocity_unet import VelocityUNet, predict
from brainseg.models.registration import deep, features, registration
from brainseg.training.core.lightning import train
from brainseg.training.kinds import registry
from brainseg.training.losses import registration as velocity_losses
from brainseg.training.registration.trainer import VelocityTrainer, halves
from helpers import heads_of_balls as balls

TEXT = """
name: toy-registration
kind: registration
network: VelocityUNet
architecture: {inputs: 10, channels: [6, 8]}
losses: {dice: 1.0, mse: 1.0, ncc: 0.1, ssim: 0.1, gradient: 0.1, bending: 0.5, jacobian: 1.0}
stages:
  - {until: 1.0, shape: [16, 20, 16], spacing: 8.0, contrasts: {T1w: 1.0}, pictures: {contrast: 1.0}}
generator: {rotation: 3.0, scaling: 0.03}
minutes: 0.03
rate: 0.01
data: toy heads
license: CC0-1.0
"""


def _recipe(folder, **changes):
    path = folder / "recipe.yaml"
    path.write_text(TEXT)
    return registry.read(path, changes)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = VelocityUNet(3, (4, 6, 8)).eval()
    torch.nn.init.normal_(made.flow.weight, std=0.3)
    return made


def test_changing_places_changes_the_sign_whatever_the_size(network):
    a, b = torch.rand(3, 13, 10, 9), torch.rand(3, 13, 10, 9)
    there, back = predict(network, a, b, 2), predict(network, b, a, 2)
    assert there.shape == (3, 13, 10, 9) and float(there.abs().max()) > 1e-3
    assert torch.allclose(there, -back, atol=1e-6)
    assert float(predict(network, a, a, 2).abs().max()) == 0
    assert float(there[:, 0].abs().max()) == float(there[:, :, -1].abs().max()) == 0


def test_mirror_images_are_averaged(network):
    a, b = torch.rand(3, 12, 8, 8), torch.rand(3, 12, 8, 8)
    found = predict(network, a, b, 2, flip=True)
    mirrored = predict(network, a.flip(1), b.flip(1), 2, flip=True).flip(1)
    mirrored[0] *= -1
    assert torch.allclose(found, mirrored, atol=1e-6)
    assert torch.allclose(found, -predict(network, b, a, 2, flip=True), atol=1e-6)
    assert float((found - predict(network, a, b, 2)).abs().max()) > 1e-3


def test_losses_know_what_is_alike_and_what_is_smooth():
    torch.manual_seed(1)
    a, b = torch.rand(2, 12, 12, 12), torch.rand(2, 12, 12, 12)
    for name, loss in velocity_losses.ALIKE.items():
        assert float(loss(a, a)) == pytest.approx(0, abs=1e-3), name
        assert float(loss(a, b)) > float(loss(a, a)) + 0.01, name
    assert float(velocity_losses.ncc(a, 3 - 2 * a)) == pytest.approx(0, abs=1e-3)
    still, rough = torch.zeros(3, 12, 12, 12), torch.randn(3, 12, 12, 12)
    slope = torch.arange(12.0).view(1, -1, 1, 1).expand(3, 12, 12, 12)
    for name, loss in velocity_losses.SMOOTH.items():
        assert float(loss(still)) == 0 and float(loss(rough)) > 0.1, name
    assert float(velocity_losses.bending(slope)) == 0 and float(velocity_losses.gradient(slope)) > 0.3
    # x' = -x: space is turned over everywhere
    turned = torch.zeros(3, 12, 12, 12)
    turned[0] = -2 * slope[0]
    assert float(velocity_losses.folding(turned)) == pytest.approx(1.2)
    with pytest.raises(ValueError, match="unknown loss 'mind'"):
        velocity_losses.all_of({"mind": 1.0}, (a, b), (a, b), still, still)


@pytest.mark.slow
def test_trains_and_exports_what_a_registration_can_begin_from(tmp_path, toy_arrays):
    first = VelocityTrainer(_recipe(tmp_path), toy_arrays, tmp_path / "out", toy_arrays)
    example = first.source().examples()[0]
    assert example.x.shape == (1, 20, 16, 20, 16)
    shares = example.targets["moving"][0]
    assert len(shares) == len(first.source().classes) and 0 < float(shares.sum(0).max()) <= 1.0001
    weights = train(first)
    assert first.step >= 1 and set(first.running) == set(first.recipe.losses)
    again = VelocityTrainer(_recipe(tmp_path), toy_arrays, tmp_path / "out", toy_arrays)
    assert again.step == first.step
    card = zoo.load(str(weights)).card
    assert card["spacing"] == 8.0 and {"mean", "hard", "before", "folds"} == set(
        card["scores"]["held-out label maps, synthetic images"]
    )

    moving, fixed = balls.brain(bend=4.0), balls.brain()
    options = replace(deep.STARTED, spacing=4.0)
    found = registration.register(moving, fixed, options=options, network=str(weights))
    back = registration.register(fixed, moving, options=options, network=str(weights))
    points = np.random.default_rng(0).uniform(-1, 1, (200, 3)) * [45, 60, 40]
    apart = found.forward.points(points) - back.inverse.points(points)
    assert np.linalg.norm(apart, axis=1).max() < 0.1
    before = registration.register(moving, fixed, engine="none")
    after, linear = (
        balls.dice(
            r.forward.resample(moving.structures, fixed.image.grid, "nearest").data, fixed.structures.data
        )
        for r in (found, before)
    )
    assert after > linear


@pytest.mark.slow
def test_it_learns(tmp_path, toy_arrays):
    torch.manual_seed(0)
    trainer = VelocityTrainer(_recipe(tmp_path), toy_arrays, tmp_path / "out")
    example = trainer.source().examples(0)[0]
    losses = []
    for _ in range(12):
        loss = sum(trainer.losses(trainer.forward(example), example.targets).values())
        losses.append(float(loss.detach()))
        trainer.optimizer.zero_grad()
        loss.backward()
        trainer.optimizer.step()
    assert losses[-1] < 0.97 * losses[0]


def test_the_network_sees_the_groups_apart():
    moving, fixed = balls.brain(contrast="T2w"), balls.brain()
    space = middle(np.eye(4), moving.structures, fixed.structures, 4.0, 8.0, 1)
    for other, count in ((fixed, 2), (replace(moving, probabilities={}), 0)):
        stack, _ = features.feature_maps(replace(fixed, probabilities={}), other, space)
        seen = features.network_input(stack, 10)
        groups = len(features.GROUPS)
        assert float(seen[:groups].min()) >= 0 and float(seen[:groups].sum(0).max()) <= 1.01
        assert int((seen[groups:].flatten(1).abs().sum(1) > 0).sum()) == count


def test_halves_meet_in_the_middle():
    velocity = torch.zeros(3, 12, 12, 12)
    velocity[0] = 2.0
    _, flow, (there, here) = halves(velocity)
    assert float((here - there)[0, 6, 6, 6]) == pytest.approx(2.0, abs=5e-3)
    assert float(flow[0, 6, 6, 6]) == pytest.approx(2.0, abs=5e-3)
    assert float(flow[:, 0].abs().max()) == 0 and taper((12, 12, 12), 2)[6, 6, 6] == 1


def test_adults_begin_where_the_shipped_network_says():
    from brainseg.models.population import populations
    from brainseg.workflows.registration import init_registration_wf

    assert populations.load("adult").velocity == registration.NETWORK
    assert populations.load("fetal").velocity == ""
    network = zoo.load(registration.NETWORK).network
    assert network.inputs == len(features.GROUPS) + 2
    for velocity in ("", registration.NETWORK):
        workflow = init_registration_wf(velocity=velocity)
        node = workflow.get_node("registration")
        assert (node.inputs.velocity == velocity) is bool(velocity)
        assert ("SynthMorph" in workflow.__desc__) is bool(velocity)


def test_hard_overlap_sees_half_of_a_voxel():
    def ball(shift):
        points = np.indices((24, 24, 24)) - np.array([11.5 + shift, 11.5, 11.5]).reshape(3, 1, 1, 1)
        edge = 6 - np.sqrt((points**2).sum(0))  # blurred over two voxels, as interpolation does
        return torch.from_numpy(np.clip(0.5 + edge / 2, 0, 1)).float()[None]

    soft, hard = (loss(ball(0), ball(0.5)) for loss in (velocity_losses.dice, velocity_losses.hard))
    assert float(velocity_losses.hard(ball(0), ball(0))) == pytest.approx(0, abs=1e-3)
    assert float(hard) > 2 * float(soft) > 0.01
