"""The checker: what it rejects."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import rules
from chainrule.errors import (
    ChainruleError,
    GradientError,
)
from chainrule.testing import cases, check_gradients

from tests.support.checker import RNG, B, W, X
from tests.support.libraries import here

SQUARE, THREE = RNG.normal(size=(3, 3)), RNG.normal(size=3)


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_rejects_what_compiles_to_something_else() -> None:
    import jax

    def rule(x: Any, *, xp: Any = None) -> Any:
        factor = 2.0 if isinstance(x, jax.core.Tracer) else 1.0
        return factor * x, lambda dz: (dz,)

    with pytest.raises(GradientError, match="the compiled value is another one"):
        check_gradients(rule, X, backend="jax", skip=("leads", "dtype"))


# Wrong rules
# -----------------------------------------------------------------------------


def wrong_dense(change: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    """Return dense with another pullback: change(dy, x, w, b, right gradients)."""

    def rule(x: Any, w: Any, b: Any, *, xp: Any = None) -> Any:
        y, right = rules.dense(x, w, b, xp=xp)

        def pullback(dy: Any) -> Any:
            return change(dy, x, w, b, right(dy))

        return y, pullback

    return rule


def test_rejects_a_thousandth_too_much() -> None:
    rule = wrong_dense(lambda dy, x, w, b, g: (g[0], g[1] * 1.001, g[2]))
    with pytest.raises(
        GradientError,
        match=r"the gradient of argument 1 \(w\) disagrees with central differences\. "
        r"Worst entry: w\[\d, \d\], pullback -?\d.*, differences -?\d",
    ) as caught:
        check_gradients(rule, X, W, B)
    error = caught.value
    assert isinstance(error, AssertionError)
    assert isinstance(error, ChainruleError)
    assert (error.check, error.argument) == ("differences", "w")
    assert error.got is not None
    assert error.wanted is not None
    assert error.got / error.wanted == pytest.approx(1.001, rel=1e-6)


@pytest.mark.parametrize("name", cases.RULES)
@pytest.mark.parametrize("factor", [1.001, 0.0, -1.0])
def test_rejects_every_rule_times_a_factor(name: str, factor: float) -> None:
    case = cases.RULES[name]

    def rule(*arrays: Any, xp: Any = None) -> Any:
        z, pullback = case.rule(*arrays, **case.options, xp=xp)
        return z, lambda dz: tuple(factor * g for g in pullback(dz))

    data = range(len(case.arguments), len(case.inputs))
    with pytest.raises(GradientError, match="disagrees with central differences"):
        check_gradients(rule, *case.inputs, data=data)


def test_names_the_worst_entry() -> None:
    def change(dy: Any, x: Any, w: Any, b: Any, g: Any) -> Any:
        bump = np.zeros(w.shape)
        bump[..., 2, 1] = 0.5
        return g[0], g[1] + bump, g[2]

    text = r"Worst entry: w\[2, 1\]"
    with pytest.raises(GradientError, match=text) as caught:
        check_gradients(wrong_dense(change), X, W, B)
    error = caught.value
    assert error.index == (2, 1)
    assert error.got is not None
    assert error.wanted is not None
    assert error.got - error.wanted == pytest.approx(0.5, abs=1e-7)


def test_names_the_worst_of_a_large_argument() -> None:
    w = RNG.normal(size=(60, 50))

    def change(dy: Any, x: Any, w: Any, b: Any, g: Any) -> Any:
        bump = np.zeros(w.shape)
        bump[..., 2, 1] = 50.0
        return g[0], g[1] + bump, g[2]

    text = r"Worst entry of the \d+ looked at: w\[2, 1\]"
    with pytest.raises(GradientError, match=text):
        check_gradients(wrong_dense(change), RNG.normal(size=(2, 50)), w, np.ones(60))


def test_rejects_a_transposed_gradient_of_a_square_matrix() -> None:
    rule = wrong_dense(lambda dy, x, w, b, g: (g[0], g[1].mT, g[2]))
    with pytest.raises(GradientError, match=r"argument 1 \(w\) disagrees"):
        check_gradients(rule, X, SQUARE, THREE)
    with pytest.raises(
        GradientError, match=r"argument 1 \(w\) must have the argument's"
    ):
        check_gradients(rule, X, W, B)


@pytest.mark.parametrize(
    ("db", "text"),
    [
        (lambda dy: dy, r"argument 2 \(b\) must have the argument's shape \(4,\)"),
        (lambda dy: dy[..., 0, :], r"argument 2 \(b\) disagrees"),
        (lambda dy: dy.mean(axis=-2), r"argument 2 \(b\) disagrees"),
    ],
    ids=["none", "first row", "mean"],
)
def test_rejects_a_missing_sum_over_rows(db: Any, text: str) -> None:
    rule = wrong_dense(lambda dy, x, w, b, g: (g[0], g[1], db(dy)))
    with pytest.raises(GradientError, match=text):
        check_gradients(rule, X, W, B)


@pytest.mark.parametrize(
    "db",
    [
        lambda dy: dy.sum(axis=tuple(range(dy.ndim - 1))),
        lambda dy: dy.sum(axis=-2).sum(axis=0) if dy.ndim > 2 else dy.sum(axis=-2),
    ],
    ids=["all", "the first"],
)
def test_rejects_a_summed_leading_axis(db: Any) -> None:
    rule = wrong_dense(lambda dy, x, w, b, g: (g[0], g[1], db(dy)))
    text = r"argument 2 \(b\) must have the shape .* Leading axes are never summed"
    with pytest.raises(GradientError, match=text) as caught:
        check_gradients(rule, X, W, B)
    assert caught.value.check == "leads"
    assert check_gradients(rule, X, W, B, skip="leads").checks["leads"] == "skipped"


def test_rejects_members_that_are_mixed_up() -> None:
    def change(dy: Any, x: Any, w: Any, b: Any, g: Any) -> Any:
        return g[0], g[1][::-1] if g[1].ndim > 2 else g[1], g[2]

    with pytest.raises(GradientError, match=r"\(w\) is not what a loop over"):
        check_gradients(wrong_dense(change), X, W, B)


def test_rejects_a_value_that_mixes_members() -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        factor = x.shape[0]
        return x * factor, lambda dx: (dx * factor,)

    with pytest.raises(GradientError, match="the value is not the loop's"):
        check_gradients(rule, X)


def test_rejects_what_breaks_on_a_leading_axis() -> None:
    def rule(z: Any, t: Any, *, xp: Any = None) -> Any:
        d = z - t
        return np.mean(d * d), lambda dvalue=1.0: (2.0 * d / d.size * dvalue,)

    with pytest.raises(GradientError, match="fails with an axis on the cotangent"):
        check_gradients(rule, X, 0.5 * X)
    assert check_gradients(rule, X, 0.5 * X, skip="leads").data == ("t",)


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize(
    "db",
    [lambda dy: dy[..., 0, :], lambda dy: np.mean(dy, axis=-2)],
    ids=["first row", "mean"],
)
def test_rejects_what_is_right_only_for_one_row(rows: int, db: Any) -> None:
    rule = wrong_dense(lambda dy, x, w, b, g: (g[0], g[1], db(dy)))
    with pytest.raises(GradientError, match=r"argument 2 \(b\) disagrees"):
        check_gradients(rule, X[:rows], W, B)


def test_rejects_a_rule_that_writes_into_its_input() -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        x *= 2.0
        return x, lambda dz: (2.0 * dz,)

    with pytest.raises(GradientError, match=r"writes into argument 0 \(x\)") as caught:
        check_gradients(rule, X)
    assert caught.value.check == "purity"


def test_rejects_a_pullback_that_writes_into_its_input() -> None:
    def change(dy: Any, x: Any, w: Any, b: Any, g: Any) -> Any:
        with contextlib.suppress(ValueError):  # hides that the array is read-only
            w += 1.0
        return g

    with pytest.raises(GradientError, match=r"writes into argument 1 \(w\)"):
        check_gradients(wrong_dense(change), X, W, B)


def test_rejects_a_pullback_that_writes_into_its_cotangent() -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        def pullback(dz: Any) -> Any:
            dz *= 2.0
            return (dz,)

        return 2.0 * x, pullback

    backend: Any
    for backend in ["numpy", *[name for name in ("torch",) if here(name)]]:
        with pytest.raises(
            GradientError, match="pullback writes into its cot"
        ) as caught:
            check_gradients(rule, X, backend=backend)
        assert caught.value.check == "purity"


def test_rejects_a_pullback_that_writes_into_the_value() -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        z = np.tanh(x)

        def pullback(dz: Any) -> Any:
            slope = dz * (1.0 - z * z)
            z[...] = 0.0
            return (slope,)

        return z, pullback

    with pytest.raises(GradientError, match="writes into the value"):
        check_gradients(rule, X)


def test_rejects_state_between_calls() -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        total = np.zeros(())

        def pullback(dz: Any) -> Any:
            nonlocal total
            total = total + dz
            return (total,)

        return x + 0.0, pullback

    with pytest.raises(GradientError, match=r"\(x\) is not the same after a second"):
        check_gradients(rule, X)


def test_rejects_a_buffer_that_is_used_again() -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        buffer = np.empty_like(x)

        def pullback(dz: Any) -> Any:
            if dz.shape != buffer.shape:
                return (2.0 * dz,)
            return (np.multiply(dz, 2.0, out=buffer),)

        return 2.0 * x, pullback

    with pytest.raises(GradientError, match="is not the same after another call"):
        check_gradients(rule, X)


def test_rejects_softmax_without_its_jacobian() -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        return rules.softmax(x, xp=xp)[0], lambda dz: (dz,)

    with pytest.raises(GradientError, match=r"\(x\) disagrees"):
        check_gradients(rule, X)


def test_rejects_a_function_of_zeros() -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        return 0.0 * x, lambda dz: (0.0 * dz,)

    with pytest.raises(GradientError, match=r"of x is 0, so nothing was tested"):
        check_gradients(rule, X)


@pytest.mark.parametrize(
    ("change", "text", "check"),
    [
        (lambda g: g.astype(np.float32), "dtype float64; got float32", "dtype"),
        (lambda g: g[None], r"shape \(5, 3\); got \(1, 5, 3\)", "shape"),
        (lambda g: g.T, r"shape \(5, 3\); got \(3, 5\)", "shape"),
        (lambda g: g * np.nan, r"is not finite: nan at x\[0, 0\]", "finite"),
        (lambda g: None, "is None though", "shape"),
        (lambda g: 1.0, "is a float, not an array", "shape"),
    ],
    ids=["dtype", "axis", "transposed", "nan", "none", "float"],
)
def test_rejects_a_wrong_form(change: Any, text: str, check: str) -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        return 2.0 * x, lambda dz: (change(2.0 * dz),)

    with pytest.raises(GradientError, match=text) as caught:
        check_gradients(rule, X)
    assert (caught.value.check, caught.value.argument) == (check, "x")


def test_rejects_what_widens_float32() -> None:
    def rule(x: Any, *, xp: Any = None) -> Any:
        two = np.full(x.shape[-1], 2.0)
        return 2.0 * x, lambda dz: (dz * two,)

    with pytest.raises(GradientError, match="dtype float32; got float64"):
        check_gradients(rule, X)


def test_rejects_what_ignores_wrt() -> None:
    def rule(x: Any, w: Any, *, xp: Any = None) -> Any:
        y, right = rules.dense(x, w, xp=xp)
        return y, lambda dy, wrt=(0, 1): right(dy)

    text = "must be None where wrt asks for nothing: wrt is ignored"
    with pytest.raises(GradientError, match=text) as caught:
        check_gradients(rule, X, W)
    assert caught.value.check == "wrt"


def test_rejects_another_gradient_under_wrt() -> None:
    def rule(x: Any, w: Any, *, xp: Any = None) -> Any:
        y, right = rules.dense(x, w, xp=xp)

        def pullback(dy: Any, wrt: Any = (0, 1)) -> Any:
            dx, dw = right(dy, wrt)
            return (2.0 * dx if wrt == (0,) else dx), dw

        return y, pullback

    with pytest.raises(GradientError, match="is another one where wrt asks for x"):
        check_gradients(rule, X, W)


def test_rejects_too_few_gradients() -> None:
    def rule(x: Any, w: Any, b: Any, *, xp: Any = None) -> Any:
        y, right = rules.dense(x, w, b, xp=xp)
        return y, lambda dy: right(dy)[:2]

    text = r"returned 2 gradients for the 3 arguments.*\(b\).*data="
    with pytest.raises(GradientError, match=text):
        check_gradients(rule, X, W, B)
    assert check_gradients(rule, X, W, B, data="b").data == ("b",)


def test_rejects_what_is_no_tuple() -> None:
    with pytest.raises(GradientError, match="a pullback returns a tuple"):
        check_gradients(lambda x: (2.0 * x, lambda dz: 2.0 * dz), X)
    with pytest.raises(GradientError, match=r"a rule returns \(value, pullback\)"):
        check_gradients(lambda x: 2.0 * x, X)


class Scale(cr.Layer):
    """z = a x, with a wrong gradient where it is told so."""

    wrong: str

    def __init__(self, wrong: str = "", *, trainable: bool = True) -> None:
        self._configure(trainable, wrong=wrong)

    @property
    def parameters(self) -> Any:
        one = cr.initializers.Constant(1.0)
        return (cr.layers.Variable("a", self.input_shape or (), one),)

    def forward(self, params: Any, x: Any, context: Any) -> Any:
        (a,) = params
        xp, wrong = context.xp, self.wrong

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> Any:
            da = None
            if dp or wrong == "dp":
                da = (xp.sum(dz * x, axis=-2),)
                if wrong == "da":
                    da = (da[0] * 1.001,)
            return (a[..., None, :] * dz if dx else None), da

        return a[..., None, :] * x, pullback


def test_rejects_a_wrong_layer_and_names_the_parameter() -> None:
    assert check_gradients(Scale(), X).difference < 1e-8
    network = cr.Sequential(cr.Dense(4), cr.Residual(Scale("da")), cr.Dense(2))
    with pytest.raises(
        GradientError, match=r"parameter '1\.layer\.a' disagrees"
    ) as caught:
        check_gradients(network, X)
    assert caught.value.argument == "1.layer.a"
    with pytest.raises(GradientError, match="parameter 'a' must be None"):
        check_gradients(Scale("dp"), X)
