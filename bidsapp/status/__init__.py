"""Status of each participant-session: one file each, which every layer above reads."""
