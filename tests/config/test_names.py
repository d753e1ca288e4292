"""The lookup by name."""

from __future__ import annotations

import pytest

import chainrule as cr
from chainrule.config.names import lookup

TABLE = {"huber": 1, "absolute_error": 2}


def test_names_and_what_others_call_them() -> None:
    assert lookup("loss", "huber", TABLE) == 1
    assert lookup("loss", "l1", TABLE, "loss") == 2
    assert lookup("loss", "AbsoluteError", TABLE, "loss") == 2


def test_what_is_none_is_refused() -> None:
    with pytest.raises(cr.errors.ArgumentError, match="Did you mean 'huber'"):
        lookup("loss", "hubber", TABLE)
    with pytest.raises(cr.errors.ArgumentTypeError, match="must be one of absolute"):
        lookup("loss", 3, TABLE)
    with pytest.raises(cr.errors.ArgumentTypeError, match="loss must be a name; got 3"):
        lookup("loss", 3, TABLE, wanted="a name")
