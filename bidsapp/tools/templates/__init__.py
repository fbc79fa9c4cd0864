"""The command ``brainseg templates``."""
