"""Moving arrays: from any library to any backend, and to the host."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr
from chainrule.data import intake

A = np.arange(6.0).reshape(2, 3)


def test_arrays_move_to_every_backend(where: dict[str, Any]) -> None:
    engine = cr.backends.get(where["backend"], where.get("device"))
    with engine.scope("float64"):
        there = intake.move(A, engine, "float64")
        assert engine.owns(there)
        np.testing.assert_array_equal(intake.to_host(intake.move(there, engine)), A)
        back = intake.move(there, cr.backends.get("numpy"))
        assert isinstance(back, np.ndarray)
        np.testing.assert_array_equal(back, A)
        np.testing.assert_array_equal(intake.to_host(there), A)
        narrow = intake.move(there, engine, "float32", engine)
        assert str(narrow.dtype).endswith("float32")
    assert intake.to_host(A) is A
