"""Warm-up, one cycle, restarts and schedules in a row: against PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import schedules

from tests.support.libraries import need


def _torch(rate: float, make: Callable[[Any, Any], Any], steps: int) -> list[float]:
    """Return the rates of the first steps under a scheduler of PyTorch."""
    need("torch")
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], rate)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    found = []
    for step in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < steps:
            scheduler.step()
    return found


def _rates(schedule: Any, steps: int) -> list[float]:
    found = [schedule(step) for step in range(steps)]
    assert all(type(rate) is float for rate in found)
    return found


@pytest.mark.parametrize("steps", [2, 3, 10, 37, 100])
@pytest.mark.parametrize(
    ("fraction", "divide", "last"),
    [(0.3, 25.0, 1e4), (0.5, 10.0, 10.0), (0.05, 4.0, 1.0), (1.0, 25.0, 1e4)],
)
def test_one_cycle_is_pytorchs(
    steps: int, fraction: float, divide: float, last: float
) -> None:
    if fraction * steps == 1.0:
        pytest.skip("PyTorch divides by 0")
    want = _torch(
        0.1,
        lambda schedulers, optimizer: schedulers.OneCycleLR(
            optimizer,
            0.7,
            steps,
            pct_start=fraction,
            div_factor=divide,
            final_div_factor=last,
            cycle_momentum=False,
        ),
        steps,
    )
    schedule = schedules.OneCycle(0.7, steps, fraction, divide, last)
    np.testing.assert_allclose(_rates(schedule, steps), want, rtol=1e-13)


def test_one_cycle_at_its_ends() -> None:
    schedule = schedules.OneCycle(1.0, 11, 1 / 11)  # the highest rate is step 0's
    assert schedule(0) == 1.0
    assert schedule(10) == schedule(11) == schedule(10**6) == 1 / 25 / 1e4
    assert max(_rates(schedules.OneCycle(0.7, 100), 100)) == 0.7
    assert _rates(schedules.OneCycle(0.7, 100), 100).index(0.7) == 29


@pytest.mark.parametrize("multiplier", [1, 2, 3])
@pytest.mark.parametrize("first", [1, 5, 7])
@pytest.mark.parametrize("final", [0.0, 0.05])
def test_restarts_are_pytorchs(first: int, multiplier: int, final: float) -> None:
    want = _torch(
        0.4,
        lambda schedulers, optimizer: schedulers.CosineAnnealingWarmRestarts(
            optimizer, first, multiplier, final
        ),
        80,
    )
    schedule = schedules.CosineRestarts(0.4, first, multiplier, final=final)
    np.testing.assert_allclose(_rates(schedule, 80), want, rtol=1e-13, atol=1e-17)


def test_restarts_lower_and_lower() -> None:
    schedule = schedules.CosineRestarts(0.8, 4, 2, factor=0.5, final=0.15)
    assert [schedule(k) for k in (0, 4, 12, 28)] == [0.8, 0.4, 0.2, 0.15]
    assert schedule(8) == pytest.approx(0.15 + 0.25 / 2)
    assert schedule(2**53) == 0.15
    assert schedules.CosineRestarts(0.8, 3, factor=0.5)(7) == pytest.approx(0.15)


@pytest.mark.parametrize("power", [1.0, 0.5, 3.0])
def test_polynomial_decay_is_pytorchs(power: float) -> None:
    want = _torch(
        0.4,
        lambda schedulers, optimizer: schedulers.PolynomialLR(optimizer, 20, power),
        30,
    )
    schedule = schedules.PolynomialDecay(0.4, 20, power)
    np.testing.assert_allclose(_rates(schedule, 30), want, rtol=1e-12, atol=1e-17)
    above = schedules.PolynomialDecay(0.5, 20, power, final=0.1)
    np.testing.assert_allclose(_rates(above, 30), 0.1 + np.asarray(want), rtol=1e-12)


def test_linear_warm_up_is_pytorchs() -> None:
    want = _torch(
        0.4,
        lambda schedulers, optimizer: schedulers.LinearLR(optimizer, 0.25, 1.0, 8),
        13,
    )
    schedule = schedules.LinearWarmup(0.4, 8, start=0.1)
    np.testing.assert_allclose(_rates(schedule, 12), want[1:], rtol=1e-13)
    assert schedule(7) == schedule(8) == 0.4


def test_warm_up_and_then_a_schedule() -> None:
    """As `CosineDecay`'s own warm-up, which counts its steps among its own."""
    behind = schedules.CosineDecay(0.3, 20, final=0.01)
    whole = schedules.CosineDecay(0.3, 25, 5, final=0.01)
    schedule = schedules.LinearWarmup(behind, 5)
    np.testing.assert_allclose(_rates(schedule, 40), _rates(whole, 40), rtol=1e-14)
    curved = schedules.PolynomialWarmup(behind, 5, 2.0, start=0.1)
    want = [0.1 + 0.2 * (k / 5) ** 2 for k in range(1, 6)]
    np.testing.assert_allclose(_rates(curved, 5), want, rtol=1e-14)
    assert _rates(curved, 30)[5:] == _rates(behind, 25)
    straight = schedules.PolynomialWarmup(behind, 5, 1, 0.02)
    assert _rates(straight, 9) == _rates(schedules.LinearWarmup(behind, 5, 0.02), 9)


