"""ReduceLROnPlateau: when it reduces the rate, and by how much."""

from __future__ import annotations

from typing import Any

import pytest

from chainrule.callbacks import (
    ReduceLROnPlateau,
)

from tests.support.listening import (
    Fake,
    assert_same,
    fit_model,
    new_model,
    play,
)


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
        ({"min_lr": 0.3}, [1, 1, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]),
        ({"min_lr": 2.0}, [1] * 8),
        ({"cooldown": 1}, [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
        ({"cooldown": 2}, [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]),
    ],
    ids=str,
)
def test_plateau(options: dict[str, Any], rates: list[float]) -> None:
    """A loss that never falls; in a cooldown nothing is counted."""
    callback = ReduceLROnPlateau(factor=0.5, patience=2, **options)
    assert play(callback, [1.0] * 8, Fake()) == rates


def test_plateau_waits_for_less() -> None:
    callback = ReduceLROnPlateau(factor=0.5, patience=2, min_delta=0.1)
    assert play(callback, [3, 2, 2, 1, 0.95, 0.5, 0.45, 0.42], Fake())[-2:] == [1, 0.5]
    callback = ReduceLROnPlateau("r2", factor=0.5, patience=1)
    assert play(callback, [1, 2, 3, 3], Fake(), name="r2") == [1, 1, 1, 0.5]


def test_plateau_of_a_model() -> None:
    """The reduced rate is that of the next epoch."""
    model, twin = new_model([1, 1, 1, 1]), new_model()
    plateau = ReduceLROnPlateau("scripted", factor=0.5, patience=1)
    fit_model(model, 3, plateau)
    assert model.learning_rate == pytest.approx(0.0025)
    for factor in (1.0, 1.0, 0.5):
        twin.learning_rate = 0.01 * factor
        fit_model(twin, 1)
    assert_same(model, twin)
