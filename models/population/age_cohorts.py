"""Cohorts of a template by age."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cohorts:
    """Cohorts of a template, each for an age range.

    Attributes
    ----------
    unit : str
        Unit of the ages, ``gestational weeks`` or ``months``.
    names : tuple of str
        Labels of the cohorts, youngest first.
    until : tuple of float
        Age at which each of them ends.
    """

    unit: str
    names: tuple[str, ...]
    until: tuple[float, ...]

    def of(self, age: float) -> str:
        """Return the cohort for an age; the last one includes all higher ages.

        Parameters
        ----------
        age : float
            Age in the cohorts' unit.

        Returns
        -------
        str
            Label of the cohort.

        Examples
        --------
        >>> Cohorts("months", ("1", "2"), (2, 5)).of(3.5)
        '2'
        """
        return next((n for n, end in zip(self.names, self.until, strict=True) if age < end), self.names[-1])
