"""Memory that is kept: one within another changes nothing, and the end is the end."""

import pytest

from brainseg.models import memory


@pytest.fixture
def calls(monkeypatch):
    """What glibc was told."""
    told = []

    class Library:
        def mallopt(self, name, value):
            told.append((name, value))

        def malloc_trim(self, pad):
            told.append("trim")

    monkeypatch.setattr(memory, "_libc", Library)
    return told


def test_the_outer_one_begins_and_ends_it(calls):
    with memory.kept():
        with memory.kept():
            pass
        assert calls == list(memory.KEEP)
    assert calls == [*memory.KEEP, *memory.USUAL, "trim"]


def test_an_error_ends_it_too(calls):
    with pytest.raises(ValueError), memory.kept():
        raise ValueError
    assert calls[-1] == "trim"
    with memory.kept():
        assert calls[-3:] == list(memory.KEEP)


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_libc", lambda: None)
    with memory.kept():
        pass
