"""Schedules: formulas, ends, and how the model keeps count of steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import schedules

X = np.random.default_rng(0).normal(size=(10, 3))
Y = X[:, :1]


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        (schedules.Constant(0.3), lambda _: 0.3),
        (
            schedules.ExponentialDecay(0.5, 10, 0.9),
            lambda s: 0.5 * 0.9 ** (s / 10),
        ),
        (schedules.StepDecay(0.5, 7), lambda s: 0.5 * 0.1 ** (s // 7)),
        (schedules.StepDecay(0.5, 3, 0.5), lambda s: 0.5 * 0.5 ** (s // 3)),
        (schedules.InverseTimeDecay(0.5, 4, 2.0), lambda s: 0.5 / (1 + s / 2)),
        (
            schedules.CosineDecay(0.5, 40),
            lambda s: 0.25 * (1 + math.cos(math.pi * min(s, 40) / 40)),
        ),
        (
            schedules.CosineDecay(0.5, 40, final=0.1),
            lambda s: 0.1 + 0.2 * (1 + math.cos(math.pi * min(s, 40) / 40)),
        ),
    ],
)
def test_formulas(schedule: Any, formula: Callable[[int], float]) -> None:
    steps = range(60)
    np.testing.assert_allclose(
        [schedule(s) for s in steps],
        [formula(s) for s in steps],
        rtol=1e-14,
        atol=1e-17,
    )
    assert all(type(schedule(s)) is float for s in steps)
    assert schedule is schedules.get(schedule)
    assert eval(repr(schedule), vars(schedules)) == schedule
    assert hash(schedule) == hash(eval(repr(schedule), vars(schedules)))


def test_warm_up_and_ends() -> None:
    schedule = schedules.CosineDecay(1.0, 20, 5, final=0.25)
    np.testing.assert_allclose([schedule(s) for s in range(5)], np.arange(1, 6) / 5)
    assert schedule(4) == schedule(5) == 1.0
    assert schedule(12) > schedule(13)
    assert schedule(20) == schedule(10**9) == 0.25


@pytest.mark.parametrize(
    "code",
    [
        "Constant(0.0)",
        "CosineDecay(0.1, 5, 5)",
        "CosineDecay(0.1, 0)",
        "StepDecay(0.1, 0)",
        "ExponentialDecay(0.1, 5, -1.0)",
        "InverseTimeDecay(0.1, 5, -1.0)",
    ],
)
def test_bad_numbers(code: str) -> None:
    with pytest.raises(cr.ArgumentError):
        eval(code, vars(schedules))


def _model(rate: Any, **more: Any) -> cr.Model:
    return cr.Model(
        cr.MLP((4, 1)), optimizer=cr.SGD(rate), dtype="float64", backend="numpy", **more
    )


def _fit(model: cr.Model, epochs: int = 1) -> cr.History:
    return model.fit(X, Y, epochs=epochs, batch_size=4, shuffle=False)


class Asked:
    """A schedule that remembers the steps it was asked for."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def __call__(self, step: int) -> float:
        self.steps.append(step)
        return 0.1 / (1 + step)


def test_any_callable_is_a_schedule() -> None:
    one, other = _model(Asked()), _model(schedules.InverseTimeDecay(0.1, 1))
    _fit(one, 3)
    _fit(other, 3)
    np.testing.assert_allclose(one.get_weights()[0], other.get_weights()[0], rtol=1e-12)


def test_steps_go_on_across_fits() -> None:
    schedule = Asked()
    twice, once = _model(schedule), _model(Asked())
    _fit(twice, 1)
    assert max(schedule.steps) == 2
    _fit(twice, 2)
    assert max(schedule.steps) == 8
    _fit(once, 3)
    np.testing.assert_array_equal(twice.get_weights()[0], once.get_weights()[0])
    assert twice.learning_rate == once.learning_rate == 0.1 / 10


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1e-3])
@pytest.mark.parametrize("built", [False, True])
def test_a_bad_rate_leaves_the_model_as_it_was(bad: float, built: bool) -> None:
    model = _model(lambda step: 0.1 if step < 2 else bad)
    if built:
        model.build(3)
        before = model.get_weights()
    with pytest.raises(cr.ArgumentError, match="learning_rate"):
        _fit(model)
    assert model.built == built
    assert not model.history
    if built:
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bad", [math.nan, -1e-3])
def test_a_rate_that_turns_bad_keeps_the_epochs_before(bad: float) -> None:
    model, good = _model(lambda s: 0.1 if s < 6 else bad), _model(0.1)
    with pytest.raises(cr.ArgumentError, match="learning_rate"):
        _fit(model, 5)
    _fit(good, 2)
    np.testing.assert_array_equal(model.get_weights()[0], good.get_weights()[0])


