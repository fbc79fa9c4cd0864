"""Memory that is kept: one within another changes nothing, and the end is the end."""

import pytest

from brainseg.models.networks import malloc


@pytest.fixture
def calls(monkeypatch):
    """What glibc was told."""
    told = []

    class Library:
        def mallopt(self, name, value):
            told.append((name, value))

        def malloc_trim(self, pad):
            told.append("trim")

    monkeypatch.setattr(malloc, "_libc", Library)
    return told


def test_the_outer_one_begins_and_ends_it(calls):
    with malloc.kept():
        with malloc.kept():
            pass
        assert calls == list(malloc.KEEP)
    assert calls == [*malloc.KEEP, *malloc.USUAL, "trim"]


def test_an_error_ends_it_too(calls):
    with pytest.raises(ValueError), malloc.kept():
        raise ValueError
    assert calls[-1] == "trim"
    with malloc.kept():
        assert calls[-3:] == list(malloc.KEEP)


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(malloc, "_libc", lambda: None)
    with malloc.kept():
        pass


def test_where_there_is_room_memory_is_not_returned_at_once(calls):
    malloc.leave(True)
    try:
        with malloc.kept():
            pass
        malloc.trim()
        assert calls == [*malloc.KEEP, *malloc.USUAL]
    finally:
        malloc.leave(False)
    malloc.trim()
    assert calls[-1] == "trim"