def test_schedules_in_a_row_are_pytorchs() -> None:
    def sequence(schedulers: Any, optimizer: Any) -> Any:
        parts = [
            schedulers.ConstantLR(optimizer, 0.25, 100),
            schedulers.ExponentialLR(optimizer, 0.9),
            schedulers.PolynomialLR(optimizer, 4),
        ]
        return schedulers.SequentialLR(optimizer, parts, [3, 9])

    want = _torch(0.4, sequence, 20)
    schedule = schedules.Join(
        (
            0.1,
            schedules.ExponentialDecay(0.4, 1, 0.9),
            schedules.PolynomialDecay(0.4, 4),
        ),
        (3, 9),
    )
    np.testing.assert_allclose(_rates(schedule, 20), want, rtol=1e-12, atol=1e-17)
    asked: list[int] = []

    def counting(step: int) -> float:
        asked.append(step)
        return 0.1

    own = schedules.Join([counting, 0.2], [np.int64(4)])
    assert [own(step) for step in range(6)] == [0.1] * 4 + [0.2] * 2
    assert asked == [0, 1, 2, 3]


EXAMPLES: list[Any] = [
    schedules.OneCycle(0.1, 12),
    schedules.CosineRestarts(0.1, 3, 2, 0.5, 0.01),
    schedules.PolynomialDecay(0.1, 5, 2.0),
    schedules.PolynomialWarmup(0.1, 5),
    schedules.LinearWarmup(schedules.CosineDecay(0.1, 9), 3, 0.01),
    schedules.Join((0.1, schedules.OneCycle(0.2, 9)), (3,)),
]


@pytest.mark.parametrize("schedule", EXAMPLES, ids=lambda s: type(s).__name__)
def test_records(schedule: Any) -> None:
    again = eval(repr(schedule), vars(schedules))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert again.replace() == schedule
    assert type(schedule).__module__ == "chainrule.schedules"
    assert schedule is schedules.get(schedule)


def test_a_schedule_for_each_member() -> None:
    """Each member is what it is alone, whatever mixture of schedules there is."""
    x = np.random.default_rng(0).normal(size=(12, 2))
    options: dict[str, Any] = {"dtype": "float64", "backend": "numpy"}
    rates: tuple[Any, ...] = (*EXAMPLES, 0.05)
    many = cr.Model(cr.Dense(1), optimizer=cr.SGD(rates), members=len(rates), **options)
    many.fit(x, x[:, :1], epochs=4, batch_size=5)
    for k, rate in enumerate(rates):
        # A lone model with the member's own beginning.
        start = cr.Model(
            cr.Dense(1), optimizer=cr.SGD(rates), members=len(rates), **options
        ).build(2)
        alone = start.member(k)
        assert alone.optimizer == cr.SGD(rate)
        alone.fit(x, x[:, :1], epochs=4, batch_size=5)
        np.testing.assert_allclose(
            alone.get_weights()[0], many.member(k).get_weights()[0], rtol=1e-12
        )


