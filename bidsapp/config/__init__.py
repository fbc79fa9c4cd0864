"""Settings of a run, and the processors and memory it may use."""
