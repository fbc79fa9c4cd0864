"""Parts that all workflows share: parameters, memory and the workflow of one node."""
