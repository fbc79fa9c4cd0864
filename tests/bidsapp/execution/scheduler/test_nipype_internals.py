"""The hooks that the plugins override are still those that Nipype's scheduler calls."""

import inspect

import networkx as nx
import numpy as np
import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline import engine as pe
from nipype.pipeline.plugins.base import DistributedPluginBase
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from brainseg.bidsapp.execution import nodes
from brainseg.bidsapp.execution.scheduler import plugins
from brainseg.bidsapp.execution.scheduler.nipype_internals import RankedSubmission, SchedulerHooks

HOOKS = [name for name in vars(SchedulerHooks) | {"_report_crash": None} if name.startswith("_")]
HOOKS = [name for name in HOOKS if not name.startswith("__")]
POLL = 0.001


class StandIn(RankedSubmission, MultiProcPlugin):
    """The scheduler with nodes that only take a number of polls, and a list of what starts and ends."""

    def __init__(self, durations, **resources):
        super().__init__(plugin_args={"raise_insufficient": False, **resources})
        self.pool.shutdown()
        self.take_gpu_slots()
        self.durations, self.left, self.events, self.names = durations, {}, [], {}
        self.order = lambda node: int(node.name.split("_")[0][1:])
        self._status_callback = None

    def submit(self, node, updatehash):
        node.run(updatehash=updatehash)  # nodes in the main process read its result
        number = len(self.left)
        self.names[number] = node.name
        self.left[number] = self.durations.get(node.name.split("_")[1], 2)
        self.events.append(f"+{node.name}")
        return number

    def result_of(self, taskid):
        self.left[taskid] -= 1
        if self.left[taskid] >= 0:
            return None
        self.events.append(f"-{self.names[taskid]}")
        return {"result": None, "traceback": None}

    def forget(self, taskid):
        pass


def _participants(folder, count, stages, threads, gpu=()):
    """A workflow of participants whose stages follow each other; ``finish`` runs in the main process."""
    workflow = pe.Workflow("ranks", base_dir=str(folder))
    options = {"poll_sleep_duration": str(POLL), "create_report": "false", "crashdump_dir": str(folder)}
    workflow.config["execution"] = options
    for number in range(count):
        before = None
        for stage in stages:
            names = ["x", "before", *(["use_gpu"] if stage in gpu else [])]
            node = pe.Node(Function(names, ["out"], _pass), name=f"p{number}_{stage}", mem_gb=0.1)
            if stage in gpu:
                node.inputs.use_gpu = True
            node.n_procs = threads.get(stage, 2)
            node.run_without_submitting = stage == "finish"
            node.inputs.x = number
            workflow.add_nodes([node])
            if before is not None:
                workflow.connect(before, "out", node, "before")
            before = node
    return workflow


def _pass(x, before=None, use_gpu=False):
    return x


def _work(name, fail):
    if fail:
        raise ValueError(f"{name} is broken")
    return name


def _workflow(folder, **fails):
    workflow = pe.Workflow("hooks", base_dir=str(folder))
    workflow.config["execution"] = {"crashdump_dir": str(folder), "crashfile_format": "txt"}
    for name, fail in fails.items():
        node = pe.Node(Function(["name", "fail"], ["out"], _work), name=name)
        node.inputs.trait_set(name=name, fail=fail)
        workflow.add_nodes([node])
    return workflow


@pytest.mark.parametrize("base", [DistributedPluginBase, MultiProcPlugin])
@pytest.mark.parametrize("hook", HOOKS)
def test_nipype_has_every_hook_with_the_same_arguments(base, hook):
    ours, theirs = getattr(SchedulerHooks, hook), getattr(base, hook)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


@pytest.mark.parametrize("hook", ["_send_procs_to_workers", "_sort_jobs"])
def test_multiproc_has_the_hooks_of_ranked_submission(hook):
    ours, theirs = getattr(RankedSubmission, hook), getattr(MultiProcPlugin, hook)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


@pytest.mark.slow
def test_a_participant_is_finished_before_the_next_ones_heavy_stages(tmp_path):
    """The report of the first does not wait for a long node of the second; one participant at a time."""
    stages = ("conform", "segment", "outputs", "finish", "report")
    threads = {"conform": 1, "report": 1, "finish": 1}
    plugin = StandIn({"segment": 30, "conform": 1}, n_procs=2, memory_gb=8)
    _participants(tmp_path, 3, stages, threads).run(plugin=plugin)
    at = {event: number for number, event in enumerate(plugin.events)}
    for now, following in ((0, 1), (1, 2)):
        assert at[f"-p{now}_outputs"] < at[f"+p{now}_report"] < at[f"+p{following}_segment"]
        assert at[f"+p{now}_report"] == at[f"-p{now}_outputs"] + 1
    assert len(plugin.events) == 2 * 3 * 4


