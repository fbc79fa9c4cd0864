"""The stages as Nipype graphs, one file a stage."""
