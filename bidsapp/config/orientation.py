"""The value of ``--reorient``."""

from __future__ import annotations

from ...models.errors import UsageError


def codes(text: str) -> str:
    """Return a value of ``--reorient``: ``auto``, three axis codes in capitals, or empty for none.

    Parameters
    ----------
    text : str
        The value as the user writes it.

    Raises
    ------
    UsageError
        If it is no orientation.

    Examples
    --------
    >>> codes("lia"), codes("auto"), codes("")
    ('LIA', 'auto', '')
    """
    upper = str(text or "").upper()
    if upper in ("", "AUTO"):
        return upper.lower()
    if sorted(max("LPI".find(letter), "RAS".find(letter)) for letter in upper) != [0, 1, 2]:
        reason = f"--reorient {text} is no orientation of three axes"
        raise UsageError(None, reason, "Use auto, or one letter each of L or R, P or A, I or S, such as LIA")
    return upper
