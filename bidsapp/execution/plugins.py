"""How Nipype's graph is executed: in worker processes, or one node after the other in this one.

Nipype's own plugins wait for ever when a worker is killed, end the whole run when a crash file cannot be
written, and do not say why a node failed. These do otherwise; nothing else is changed.
"""

from __future__ import annotations

import logging
import multiprocessing as mp
import os
import random
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from traceback import format_exception
from typing import Any

import networkx as nx
from nipype.pipeline.plugins.base import DistributedPluginBase
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from ...models.errors import UsageError
from ..status.records import Fault
from . import failures

PRELOAD = ["brainseg.workflows.participant", "brainseg.bidsapp.execution.nodes"]
"""Modules that worker processes share from their start."""

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run_node(node: Any, updatehash: bool, taskid: int, seed: int = 0) -> dict[str, Any]:
    """Run a node; whatever happens, return what Nipype's scheduler wants to know, and the fault."""
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
    return result


def interrupt_within(result: Any) -> KeyboardInterrupt | None:
    """The request to stop that came while an interface ran, which Nipype takes for a failure of it."""
    text = getattr(getattr(result, "runtime", None), "traceback", None) or ""
    kind, _, name = (text.strip().splitlines() or [""])[-1].partition(":")
    if kind.rpartition(".")[2] not in ("KeyboardInterrupt", "Stopped"):
        return None
    stop = KeyboardInterrupt(*name.split())
    if name.strip() in signal.Signals.__members__:
        stop.exit_code = 128 + signal.Signals[name.strip()]
    return stop


def start_server() -> None:
    """Start the process from which workers are forked; it imports what they share."""
    mp.set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()


def start_worker(cwd: str, log_file: str, level: int, echo: bool) -> None:
    """Prepare a worker: its output goes to the log, and it ends with the main process, however that ends."""
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    send_to_log(Path(log_file), level, echo)


def send_to_log(path: Path, level: int, echo: bool) -> None:
    """Send what this process says to a file: what Nipype says, and unless ``echo`` all that is printed."""
    import nipype

    logging.raiseExceptions = False
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)] if echo else []
    with suppress(OSError):
        handlers.append(logging.FileHandler(path, encoding="utf-8"))
        if not echo:
            # Past Python too: compiled libraries print as they like.
            for stream in (1, 2):
                os.dup2(handlers[0].stream.fileno(), stream)
    for handler in handlers:
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logging.getLogger("nipype").handlers[:] = handlers
    for child in nipype.logging.loggers.values():
        child.setLevel(level)


class _Telling:
    """What both plugins share: faults are told, crash files are tried, and units come one after the other."""

    on_failure: Callable[[Any, Fault], None]
    order: Callable[[Any], int]

    def _report_crash(self, node, result=None):
        found = (result or {}).get("fault")
        if found is None:
            found = failures.explain_text("".join((result or {}).get("traceback") or ""))
        try:
            crash = super()._report_crash(node, result=result)
        except Exception:  # a full disk must not end the others
            crash = ""
        self.on_failure(node, failures.with_crash(found, crash))
        return crash

    def _generate_dependency_list(self, graph):
        import numpy as np
        from nipype.pipeline.plugins.base import _graph_to_lil_matrix

        rank = {node: number for number, node in enumerate(nx.topological_sort(graph))}
        self.procs = sorted(rank, key=lambda node: (self.order(node), rank[node]))
        self.depidx = _graph_to_lil_matrix(graph, nodelist=self.procs)
        self.refidx = self.depidx.astype(int)
        self.proc_done = np.zeros(len(self.procs), dtype=bool)
        self.proc_pending = np.zeros(len(self.procs), dtype=bool)


class LinearPlugin(_Telling, DistributedPluginBase):
    """One node after the other in this process, for debugging."""

    def __init__(self, plugin_args: dict[str, Any], *, on_failure, order, seed: int = 0) -> None:
        super().__init__(plugin_args=plugin_args | {"max_jobs": 1})
        self.on_failure, self.order, self.seed = on_failure, order, seed
        self._results: dict[int, dict[str, Any]] = {}

    def _submit_job(self, node, updatehash=False):
        taskid = len(self._results) + 1
        self._results[taskid] = run_node(node, updatehash, taskid, self.seed)
        return taskid

    def _get_result(self, taskid):
        return self._results[taskid]

    def _clear_task(self, taskid):
        self._results[taskid] = {}

    def close(self) -> None:
        """Nothing is open."""


