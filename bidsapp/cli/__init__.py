"""Command lines: ``brainseg-bids`` and the single-file tools of ``brainseg``."""