def test_a_model_with_schedules_in_schedules_comes_back(tmp_path: Any) -> None:
    warm = schedules.LinearWarmup(schedules.Join((0.1, EXAMPLES[0]), (3,)), 2)
    model = cr.Model(cr.Dense(1), optimizer=cr.Adam(warm)).build(2)
    model.save(tmp_path / "model")
    assert cr.load(tmp_path / "model").optimizer == model.optimizer
    own = cr.Model(cr.Dense(1), optimizer=cr.Adam(schedules.Join((abs,), ()))).build(2)
    with pytest.raises(cr.SerializationError, match="schedules/0 cannot be saved"):
        own.save(tmp_path / "other")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("LinearWarmup(0.1, 0)", r"^steps must be an integer of at least 1; got 0"),
        ("LinearWarmup(0.0, 5)", r"^learning_rate must be a finite number above 0"),
        ("LinearWarmup('cosine', 5)", r"^learning_rate must be a number above 0 or"),
        ("LinearWarmup(0.1, 5, -1.0)", r"^start must be .* at least 0; got -1"),
        ("PolynomialWarmup(0.1, 5, 0.0)", r"^power must be .* above 0; got 0"),
        ("PolynomialDecay(0.1, 5, -1.0)", r"^power must be .* above 0; got -1"),
        ("PolynomialDecay(0.1, 5, final=-1.0)", r"^final must be"),
        ("OneCycle(0.0, 5)", r"^max_learning_rate must be .* above 0"),
        ("OneCycle(0.1, 1)", r"^steps must be an integer of at least 2; got 1"),
        ("OneCycle(0.1, 5, 1.5)", r"^warmup_fraction must be a number in \[0, 1\]"),
        ("OneCycle(0.1, 5, div_factor=0.5)", r"^div_factor must be .* at least 1"),
        ("OneCycle(0.1, 5, final_div_factor=0.5)", r"^final_div_factor must be"),
        ("CosineRestarts(0.1, 0)", r"^first_steps must be"),
        ("CosineRestarts(0.1, 5, 0)", r"^multiplier must be"),
        ("CosineRestarts(0.1, 5, factor=1.5)", r"^factor must be"),
        ("CosineRestarts(0.1, 5, final=0.2)", r"^final must be at most learning_rate"),
        ("Join((0.1, 0.2), ())", r"one step for each .* got 0 for 2 schedules\. Name"),
        ("Join((), ())", r"one step for each .* got 0 for 0"),
        ("Join((0.1, 0.2, 0.3), (5, 5))", r"must rise; got \(5, 5\)\. Give"),
        ("Join((0.1, 0.2), (0,))", r"^Join: boundaries\[0\] must be an integer of at"),
        ("Join((0.1, 0.0), (5,))", r"^Join: schedules\[1\] must be a finite number"),
        ("Join(0.1, (5,))", r"^Join: schedules must be a sequence such as"),
        ("Join((0.1, 0.2), 5)", r"^Join: boundaries must be a sequence such as"),
    ],
)
def test_bad_arguments(code: str, words: str) -> None:
    with pytest.raises((cr.ArgumentError, cr.ArgumentTypeError), match=words):
        eval(code, vars(schedules))


@pytest.mark.parametrize("bad", ["0.1", None, True, np.ones(2)])
def test_a_schedule_inside_that_gives_no_number(bad: Any) -> None:
    for outer in (
        schedules.LinearWarmup(lambda _: bad, 3),
        schedules.Join((lambda _: bad,), ()),
    ):
        with pytest.raises(cr.ArgumentTypeError, match="must return a number; got"):
            outer(0)


def test_a_bad_number_inside_is_refused_before_the_epoch() -> None:
    schedule = schedules.Join((0.1, lambda _: math.nan), (2,))
    model = cr.Model(cr.Dense(1), optimizer=cr.SGD(schedule))
    with pytest.raises(cr.ArgumentError, match="must return finite numbers"):
        model.fit(np.ones((4, 2)), np.ones(4), epochs=1, batch_size=1)
    assert not model.built
