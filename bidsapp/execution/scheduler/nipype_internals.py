"""Private hooks of Nipype's scheduler.

Subclasses of Nipype's plugins must override them, but they are not a public interface. They are kept here,
under public names for :mod:`brainseg.bidsapp.execution.scheduler.plugins`; setup.py limits Nipype to
versions that have them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse

from ...status import failures
from ...status.records import Fault


def members(workflow: Any) -> list[str]:
    """Return the names of the nodes and workflows in a workflow, each after those that it needs."""
    return [str(member.name) for member in nx.topological_sort(workflow._graph)]


class CrashHook:
    """Report why a node failed, and leave out nodes that are not admitted.

    Attributes
    ----------
    on_failure : callable
        Takes the node and its fault.
    admit : callable
        Takes a node that is about to run, and returns whether it may.
    group : callable
        Takes a node and returns what it belongs to; if it may not run, all nodes of its group are left out.
    """

    on_failure: Callable[[Any, Fault], None]
    admit: Callable[[Any], bool] = staticmethod(lambda node: True)
    group: Callable[[Any], Any] = staticmethod(id)

    # Of the plugin that follows in the order of bases.
    procs: list[Any]
    proc_done: Any
    proc_pending: Any

    def _local_hash_check(self, jobid, graph):
        # The last of Nipype's steps before a node runs; true means that nothing is left to do for it.
        if self.admit(self.procs[jobid]):
            # The plugin that follows in the order of bases has this method.
            return super()._local_hash_check(jobid, graph)  # type: ignore[misc]
        group = self.group(self.procs[jobid])
        for number, node in enumerate(self.procs):
            if self.group(node) == group:
                self.proc_done[number], self.proc_pending[number] = True, False
        return True

    def _report_crash(self, node, result=None):
        known = result or {}
        fault = known.get("fault") or failures.explain_text("".join(known.get("traceback") or ""))
        try:
            # The plugin that follows in the order of bases has this method.
            crash = super()._report_crash(node, result=result)  # type: ignore[misc]
        except Exception:  # a full disk must not stop the other participants
            crash = ""
        self.on_failure(node, failures.with_crash(fault, crash))
        return crash


class SchedulerHooks(CrashHook):
    """Submit nodes, fetch their results and order them, by methods that subclasses define.

    Attributes
    ----------
    order : callable
        Takes a node and returns its rank; nodes of lower rank run first.
    """

    order: Callable[[Any], int]

    def submit(self, node: Any, updatehash: bool) -> int:
        """Start a node and return the number of its task."""
        raise NotImplementedError

    def result_of(self, taskid: int) -> dict[str, Any] | None:
        """Return the result of a task: node result, traceback and fault; None while it runs."""
        raise NotImplementedError

    def forget(self, taskid: int) -> None:
        """Drop the result of a task."""
        raise NotImplementedError

    def _submit_job(self, node, updatehash=False):
        return self.submit(node, updatehash)

    def _get_result(self, taskid):
        return self.result_of(taskid)

    def _clear_task(self, taskid):
        self.forget(taskid)

    def _generate_dependency_list(self, graph):
        rank = {node: number for number, node in enumerate(nx.topological_sort(graph))}
        self.procs = sorted(rank, key=lambda node: (self.order(node), rank[node]))
        links = nx.to_scipy_sparse_array(graph, nodelist=self.procs, format="lil")
        self.depidx = scipy.sparse.lil_matrix(links)
        self.refidx = self.depidx.astype(int)
        self.proc_done = np.zeros(len(self.procs), dtype=bool)
        self.proc_pending = np.zeros(len(self.procs), dtype=bool)


class RankedSubmission(SchedulerHooks):
    """Give free resources to the nodes of the lowest rank, also to those that become ready meanwhile.

    A node that uses a GPU takes one of ``gpu_slots``, however many threads it has; Nipype would take as many
    slots as it has threads.

    Nipype takes one list of ready nodes. After a node that needs no worker (cached, or run in the main
    process) it would give the resources to the next participant, whose long node then delays the successors
    of the first. The work on further participants begins only when their stages have processors soon: what
    has not begun is free for other processes.
    """

    # Of the plugin that follows in the order of bases.
    processors: int
    memory_gb: float
    n_gpu_procs: int
    pending_tasks: list[tuple[int, int]]

    gpu_slots: int = 0
    _turn: tuple[int, ...] = ()

    def take_gpu_slots(self) -> None:
        """Count the GPUs that the plugin was given as slots; for Nipype every node needs one."""
        self.gpu_slots = self.n_gpu_procs
        self.n_gpu_procs = min(1, self.gpu_slots)

    def _check_resources(self, running_tasks):
        # The plugin that follows in the order of bases has this method.
        memory, processors, _ = super()._check_resources(running_tasks)  # type: ignore[misc]
        busy = sum(self.procs[job].is_gpu_node() for _, job in running_tasks)
        return memory, processors, max(0, self.gpu_slots - busy)

    def _prerun_check(self, graph):
        kept, self.n_gpu_procs = self.n_gpu_procs, self.processors  # else Nipype warns of every GPU node
        super()._prerun_check(graph)  # type: ignore[misc]
        self.n_gpu_procs = kept

    def _send_procs_to_workers(self, updatehash=False, graph=None):
        tried: set[int] = set()
        while waiting := [job for job in self._timely(self._fitting()) if job not in tried]:
            rank = self.order(self.procs[waiting[0]])
            self._turn = tuple(job for job in waiting if self.order(self.procs[job]) == rank)
            tried.update(self._turn)
            # The plugin that follows in the order of bases has this method.
            super()._send_procs_to_workers(updatehash=updatehash, graph=graph)  # type: ignore[misc]
        if self.pending_tasks:
            self.rest()

    def rest(self) -> None:
        """Wait for a result of the running nodes; by default, Nipype looks for results again and again."""

    def _sort_jobs(self, jobids, scheduler="tsort"):
        return list(self._turn)

    def _timely(self, jobs: list[int]) -> list[int]:
        """Return the jobs of ranks that have begun, or may begin: one more than can be worked on at once."""
        ranks = np.array([self.order(node) for node in self.procs])
        begun = set(ranks[self.proc_done].tolist())
        unfinished = begun & set(ranks[~self.proc_done | self.proc_pending].tolist())
        widest = max(min(node.n_procs, self.processors) for node in self.procs)
        room = self.processors // max(1, widest) + 1 - len(unfinished)
        new = list(dict.fromkeys(rank for job in jobs if (rank := ranks[job]) not in begun))
        return [job for job in jobs if ranks[job] in begun or ranks[job] in new[: max(0, room)]]

    def _fitting(self) -> list[int]:
        """Return the ready nodes that the free resources suffice for, in the order of their ranks."""
        ready = np.flatnonzero(~self.proc_done & (self.depidx.sum(axis=0) == 0).__array__())
        memory, processors, gpus = self._check_resources(self.pending_tasks)
        return [int(job) for job in ready if self._fits(self.procs[job], memory, processors, gpus)]

    def _fits(self, node: Any, memory: float, processors: int, gpus: int) -> bool:
        """Return whether resources suffice for a node, by the rule of Nipype."""
        need = min(node.n_procs, self.processors)
        return (
            need <= processors
            and min(node.mem_gb, self.memory_gb) <= memory
            and (not node.is_gpu_node() or gpus > 0)
        )
