"""Files are written beside the computation, without piling up in memory."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from brainseg.interfaces import outputs


def test_slow_writing_does_not_pile_up_content_in_memory():
    waiting, most, lock = 0, 0, threading.Lock()
    gate = threading.Event()

    def write(name: str) -> Path:
        nonlocal waiting
        if threading.current_thread() is not threading.main_thread():
            gate.wait(20)
        with lock:
            waiting -= 1
        return Path(name)

    def jobs():
        nonlocal waiting, most
        for k in range(20):
            with lock:
                waiting += 1
                most = max(most, waiting)
            yield partial(write, f"{k}")
        gate.set()

    with ThreadPoolExecutor(1) as pool:
        found = list(outputs.written(pool, jobs(), 3))
    assert sorted(found) == sorted(Path(f"{k}") for k in range(20))
    assert most <= 4


def test_a_file_that_cannot_be_written_ends_the_node():
    def fail() -> Path:
        raise OSError(28, "No space left on device")

    with ThreadPoolExecutor(1) as pool, pytest.raises(OSError, match="No space left"):
        list(outputs.written(pool, iter([fail] * 5), 3))
