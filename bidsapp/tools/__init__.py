"""What the commands of ``brainseg`` do; the command line resolves these functions when it needs them."""
