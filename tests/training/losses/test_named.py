"""Losses by name."""

import doctest

import pytest
import torch

from brainseg.training.losses import named


def test_examples():
    assert doctest.testmod(named).failed == 0


@pytest.mark.parametrize("name", named.LOSSES)
def test_losses_fall_with_the_error_and_have_gradients(name):
    torch.manual_seed(0)
    target = torch.randint(0, 3, (2, 6, 6, 6))
    right = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    values = []
    for strength in (0.0, 2.0, 20.0):
        logits = (right * strength).requires_grad_()
        loss = named.LOSSES[name](logits, target, None)
        loss.backward()
        assert bool(logits.grad.isfinite().all())
        values.append(float(loss))
    assert values[0] > values[1] > values[2] >= 0 and values[2] < 0.01


def test_class_weights_count():
    target = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    target[..., 0] = 1
    logits = torch.zeros(1, 2, 4, 4, 4)
    logits[:, 0] = 2.0
    plain, weighted = (named.cross_entropy(logits, target, w) for w in (None, torch.tensor([1.0, 9.0])))
    assert weighted > plain


def test_a_batch_without_labels_must_find_nothing():
    target = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    wrong, right = torch.zeros(1, 2, 4, 4, 4), torch.zeros(1, 2, 4, 4, 4)
    wrong[:, 1], right[:, 0] = 9.0, 9.0
    assert named.dice(wrong, target) > named.dice(right, target)
