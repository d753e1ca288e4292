"""Numbers that are none, and messages about values of any kind."""

from __future__ import annotations

import decimal
import fractions
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import initializers, losses
from chainrule.config import checks

from tests.support.words import X, Y, new_model, trained

HUGE = 10**5000

REAL: dict[str, Callable[[Any], Any]] = {
    "rate": cr.Adam,
    "Dropout": cr.Dropout,
    "momentum": lambda v: cr.SGD(1e-3, v),
    "weight_decay": lambda v: cr.Adam(weight_decay=v),
    "clip_norm": lambda v: cr.Adam(clip_norm=v),
    "slope": cr.LeakyReLU,
    "delta": losses.Huber,
    "q": losses.Quantile,
    "class_weight": lambda v: losses.CrossEntropy([1.0, v]),
    "constant": initializers.Constant,
    "split": lambda v: trained(validation_split=v),
    "epochs": lambda v: new_model().fit(X, Y, epochs=-abs(v)),
    "batch_size": lambda v: trained(batch_size=-abs(v)),
    "units": lambda v: cr.Dense(-abs(v)),
    "rates of members": lambda v: cr.Adam([1e-3, v]),
}


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), fractions.Fraction(10**400, 3), HUGE, -HUGE],
    ids=["large", "low", "fraction", "huge", "hugely low"],
)
@pytest.mark.parametrize("case", REAL)
def test_numbers_beyond_every_float(case: str, value: Any) -> None:
    with pytest.raises(cr.ChainruleError):
        REAL[case](value)


@pytest.mark.parametrize(
    "value",
    [
        decimal.Decimal(1),
        1 + 0j,
        "1",
        b"1",
        None,
        np.array(0.5),
        np.bool_(True),
        True,
        [0.5],
        np.datetime64("2020"),
    ],
    ids=repr,
)
def test_numbers_of_other_kinds(value: Any) -> None:
    for check in (
        lambda: checks.real("a", value, 0.0, 1.0),
        lambda: checks.integer("a", value, 0),
    ):
        with pytest.raises(cr.ArgumentTypeError, match=r"^a must be .*; got .*\(\w+\)"):
            check()


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), np.int8(1)])
def test_numbers_of_numpy(value: Any) -> None:
    assert checks.real("a", value, 0.0, 1.0) == float(value)


def test_pandas_missing_value_is_no_number() -> None:
    pandas = pytest.importorskip("pandas")
    for check in (checks.real, checks.integer):
        with pytest.raises(cr.ArgumentTypeError, match="NAType"):
            check("a", pandas.NA, 0)


class Unshown:
    def __repr__(self) -> str:
        msg = "never"
        raise RuntimeError(msg)


@pytest.mark.parametrize(
    "value", [Unshown(), HUGE, "x" * 10**6, [HUGE], X], ids=list("abcde")
)
def test_every_value_can_be_shown(value: Any) -> None:
    assert 0 < len(checks.show(value)) < 400


def test_a_function_becomes_a_loss_as_the_error_says() -> None:
    def function(z: Any, t: Any, weight: Any = None, *, xp: Any = None) -> Any:
        return cr.rules.squared_error(z, t, weight, xp=xp)

    with pytest.raises(cr.ArgumentTypeError, match=r"rule = staticmethod\(function\)"):
        new_model(loss=function)

    class Mine(losses.Loss):
        rule = staticmethod(function)

    one, two = (new_model(loss=loss, backend="numpy") for loss in (Mine(), "mse"))
    assert one.fit(X, Y, epochs=2) == two.fit(X, Y, epochs=2)


def test_what_cannot_be_shown_is_refused_all_the_same() -> None:
    odd = Unshown()
    for call in (
        lambda: cr.Adam(odd),  # type: ignore[arg-type]
        lambda: cr.Dense(odd),  # type: ignore[arg-type]
        lambda: cr.Dense(2, odd),  # type: ignore[arg-type]
        lambda: new_model(loss=odd),
        lambda: new_model(optimizer=odd),
        lambda: new_model(metrics=odd),
        lambda: new_model(dtype=odd),
        lambda: new_model(backend=odd),
        lambda: cr.Model(odd),  # type: ignore[arg-type]
        lambda: cr.MLP((2,), odd),  # type: ignore[arg-type]
        lambda: cr.MLP(odd),  # type: ignore[arg-type]
        lambda: trained(callbacks=odd),
        lambda: trained(resume=odd),
        lambda: trained(callbacks=np.array(3)),
        lambda: new_model(dtype=np.ones(2)),
    ):
        with pytest.raises(cr.ChainruleError):
            call()


def test_integers_that_nothing_can_hold() -> None:
    for call, match in (
        (
            lambda: new_model(seed=HUGE),
            r"^seed must be an integer below 2\*\*4096; got an",
        ),
        (
            lambda: cr.Dense(HUGE),
            r"^Dense: units must be an integer below 2\*\*63; got",
        ),
    ):
        with pytest.raises(cr.ArgumentError, match=match):
            call()
    assert str(2**300) in repr(new_model(seed=2**300))


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_yes_or_no(value: Any) -> None:
    found = checks.boolean("a", value)
    assert type(found) is bool
    assert found == bool(value)
    assert checks.boolean("a", None, none=True) is None
    no: tuple[Any, ...] = (0, 1, "no", "", None, np.array(True), [])
    for wrong in no:
        with pytest.raises(cr.ArgumentTypeError, match=r"^a must be True or False; "):
            checks.boolean("a", wrong)


def test_records_survive() -> None:
    for record in (cr.Dense(3), cr.AdamW(), losses.SquaredError(), cr.MLP((2, 1))):
        assert pickle.loads(pickle.dumps(record)) == record
