"""Report pages and tables of participants and of the study."""
