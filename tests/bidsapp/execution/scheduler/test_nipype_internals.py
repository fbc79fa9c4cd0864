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
from brainseg.bidsapp.execution.scheduler.nipype_internals import SchedulerHooks

HOOKS = [name for name in vars(SchedulerHooks) | {"_report_crash": None} if name.startswith("_")]
HOOKS = [name for name in HOOKS if not name.startswith("__")]


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