class WorkersPlugin(_Telling, MultiProcPlugin):
    """Nodes in worker processes, which live for the whole run and keep their networks.

    A worker that is killed (as a rule for want of memory) breaks its pool, and it is not known by which
    node. So the nodes that ran are tried once more, each alone in a process of its own: the one that
    dies there is at fault.
    """

    pool: ProcessPoolExecutor

    def __init__(
        self,
        plugin_args: dict[str, Any],
        *,
        on_failure: Callable[[Any, Fault], None],
        order: Callable[[Any], int],
        seed: int,
        log_file: Path,
        level: int = logging.INFO,
        echo: bool = False,
    ) -> None:
        super().__init__(plugin_args=plugin_args | {"mp_context": "forkserver", "raise_insufficient": False})
        self.pool.shutdown(wait=False)
        self.on_failure, self.order, self.seed = on_failure, order, seed
        self._worker = (str(Path.cwd()), str(log_file), level, echo)
        self._pools: list[ProcessPoolExecutor] = []
        self.pool = self._new_pool(max(1, min(self.processors, int(self.memory_gb))))
        self._lost: set[int] = set()
        self._suspects: deque[int] = deque()
        self._alone: int | None = None

    def _new_pool(self, workers: int) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(
            max_workers=workers,
            initializer=start_worker,
            initargs=self._worker,
            mp_context=mp.get_context("forkserver"),
        )
        self._pools.append(pool)
        return pool

    def _submit_job(self, node, updatehash=False):
        self._taskid += 1
        self._task_obj[self._taskid] = (node, updatehash)
        try:
            self._send(self.pool, self._taskid)
        except BrokenProcessPool:
            self.pool = self._new_pool(self.pool._max_workers)
            self._send(self.pool, self._taskid)
        return self._taskid

    def _send(self, pool: ProcessPoolExecutor, taskid: int) -> None:
        node, updatehash = self._task_obj[taskid]
        future = pool.submit(run_node, node, updatehash, taskid, self.seed)
        future.add_done_callback(partial(self._arrived, taskid))

    def _arrived(self, taskid: int, future: Future) -> None:
        """Take a result; called from the pool's own thread."""
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._taskresult[taskid] = future.result()
        elif isinstance(error, BrokenProcessPool):
            self._lost.add(taskid)
        else:
            self._taskresult[taskid] = _no_result(taskid, error)

    def _get_result(self, taskid):
        if taskid in self._lost:
            self._lost.discard(taskid)
            if taskid == self._alone:
                self._taskresult[taskid] = _no_result(taskid, None)
            else:
                self._suspects.append(taskid)
        if self._alone is not None and self._alone in self._taskresult:
            self._alone = None
        if self._alone is None and self._suspects:
            self._alone = self._suspects.popleft()
            self._send(self._new_pool(1), self._alone)
        return self._taskresult.get(taskid)

    def _clear_task(self, taskid):
        del self._task_obj[taskid]
        self._taskresult[taskid] = {"taskid": taskid}

    def close(self) -> None:
        """End the workers, busy or not."""
        for pool in self._pools:
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                with suppress(OSError, ValueError):
                    process.terminate()


def foreign(name: str, arguments: dict[str, Any], on_failure: Callable[[Any, Fault], None]) -> Any:
    """One of Nipype's own plugins by its name, its failures told as those of ours.

    Raises
    ------
    UsageError
        If there is none of that name, or its arguments do not suit it.
    """
    from importlib import import_module

    plugins = import_module("nipype.pipeline.plugins")
    names = sorted(n.removesuffix("Plugin") for n in dir(plugins) if n.endswith("Plugin"))
    base = getattr(plugins, f"{name}Plugin", None)
    if base is None:
        raise UsageError(None, f"Nipype has no plugin {name!r}", f"It has {', '.join(names)}")

    class Foreign(base):  # type: ignore[valid-type]
        """The plugin, which also tells why a node failed."""

        def _report_crash(self, node, result=None):
            crash = super()._report_crash(node, result=result)
            found = failures.explain_text("".join((result or {}).get("traceback") or ""))
            on_failure(node, failures.with_crash(found, crash))
            return crash

        def close(self) -> None:
            """Nothing of ours is open."""

    try:
        return Foreign(plugin_args=arguments)
    except Exception as error:
        raise UsageError(
            None, f"Nipype's plugin {name} cannot be used ({error})", "See --nipype-plugin-file"
        ) from None


def _no_result(taskid: int, error: BaseException | None) -> dict[str, Any]:
    """Result of a node whose process died, or whose result could not be brought back."""
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