def test_a_rate_of_zero_changes_nothing() -> None:
    model = _model(lambda _: 0.0).build(3)
    before = model.get_weights()[0]
    _fit(model)
    np.testing.assert_array_equal(before, model.get_weights()[0])


def test_learning_rate_of_the_model() -> None:
    decay = schedules.ExponentialDecay(0.1, 3, 0.5)
    model, other = _model(decay), _model(decay.replace(learning_rate=0.05))
    assert model.learning_rate == 0.1
    model.learning_rate = 0.05  # rescales the whole schedule
    assert model.learning_rate == pytest.approx(0.05, rel=1e-15)
    for m in (model, other):
        _fit(m, 2)
        assert m.learning_rate == pytest.approx(0.05 / 4, rel=1e-14)
    np.testing.assert_allclose(model.get_weights()[0], other.get_weights()[0], 1e-12)
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(cr.ArgumentError):
            model.learning_rate = bad


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.ExponentialDecay(0.1, 1, 1e200),
        schedules.StepDecay(0.1, 1, 1e200),
    ],
    ids=repr,
)
def test_a_rate_too_large_for_a_float_is_refused(schedule: Any) -> None:
    """Before the epoch in which it comes."""
    assert schedule(2) == math.inf
    model = cr.Model(cr.Dense(1), optimizer=cr.SGD(schedule))
    with pytest.raises(cr.ArgumentError, match="must return finite numbers"):
        model.fit(X, Y, epochs=1, batch_size=1)
    assert not model.built


@pytest.mark.parametrize(
    "make",
    [
        lambda n: schedules.InverseTimeDecay(0.1, n),
        lambda n: schedules.ExponentialDecay(0.1, n, 0.5),
        lambda n: schedules.StepDecay(0.1, n),
        lambda n: schedules.CosineDecay(0.1, n),
        lambda n: schedules.CosineDecay(0.1, 10, n),
    ],
    ids=["inverse", "exponential", "step", "cosine", "warm-up"],
)
def test_steps_beyond_every_float_are_refused(make: Callable[[int], Any]) -> None:
    with pytest.raises(cr.ArgumentError, match=r"at most 9007199254740992"):
        make(10**400)


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize(
    "bad", ["0.1", 0.1 + 1j, None, np.ones(2), [0.1], True, np.complex64(1), object()]
)
def test_a_schedule_that_gives_no_number(bad: Any, built: bool) -> None:
    model = cr.Model(cr.Dense(1), optimizer=cr.Adam(lambda _: bad))
    if built:
        model.build(3)
    with pytest.raises(
        cr.ArgumentTypeError, match=r"must return a number; got .*step 0"
    ):
        model.fit(X, Y, epochs=1)
    assert model.built == built
    with pytest.raises(cr.ArgumentTypeError, match="must return a number"):
        _ = model.learning_rate


@pytest.mark.parametrize("number", [1, np.float32(0.5), np.array(0.5), np.int64(1)])
def test_a_schedule_may_give_any_number(number: Any) -> None:
    model = cr.Model(cr.Dense(1), optimizer=cr.SGD(lambda _: number))
    model.fit(X, Y, epochs=1)
    assert model.learning_rate == float(number)


@pytest.mark.parametrize("bad", [[[0.1, 0.2], [0.3]], [[0.1]], np.ones((2, 2))])
def test_ragged_rates(bad: Any) -> None:
    with pytest.raises(cr.ArgumentTypeError, match=r"learning_rate.* must be"):
        cr.Adam(bad)
