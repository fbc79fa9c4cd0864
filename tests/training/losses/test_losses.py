"""Losses: what they say of simple cases, and the fused form against the plain one, gradient included."""

import pytest
import torch
import torch.nn.functional as F

from brainseg.models.population import labels
from brainseg.training.losses import segmentation

TISSUE_OF = torch.from_numpy(labels.load("adult").tissue_of).long()


def plain(logits, target, weight, tissue=None, share=0.0):
    """Segmentation loss by autograd."""
    log_p = F.log_softmax(logits.float(), 1)
    value = F.nll_loss(log_p, target, weight=weight) + segmentation.soft_dice(log_p.exp(), target)
    return (
        value if tissue is None else value + share * segmentation.hierarchical_loss(logits, tissue, TISSUE_OF)
    )


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", [1, 2])
def test_fused_loss_is_the_plain_one(share, dtype, batch):
    torch.manual_seed(0)
    start = (2 * torch.randn(batch, 19, 6, 8, 10)).to(dtype)
    start = start.contiguous(memory_format=torch.channels_last_3d)
    target = torch.randint(0, 17, (batch, 6, 8, 10))
    target[0, 0, 0, :3] = 18  # too few to count in the Dice
    weight = torch.rand(19) + 0.5
    found = []
    for fused in (True, False):
        logits = start.clone().requires_grad_()
        tissue = TISSUE_OF[target]
        if fused:
            hierarchy = (tissue, TISSUE_OF, share) if share else None
            value = segmentation.segmentation_loss(logits, target, weight, hierarchy)
        else:
            value = plain(logits, target, weight, tissue if share else None, share)
        (2.5 * value).backward()
        found.append((value.detach(), logits.grad.float()))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
    tolerance = {"rtol": 1e-4, "atol": 1e-7} if dtype is torch.float32 else {"rtol": 1e-2, "atol": 1e-5}
    torch.testing.assert_close(found[0][1], found[1][1], **tolerance)


def test_right_answers_cost_nothing():
    target = torch.randint(0, 19, (1, 8, 8, 8))
    sure = 50 * F.one_hot(target, 19).movedim(-1, 1).float()
    hierarchy = (TISSUE_OF[target], TISSUE_OF, 1.0)
    assert float(segmentation.segmentation_loss(sure, target, None, hierarchy)) == pytest.approx(0, abs=1e-3)
    wrong = 50 * F.one_hot((target + 1) % 19, 19).movedim(-1, 1).float()
    assert float(segmentation.segmentation_loss(wrong, target)) > 10


def test_hierarchy_forgives_what_stays_in_the_tissue():
    """Left unsaid which structure: within the right tissue the summed loss is low, outside high."""
    table = labels.load("adult")
    target = torch.full((1, 4, 4, 4), table.unsided.index(11))
    tissue = TISSUE_OF[target]
    within, without = (F.one_hot(torch.full_like(target, table.unsided.index(i)), 19) for i in (12, 2))
    within, without = (10 * x.movedim(-1, 1).float() for x in (within, without))
    low, high = (float(segmentation.hierarchical_loss(x, tissue, TISSUE_OF)) for x in (within, without))
    assert low < 0.05 and high > 5


@pytest.mark.parametrize("error", [0.1, 0.5, 3.0, 40.0])
def test_the_inside_is_learned_to_a_part_of_a_voxel(error):
    """The loss is least at the truth, also far from it: nothing is clipped."""
    x, y, z = torch.meshgrid(*[torch.arange(-24.0, 25.0, 3)] * 3, indexing="ij")
    truth = 15.2 - (x**2 + y**2 + z**2).sqrt()[None]
    least = float(segmentation.inside_loss(truth, truth))
    for wrong in (truth + error, truth - error):
        wrong = wrong.requires_grad_()
        loss = segmentation.inside_loss(wrong, truth)
        loss.backward()
        assert float(loss) > least and float(wrong.grad.sum().sign()) == float((wrong - truth).sum().sign())


def test_the_volume_is_learned_where_all_of_a_surface_is_off():
    """The loss is the relative error of the volume, of each example by itself."""
    x, y, z = torch.meshgrid(*[torch.arange(-40.0, 41.0, 2)] * 3, indexing="ij")
    radius = (x**2 + y**2 + z**2).sqrt()
    truth = torch.stack([30.0 - radius, 24.0 - radius])
    assert float(segmentation.volume_loss(truth, truth)) == 0
    wrong = torch.stack([30.0 - radius + 1, 24.0 - radius - 1])
    expected = ((31 / 30) ** 3 - 1 + 1 - (23 / 24) ** 3) / 2
    assert float(segmentation.volume_loss(wrong, truth)) == pytest.approx(expected, rel=0.02)


def test_distance_and_border():
    truth = torch.linspace(-12, 12, 200).view(1, 2, 10, 10)
    assert float(segmentation.distance_loss(truth, truth)) < 0.05
    assert float(segmentation.distance_loss(truth + 1, truth)) < float(
        segmentation.distance_loss(truth + 3, truth)
    )
    assert float(segmentation.border_loss(truth, truth)) < float(segmentation.border_loss(truth + 3, truth))
    side = torch.tensor([1, 0, -1])
    assert float(segmentation.side_loss(torch.tensor([9.0, -9.0, -9.0]), side)) < 1e-3


def test_edges_can_count_more():
    """The weight of voxels at borders is that of the plain loss with a weight for each voxel."""
    torch.manual_seed(0)
    target = torch.zeros(1, 6, 6, 6, dtype=torch.long)
    target[:, 3:] = 1
    edge = segmentation.edges(target)
    assert edge[0, :, 0, 0].tolist() == [False, False, True, True, False, False]
    found = []
    for emphasis in (3.0, None):
        logits = torch.randn(1, 2, 6, 6, 6, generator=torch.Generator().manual_seed(2)).requires_grad_()
        if emphasis:
            value = segmentation.segmentation_loss(logits, target, edge_weight=emphasis)
        else:
            weight = 1 + 2 * edge.float()
            log_p = F.log_softmax(logits, 1)
            each = F.nll_loss(log_p, target, reduction="none")
            value = (weight * each).sum() / weight.sum() + segmentation.soft_dice(log_p.exp(), target)
        value.backward()
        found.append((value.detach(), logits.grad))
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-7)
