"""``brainseg hippocampus``: one pair of hippocampi, or a table of pairs."""
