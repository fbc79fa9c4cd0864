"""Execution of a Nipype graph: plugins, worker processes, their logs and devices."""
