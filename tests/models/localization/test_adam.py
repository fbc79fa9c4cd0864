"""Adam without the compiler of PyTorch: its steps to the bit."""

import subprocess
import sys

import pytest
import torch

from brainseg.models.localization.adam import Adam


@pytest.mark.slow
def test_steps_are_those_of_pytorch():
    torch.manual_seed(0)
    start, goal = torch.randn(4, 3), torch.randn(4, 3)
    ours = [start.clone().requires_grad_(), torch.zeros(3, requires_grad=True)]
    theirs = [start.clone().requires_grad_(), torch.zeros(3, requires_grad=True)]
    own = Adam([((ours[0],), 0.04), ((ours[1],), 0.2)])
    other = torch.optim.Adam([{"params": [theirs[0]], "lr": 0.04}, {"params": [theirs[1]], "lr": 0.2}])

    def loss(one, shift):
        return ((one + shift - goal) ** 2).sum() + one.abs().sum()

    for _ in range(30):
        own.step(loss(*ours))
        other.zero_grad()
        loss(*theirs).backward()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_the_compiler_is_not_imported():
    code = (
        "import sys, torch\n"
        "from brainseg.models.localization.adam import Adam\n"
        "x = torch.ones(2, requires_grad=True)\n"
        "Adam([((x,), 0.1)]).step((x**2).sum())\n"
        "print(sorted({'torch._dynamo', 'sympy', 'ants'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
