"""A request to stop: told once, however often it is sent."""

import os
import signal

import pytest

from brainseg.bidsapp.execution.scheduler import signals


@pytest.fixture(autouse=True)
def default_handlers():
    # Whoever runs the tests in the background of a shell has SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(name):
    os.kill(os.getpid(), signal.Signals[name])


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_further_signals_do_not_disturb_the_end(name):
    assert signals.received() is None
    with pytest.raises(KeyboardInterrupt) as stop, signals.stopping():
        try:
            send(name)
        finally:
            send("SIGINT")
            send("SIGTERM")
            assert signals.received() is not None
    assert str(stop.value) == ("" if name == "SIGINT" else "SIGTERM")
    assert getattr(stop.value, "exit_code", 130) == (130 if name == "SIGINT" else 143)
    assert signals.received() is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_end_that_hangs_can_be_stopped(monkeypatch):
    monkeypatch.setattr(signals, "GRACE", 0.0)
    with pytest.raises(KeyboardInterrupt), signals.stopping():
        with pytest.raises(KeyboardInterrupt):
            send("SIGINT")
        send("SIGINT")
        pytest.fail("the second signal was ignored")


def test_an_ignored_interrupt_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals.stopping():
        send("SIGINT")
    assert signals.received() is None
