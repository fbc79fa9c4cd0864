"""Pairs of brains are computed where the generator computes, whatever torch's own choice is."""

from types import SimpleNamespace

import pytest
import torch

from brainseg.training.registration.pairs import BrainPairs
from brainseg.training.synthesis.config import GeneratorConfig
from brainseg.training.synthesis.generator import HeadGenerator

ELSEWHERE = torch.device("meta")
"""Tensors that are made without saying where would be there, and cannot be mixed with others."""


def test_tables_are_where_the_generator_is(toy_arrays):
    source = HeadGenerator(toy_arrays, GeneratorConfig()).source
    pairs = BrainPairs(SimpleNamespace(source=source, device=ELSEWHERE), (8, 8, 8), 8.0)
    tensors = {k: v for k, v in vars(pairs).items() if isinstance(v, torch.Tensor)}
    assert len(tensors) == 4 and all(v.device == ELSEWHERE for v in tensors.values())


@pytest.mark.parametrize("kind", ["contrast", "tissues", "none"])
def test_what_is_made_of_a_head_is_where_the_head_is(toy_arrays, kind, monkeypatch):
    generator = HeadGenerator(toy_arrays, GeneratorConfig())
    pairs = BrainPairs(generator, (16, 20, 16), 8.0)
    draw = generator.draw(0)
    rendered = generator.render(draw, (0.0, 0.0, 0.0), (32, 40, 32), 4.0)
    monkeypatch.setattr(generator, "render", lambda *_: rendered)
    with ELSEWHERE:
        stack, truth = pairs._brain(draw, kind)
    assert stack.device == truth.device == rendered.image.device
    assert bool(stack.isfinite().all())
