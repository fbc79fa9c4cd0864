"""Plugins that execute a Nipype graph, in worker processes or node by node in this process.

Nipype's own plugins wait forever when a worker is killed, end the whole run when a crash file cannot be
written, and do not report why a node failed. These plugins change only that.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing as mp
import os
import random
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from traceback import format_exception
from typing import Any

from nipype.pipeline import plugins as nipype_plugins
from nipype.pipeline.plugins.base import DistributedPluginBase
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from ....models.errors import UsageError
from ....models.networks import malloc
from ...status import failures
from ...status.records import Fault
from . import logs, signals
from .nipype_internals import CrashHook, RankedSubmission, SchedulerHooks
from .slots import HIDDEN, PINNED, VISIBLE, Slot

PATIENCE = 1.0
"""Seconds after which running nodes are looked at, even if none has ended."""


def run_node(node: Any, updatehash: bool, taskid: int, seed: int = 0, roomy: bool = False) -> dict[str, Any]:
    """Run a node and return its result, traceback and fault.

    Parameters
    ----------
    node : Node
        The node.
    updatehash : bool
        Whether to update only the hash, as in Nipype.
    taskid : int
        Number of the task.
    seed : int
        Seed of all random numbers.
    roomy : bool
        Whether there is room for memory that the process has freed and not returned.
    """
    malloc.leave(roomy)
    result: dict[str, Any] = {"result": None, "traceback": None, "taskid": taskid, "fault": None}
    _seed(seed)
    try:
        result["result"] = node.run(updatehash=updatehash)
    except BaseException as error:
        result["traceback"] = format_exception(error)
        with suppress(Exception):
            result["result"] = node.result
        if isinstance(error, KeyboardInterrupt):
            raise
        if stop := interrupt_within(result["result"]):
            raise stop from None
        result["fault"] = failures.explain(error, result["result"])
    malloc.trim()  # the next node may run in another worker
    return result


def interrupt_within(result: Any) -> KeyboardInterrupt | None:
    """Return the request to stop that arrived while an interface ran; Nipype treats it as a failure."""
    text = getattr(getattr(result, "runtime", None), "traceback", None) or ""
    kind, _, name = (text.strip().splitlines() or [""])[-1].partition(":")
    if kind.rpartition(".")[2] not in ("KeyboardInterrupt", "Stopped"):
        return None
    if name.strip() in signal.Signals.__members__:
        return signals.Stopped(name.strip(), signal.Signals[name.strip()])
    return KeyboardInterrupt(*name.split())


def start_worker(cwd: str, log_file: str, level: int, echo: bool, gpu: str | None = None) -> None:
    """Prepare a worker: send its output to the log, and end it with the main process.

    Parameters
    ----------
    cwd : str
        Working directory.
    log_file : str
        The log file.
    level : int
        Level at which Nipype logs.
    echo : bool
        Whether printed text goes to the terminal.
    gpu : str, optional
        The only GPU that the worker sees; empty for none, and None for all.
    """
    os.chdir(cwd)
    if gpu is not None:
        os.environ[VISIBLE] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logs.of_worker(Path(log_file), level, echo)


class LinearPlugin(SchedulerHooks, DistributedPluginBase):
    """Run nodes one by one in this process, for debugging."""

    def __init__(
        self, plugin_args: dict[str, Any], *, on_failure, order, admit=lambda node: True, seed: int = 0
    ) -> None:
        super().__init__(plugin_args=plugin_args | {"max_jobs": 1})
        self.on_failure, self.order, self.seed = on_failure, order, seed
        self.admit, self.group = admit, order
        self._results: dict[int, dict[str, Any]] = {}

    def submit(self, node: Any, updatehash: bool) -> int:
        """Run a node."""
        taskid = len(self._results) + 1
        self._results[taskid] = run_node(node, updatehash, taskid, self.seed)
        return taskid

    def result_of(self, taskid: int) -> dict[str, Any]:
        """Return the result of a node."""
        return self._results[taskid]

    def forget(self, taskid: int) -> None:
        """Drop a result."""
        self._results[taskid] = {}

    def close(self) -> None:
        """Do nothing; the plugin holds no resources."""


class WorkersPlugin(RankedSubmission, MultiProcPlugin):
    """Run nodes in worker processes, which last for the whole run and keep their networks.

    A killed worker (usually for lack of memory) breaks its pool, and the node that caused it is unknown.
    The nodes that were running are then repeated, each in a separate process; the one whose process is
    killed again has failed.

    Every GPU has a worker of its own, which sees only this GPU and runs one node at a time. The others see
    none, so that there is one CUDA context for each GPU.
    """

    pool: ProcessPoolExecutor

    def __init__(
        self,
        plugin_args: dict[str, Any],
        *,
        on_failure: Callable[[Any, Fault], None],
        order: Callable[[Any], int],
        admit: Callable[[Any], bool] = lambda node: True,
        seed: int,
        log_file: Path,
        level: int = logging.INFO,
        echo: bool = False,
        slots: Sequence[Slot] = (),
    ) -> None:
        self._others = set(mp.active_children())
        plugin_args = plugin_args | {"n_gpu_procs": len(slots)}
        super().__init__(plugin_args=plugin_args | {"mp_context": "forkserver", "raise_insufficient": False})
        self.pool.shutdown(wait=False)
        self.take_gpu_slots()
        self.on_failure, self.order, self.seed = on_failure, order, seed
        self.admit, self.group = admit, order
        self._worker = (str(Path.cwd()), str(log_file), level, echo)
        self._pools: list[ProcessPoolExecutor] = []
        self._size = max(1, min(self.processors, int(self.memory_gb)))
        self._slots = list(slots)
        self._gpu_pools: dict[Slot, ProcessPoolExecutor] = {}
        self._on: dict[int, Slot] = {}
        self.pool = self._new_pool(self._size)
        self._numbers = itertools.count(1)
        self._tasks: dict[int, tuple[Any, bool]] = {}
        self._results: dict[int, dict[str, Any]] = {}
        self._news = threading.Event()
        self._lost: set[int] = set()
        self._suspects: deque[int] = deque()
        self._alone: int | None = None

    def _new_pool(self, workers: int, slot: Slot | None = None) -> ProcessPoolExecutor:
        gpu = slot.visible if slot else HIDDEN if self._slots else None
        pool = ProcessPoolExecutor(
            max_workers=workers,
            initializer=start_worker,
            initargs=(*self._worker, gpu),
            mp_context=mp.get_context("forkserver"),
        )
        self._pools.append(pool)
        return pool

    def submit(self, node: Any, updatehash: bool) -> int:
        """Send a node to a worker."""
        taskid = next(self._numbers)
        self._tasks[taskid] = (node, updatehash)
        if self._slots and node.is_gpu_node():
            self._send_to_gpu(taskid)
            return taskid
        try:
            self._send(self.pool, taskid)
        except BrokenProcessPool:
            self.pool = self._new_pool(self._size)
            self._send(self.pool, taskid)
        return taskid

    def _send_to_gpu(self, taskid: int) -> None:
        """Send a node to the worker of a free GPU."""
        busy = list(self._on.values())
        slot = min(self._slots, key=busy.count)
        self._on[taskid] = slot
        self._tasks[taskid][0].inputs.device = PINNED  # no part of the hash
        pool = self._gpu_pools.get(slot) or self._gpu_pools.setdefault(slot, self._new_pool(1, slot))
        try:
            self._send(pool, taskid)
        except BrokenProcessPool:
            self._gpu_pools[slot] = self._new_pool(1, slot)
            self._send(self._gpu_pools[slot], taskid)

    def _send(self, pool: ProcessPoolExecutor, taskid: int) -> None:
        node, updatehash = self._tasks[taskid]
        future = pool.submit(run_node, node, updatehash, taskid, self.seed, self._roomy)
        future.add_done_callback(partial(self._arrived, taskid))

    def _arrived(self, taskid: int, future: Future) -> None:
        """Store a result; called in the thread of the pool."""
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._results[taskid] = future.result()
        elif isinstance(error, BrokenProcessPool):
            self._lost.add(taskid)
        else:
            self._results[taskid] = _no_result(taskid, error)
        self._news.set()

    @cached_property
    def _roomy(self) -> bool:
        """Whether the memory suffices for the largest need of every worker at once."""
        largest = max(float(node.mem_gb) for node in self.procs)
        return (self._size + len(self._slots)) * max(largest, 1.0) <= self.memory_gb

    def rest(self) -> None:
        """Wait until a node has ended, or for a second."""
        self._news.wait(PATIENCE)
        self._news.clear()

    def result_of(self, taskid: int) -> dict[str, Any] | None:
        """Return the result of a node, None before it ends; repeat a lost node in a separate process."""
        if taskid in self._lost:
            self._lost.discard(taskid)
            if taskid == self._alone:
                self._results[taskid] = _no_result(taskid, None)
            else:
                self._suspects.append(taskid)
        if self._alone is not None and self._alone in self._results:
            self._alone = None
        if self._alone is None and self._suspects:
            self._alone = self._suspects.popleft()
            self._send(self._new_pool(1, self._on.get(self._alone)), self._alone)
        return self._results.get(taskid)

    def forget(self, taskid: int) -> None:
        """Drop a node and its result."""
        del self._tasks[taskid]
        self._on.pop(taskid, None)
        self._results[taskid] = {}

    def close(self) -> None:
        """Terminate the workers."""
        workers = set(mp.active_children()) - self._others
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            with suppress(OSError, ValueError):
                worker.terminate()


def foreign(
    name: str,
    arguments: dict[str, Any],
    on_failure: Callable[[Any, Fault], None],
    admit: Callable[[Any], bool],
    group: Callable[[Any], Any],
) -> Any:
    """Return one of Nipype's own plugins that also reports why a node failed.

    Parameters
    ----------
    name : str
        Name of the plugin, such as ``SLURM``.
    arguments : dict
        Arguments of the plugin.
    on_failure : callable
        Takes the node and its fault.
    admit, group : callable
        See :class:`CrashHook`.

    Raises
    ------
    UsageError
        If there is no such plugin, or its arguments are invalid.
    """
    names = sorted(n.removesuffix("Plugin") for n in dir(nipype_plugins) if n.endswith("Plugin"))
    base = getattr(nipype_plugins, f"{name}Plugin", None)
    if base is None:
        raise UsageError(None, f"Nipype has no plugin {name!r}", f"It has {', '.join(names)}")

    # The base is only known at run time.
    class Foreign(CrashHook, base):  # type: ignore[misc, valid-type]
        """Plugin that also reports why a node failed."""

        def close(self) -> None:
            """Do nothing; the plugin holds no resources."""

    try:
        plugin = Foreign(plugin_args=arguments)
        plugin.on_failure, plugin.admit, plugin.group = on_failure, admit, group
        return plugin
    except Exception as error:
        raise UsageError(
            None, f"Nipype's plugin {name} cannot be used ({error})", "See --nipype-plugin-file"
        ) from None


def _no_result(taskid: int, error: BaseException | None) -> dict[str, Any]:
    """Return the result of a node after its process was killed or its result could not be sent."""
    fault = failures.KILLED if error is None else failures.explain(error, None)
    trace = [f"{fault.reason}\n"] if error is None else format_exception(error)
    return {"result": None, "traceback": trace, "taskid": taskid, "fault": fault}


def _end_with_parent() -> None:
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _seed(seed: int) -> None:
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
