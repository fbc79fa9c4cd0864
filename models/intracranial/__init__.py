"""The intracranial volume: everything inside the skull."""
