"""One thin Nipype node a stage, with its resources."""
