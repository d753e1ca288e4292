"""Whether more is better, as far as a name in the logs tells."""

from __future__ import annotations

__all__ = ["direction"]

_FALLING = ("error", "loss", "deviance")
_NEGATED = ("neg", "negative", "minus")


def direction(name: str) -> bool | None:
    """Say whether more is better, as far as a name in the logs tells.

    Returns
    -------
    bool or None
        True for accuracy and r2, False where the last word is error, loss or deviance
        (and the first is not neg); None where the name says nothing.
    """
    words = name.removeprefix("val_").split("_")
    if words == ["r2"] or words[-1] == "accuracy":
        return True if words[0] not in _NEGATED else None
    return False if words[-1] in _FALLING and words[0] not in _NEGATED else None
