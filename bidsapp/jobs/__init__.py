"""Jobs of batch systems: their scripts, what they ask for, and the state of a study."""