@pytest.mark.slow
def test_processors_that_are_free_are_used_by_the_next_participants(tmp_path):
    plugin = StandIn({"segment": 10}, n_procs=4, memory_gb=8)
    _participants(tmp_path, 3, ("segment", "finish", "report"), {}).run(plugin=plugin)
    assert plugin.events[:2] == ["+p0_segment", "+p1_segment"]
    assert plugin.events.index("+p2_segment") > plugin.events.index("+p0_report")


def _at_once(events, stage):
    """Largest number of nodes of a stage that ran at the same time."""
    running = most = 0
    for event in events:
        if event.endswith(f"_{stage}"):
            running += 1 if event[0] == "+" else -1
            most = max(most, running)
    return most


@pytest.mark.slow
@pytest.mark.parametrize(("slots", "threads", "expected"), [(2, 2, 2), (1, 2, 1), (3, 1, 3), (2, 8, 1)])
def test_a_node_takes_one_gpu_whatever_its_threads(tmp_path, slots, threads, expected):
    """As many GPU stages run at once as there are slots and processors; the other stages do not wait."""
    plugin = StandIn({"segment": 8, "bias": 2}, n_procs=8, memory_gb=8, n_gpu_procs=slots)
    stages, used = ("bias", "segment", "report"), {"segment": threads, "bias": 1, "report": 1}
    _participants(tmp_path, 4, stages, used, gpu=("segment",)).run(plugin=plugin)
    assert _at_once(plugin.events, "segment") == expected
    assert len(plugin.events) == 2 * 4 * 3
    if threads == 2:
        assert _at_once(plugin.events, "bias") > slots


@pytest.mark.slow
def test_several_gpu_nodes_of_one_participant_share_the_slots(tmp_path):
    plugin = StandIn({"a": 5, "b": 5, "c": 5}, n_procs=8, memory_gb=8, n_gpu_procs=2)
    workflow = pe.Workflow("one", base_dir=str(tmp_path))
    workflow.config["execution"] = {"poll_sleep_duration": str(POLL), "crashdump_dir": str(tmp_path)}
    for name in "abc":
        node = pe.Node(Function(["x", "use_gpu"], ["out"], _pass), name=f"p0_{name}", mem_gb=0.1, n_procs=2)
        node.inputs.trait_set(x=1, use_gpu=True)
        workflow.add_nodes([node])
    workflow.run(plugin=plugin)
    assert plugin.events[:2] == ["+p0_a", "+p0_b"] and plugin.events.index("+p0_c") > 2


@pytest.mark.slow
def test_nodes_run_in_the_order_asked_for_and_failures_are_reported(tmp_path):
    ran, failed = [], []
    ranks = {"c": 0, "a": 1, "b": 2}
    plugin = plugins.LinearPlugin(
        {"status_callback": lambda node, event: ran.append(node.name) if event == "start" else None},
        on_failure=lambda node, fault: failed.append((node.name, fault.reason, fault.crash)),
        order=lambda node: ranks[node.name],
    )
    workflow = _workflow(tmp_path, a=False, b=True, c=False)
    with pytest.raises(RuntimeError, match="b is broken"):
        workflow.run(plugin=plugin)
    assert ran == ["c", "a", "b"]
    ((name, reason, crash),) = failed
    assert (name, reason) == ("b", "ValueError: b is broken")
    assert crash and tmp_path in type(tmp_path)(crash).parents


def test_dependencies_are_those_of_nipype():
    graph = nx.DiGraph([("a", "b"), ("a", "c"), ("c", "d")])
    theirs = DistributedPluginBase()
    theirs._generate_dependency_list(graph)
    ours = type("Ours", (SchedulerHooks, DistributedPluginBase), {"order": staticmethod(lambda node: 0)})()
    ours._generate_dependency_list(graph)
    assert set(vars(theirs)) == set(vars(ours))
    places = [theirs.procs.index(node) for node in ours.procs]
    np.testing.assert_array_equal(ours.depidx.toarray(), theirs.depidx.toarray()[np.ix_(places, places)])
    assert type(ours.depidx) is type(theirs.depidx)
    assert (ours.refidx.dtype, ours.proc_done.dtype) == (theirs.refidx.dtype, theirs.proc_done.dtype)


def test_the_last_nodes_always_run():
    assert nodes.Finish().always_run
    assert nodes.Report().always_run
    assert not Function([], ["out"], _work).always_run
