"""Optimizers by hand: updates, scalars, clipping, decay, records."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends import Backend
from chainrule.backends.numpy.engine import BLOCK
from chainrule.network import Network

from tests.support.libraries import need
from tests.support.optimizers import (
    DEFAULTS,
    GRADIENTS,
    NETWORK,
    RATES,
    X,
    Y,
    each_scalars,
)

# One step at a time, in the words of torch.optim's and optax's documentation.


def _by_hand(cls: Any, o: dict[str, Any]) -> Any:
    theta = np.ones(7)
    decays = np.arange(7) % 2 == 0
    m = v = np.zeros(7)
    product = 1.0
    decay = o.get("weight_decay", 0.0)
    decoupled = cls in (cr.AdamW, cr.Lion)
    b1, b2 = o.get("beta_1", 0.9), o.get("beta_2", 0.99 if cls is cr.Lion else 0.999)
    eps = o.get("epsilon", 1e-10 if cls is cr.Adagrad else 1e-8)
    for t, (lr, g) in enumerate(zip(RATES, GRADIENTS, strict=True), 1):
        if decoupled:
            shrunk = theta - lr * decay * theta * decays
        else:
            g, shrunk = g + decay * theta * decays, theta  # noqa: PLW2901
        if cls is cr.SGD:
            mu = o.get("momentum", 0.0)
            m = mu * m + g
            step = g + mu * m if o.get("nesterov") else m
        elif cls in (cr.Adam, cr.AdamW):
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
            step = m_hat / (v_hat**0.5 + eps)
        elif cls is cr.RMSprop:
            rho = o.get("rho", 0.99)
            v = rho * v + (1 - rho) * g**2
            step = g / (v**0.5 + eps)
        elif cls is cr.Adagrad:
            v = v + g**2
            step = g / (v**0.5 + eps)
        elif cls is cr.NAdam:
            psi = o.get("momentum_decay", 4e-3)
            mu, after = (b1 * (1 - 0.5 * 0.96 ** (k * psi)) for k in (t, t + 1))
            product *= mu
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            m_hat = after * m / (1 - product * after) + (1 - mu) * g / (1 - product)
            step = m_hat / ((v / (1 - b2**t)) ** 0.5 + eps)
        else:
            step = np.sign(b1 * m + (1 - b1) * g)
            m = b2 * m + (1 - b2) * g
        theta = shrunk - lr * step
    return theta


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (cr.SGD, {}),
        (cr.SGD, {"weight_decay": 0.3}),
        (cr.SGD, {"momentum": 0.7, "weight_decay": 0.3}),
        (cr.SGD, {"momentum": 0.7, "nesterov": True}),
        (cr.Adam, {}),
        (cr.Adam, {"beta_1": 0.0, "beta_2": 0.0, "epsilon": 0.1}),
        (cr.Adam, {"beta_1": 0.6, "beta_2": 0.9, "epsilon": 1.0, "weight_decay": 0.3}),
        (cr.AdamW, {"weight_decay": 0.3}),
        (cr.RMSprop, {}),
        (cr.RMSprop, {"rho": 0.8, "epsilon": 0.1, "weight_decay": 0.3}),
        (cr.Adagrad, {}),
        (cr.Adagrad, {"epsilon": 0.1, "weight_decay": 0.3}),
        (cr.NAdam, {}),
        (cr.NAdam, {"beta_1": 0.6, "beta_2": 0.9, "epsilon": 0.1, "weight_decay": 0.3}),
        (cr.NAdam, {"momentum_decay": 0.5}),
        (cr.Lion, {}),
        (cr.Lion, {"beta_1": 0.6, "beta_2": 0.8, "weight_decay": 0.3}),
    ],
)
def test_by_hand(cls: Any, options: dict[str, Any]) -> None:
    optimizer = cls(RATES.__getitem__, **options)
    decay = (np.arange(7) % 2 == 0).astype(float) if optimizer.weight_decay else None
    theta = np.ones(7)
    slots = [np.zeros(7) for _ in optimizer.slots]
    # In two parts, as two epochs would: each step knows its number.
    for first, steps in ((0, 25), (25, 35)):
        rates = optimizer.rates(first, steps)
        columns = optimizer.scalars(first, rates, 0.0)
        for i in range(steps):
            row = {k: float(np.broadcast_to(v, steps)[i]) for k, v in columns.items()}
            g = GRADIENTS[first + i]
            theta, *slots = optimizer.update(
                np, SimpleNamespace(**row), g, decay, theta, *slots
            )
    np.testing.assert_allclose(theta, _by_hand(cls, options), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cls", DEFAULTS)
def test_defaults(cls: Any) -> None:
    """Those of torch.optim, and optax's for Lion (whose decay is 0 here)."""
    wanted = {
        "weight_decay": 0.0,
        "clip_norm": None,
        "clip_value": None,
        **DEFAULTS[cls],
    }
    assert cls()._values() == wanted


def test_rates_and_scalars() -> None:
    optimizer = cr.AdamW(
        lambda step: 0.5 + step, weight_decay=0.1, clip_norm=2.0, clip_value=3.0
    )
    np.testing.assert_array_equal(optimizer.rates(3, 2), [3.5, 4.5])
    np.testing.assert_array_equal(optimizer.rates(3, 2, 0.5), [1.75, 2.25])
    scalars = optimizer.scalars(3, np.array([0.5, 0.25]), 0.5)
    np.testing.assert_allclose(scalars["shrink"], [0.05, 0.025])
    assert (scalars["decay"], scalars["clip_norm"]) == (0.1, 2.0)
    assert scalars["clip_value"] == 3.0
    plain = cr.AdamW(0.1, weight_decay=0.0).scalars(0, np.ones(1), 0.0)
    assert not plain.keys() & {"decay", "shrink", "clip_norm", "clip_value"}


def test_an_epsilon_of_0_divides_nothing_by_0() -> None:
    optimizers: list[Any] = [cr.RMSprop, cr.Adagrad, cr.NAdam, cr.Adam]
    optimizers.append(lambda **k: cr.Adam(epsilon_hat=True, **k))
    for make in optimizers:
        scalars = make(epsilon=0.0).scalars(0, np.ones(1), 1.0)
        assert np.all(scalars["e"] == 2.0**-126)


def test_rates_of_members_and_factors() -> None:
    """A factor is for all, or one for each member; so is a rate."""
    factor = np.array([2.0, 4.0])
    rows = np.array([[1.0], [2.0]]) * np.ones(3)
    for rate in (0.5, lambda _: 0.5):
        np.testing.assert_array_equal(cr.SGD(rate).rates(0, 3, 3.0), [1.5] * 3)
        np.testing.assert_array_equal(cr.SGD(rate).rates(0, 3, factor), rows)
    given: Any
    for given in ((0.5, 0.25), [0.5, 0.25], np.array([0.5, 0.25])):
        optimizer = cr.SGD(given)
        assert optimizer.learning_rate == (0.5, 0.25)
        assert optimizer.members == 2
        np.testing.assert_array_equal(optimizer.rates(0, 3, factor), np.ones((2, 3)))
        np.testing.assert_array_equal(optimizer.rates(0, 3, 2.0)[:, 0], [1.0, 0.5])
    for given in (np.array(0.5), np.full((1, 1), 0.5), array("d", [0.5])):
        with pytest.raises(cr.ArgumentTypeError, match=r"learning_rate must .*array\)"):
            cr.SGD(given)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("limit", [0.3, 1e3])
def test_clipping_by_hand(limit: float, members: int | None) -> None:
    """One step of plain descent: each member's gradient has a norm of its own."""
    moved = []
    for clip_norm in (None, limit):
        optimizer = cr.SGD(1.0, clip_norm=clip_norm)
        model = cr.Model(
            NETWORK,
            optimizer=optimizer,
            dtype="float64",
            backend="numpy",
            members=members,
        ).build(3)
        before = model.theta
        model.fit(X, Y, epochs=1, batch_size=len(X), shuffle=False)
        moved.append(before - model.theta)
    gradient, clipped = moved
    norm = np.linalg.norm(gradient, axis=-1, keepdims=True)
    assert (norm > 0.3).all()
    want = gradient * np.minimum(1.0, limit / norm)
    np.testing.assert_allclose(clipped, want, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("limit", [None, 0.03])
def test_clipping_by_value_by_hand(limit: float | None, members: int | None) -> None:
    """One step of plain descent: the entries first, and then their norm."""
    moved = []
    for clipping in ({}, {"clip_value": 0.02, "clip_norm": limit}):
        model = cr.Model(
            NETWORK,
            optimizer=cr.SGD(1.0, **clipping),  # type: ignore[arg-type]
            dtype="float64",
            backend="numpy",
            members=members,
        ).build(3)
        before = model.theta
        model.fit(X, Y, epochs=1, batch_size=len(X), shuffle=False)
        moved.append(before - model.theta)
    gradient, clipped = moved
    want = np.clip(gradient, -0.02, 0.02)
    assert (np.abs(gradient) > 0.02).any(axis=-1).all()
    assert (np.abs(gradient) < 0.02).any(axis=-1).all()
    if limit is not None:
        norm = np.linalg.norm(want, axis=-1, keepdims=True)
        assert (norm > limit).all()
        want = want * (limit / norm)
    np.testing.assert_allclose(clipped, want, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_a_schedule_has_to_give_rates(bad: float) -> None:
    rates = [1.0, bad]
    with pytest.raises(
        cr.ArgumentError, match=r"must return finite.*in steps 0 to 1\.$"
    ):
        cr.SGD(rates.__getitem__).rates(0, 2)
    np.testing.assert_array_equal(cr.SGD(lambda _: 0.0).rates(0, 2), [0.0, 0.0])


def test_a_velocity_that_carries_its_rate() -> None:
    optimizer = cr.SGD(0.1, 0.8, rate_in_velocity=True)
    d = optimizer.scalars(5, np.array([0.5, 0.25, 0.0, 2.0]), 0.25)["d"]
    # After a rate of 0 there is nothing to carry; at 0 there is nothing to divide by.
    np.testing.assert_allclose(d, [0.4, 1.6, 0.8, 0.0])


ALL = {
    "sgd": cr.SGD(0.05),
    "nesterov": cr.SGD(0.05, 0.9, nesterov=True),
    "adam": cr.Adam(0.01),
    "adamw": cr.AdamW(0.01, weight_decay=0.0),
    "rmsprop": cr.RMSprop(0.01),
    "adagrad": cr.Adagrad(0.01),
    "nadam": cr.NAdam(0.01),
    "lion": cr.Lion(0.01),
}

SMALL = cr.Sequential(cr.Dense(5), cr.Tanh(), cr.Dense(4))

FROZEN = cr.Sequential(
    cr.Dense(150), cr.Tanh(), cr.Dense(130, trainable=False), cr.Tanh(), cr.Dense(160)
)

CASES = {"small": SMALL, "blocks": cr.MLP((150, 120)), "frozen": FROZEN}


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ALL)
def test_numpy_updates_in_place_as_the_plain_engine(
    name: str, case: str, decay: float
) -> None:
    network = Network(CASES[case], (120,))
    assert (network.size > BLOCK) == (case != "small")
    optimizer = ALL[name].replace(weight_decay=decay)
    rng = np.random.default_rng(3)
    theta = rng.normal(size=network.size)
    pieces = [
        rng.normal(size=e.shape) if e.trainable else None for e in network.entries
    ]
    given = (theta.copy(), *[np.zeros_like(theta) for _ in optimizer.slots])
    plain = tuple(a.copy() for a in given)
    for s in each_scalars(optimizer, 2):

        def update(g: Any, decay: Any, *arrays: Any, s: Any = s) -> Any:
            return optimizer.update(np, s, g, decay, *arrays)

        got = cr.backends.get("numpy").elementwise(
            update, given, pieces, network.layout, bool(decay)
        )
        assert all(a is b for a, b in zip(got, given, strict=True))
        plain = Backend(np).elementwise(
            update, plain, pieces, network.layout, bool(decay)
        )
    for a, b in zip(given, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-16)
    for e in network.entries:
        same = np.array_equal(given[0][e.start : e.stop], theta[e.start : e.stop])
        assert same != e.trainable


@pytest.mark.parametrize("name", ALL)
def test_decay_spares_biases(name: str) -> None:
    network = Network(SMALL, (3,))
    optimizer = ALL[name].replace(weight_decay=0.1)
    theta = np.full(network.size, 2.0)
    arrays = (theta, *[np.zeros_like(theta) for _ in optimizer.slots])
    (s,) = each_scalars(optimizer, 1)
    cr.backends.get("numpy").elementwise(
        lambda g, decay, *a: optimizer.update(np, s, g, decay, *a),
        arrays,
        [np.zeros(e.shape) for e in network.entries],
        network.layout,
        True,
    )
    for e in network.entries:
        part = theta[e.start : e.stop]
        assert (part < 2.0).all() if e.decay else (part == 2.0).all()


@pytest.mark.parametrize("name", ALL)
def test_kind_has_no_numbers(name: str) -> None:
    one = ALL[name].replace(clip_norm=1.0, clip_value=0.5, weight_decay=0.1)
    numbers: dict[str, Any] = {"clip_norm": 3.0, "clip_value": 2.0, "weight_decay": 0.7}
    other = one.replace(learning_rate=lambda _: 0.5, **numbers)
    assert one != other
    assert one.structure() == other.structure()
    assert hash(one.structure()) == hash(other.structure())
    assert one.structure().slots == one.slots
    assert one.structure() != one.replace(clip_norm=None).structure()
    assert one.structure() != one.replace(clip_value=None).structure()
    assert one.structure() != one.replace(weight_decay=0.0).structure()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "nadam", "lion"])
def test_equal_by_value_and_found_by_name(name: Any) -> None:
    cls: Any = type(ALL[name])
    assert cls(0.25) == cls(0.25) != cls(0.5)
    assert hash(cls(0.25)) == hash(cls(0.25))
    assert cr.optimizers.get(name) == cls()
    with pytest.raises(AttributeError, match="immutable"):
        cls().learning_rate = 1.0


@pytest.mark.parametrize(
    "code",
    [
        "SGD(0.0)",
        "SGD(-1.0)",
        'SGD(float("nan"))',
        "SGD(0.1, 1.0)",
        "SGD(0.1, nesterov=True)",
        "Adam(beta_2=1.0)",
        "Adam(epsilon=-1.0)",
        "AdamW(weight_decay=-0.1)",
        "Lion(clip_norm=0.0)",
        "SGD(clip_value=0.0)",
        "Adam(clip_value=-1.0)",
        'AdamW(clip_value=float("inf"))',
        'optimizers.get("adamm")',
    ],
)
def test_bad_numbers(code: str) -> None:
    with pytest.raises(cr.ArgumentError):
        eval(code, vars(cr))


@pytest.mark.parametrize("bad", [1.0, 1.25, -0.1])
@pytest.mark.parametrize("name", ["beta_1", "beta_2", "rho", "momentum"])
def test_shares_lie_below_one(name: str, bad: float) -> None:
    takers = [cls for cls in DEFAULTS if name in DEFAULTS[cls]]
    assert takers
    for cls in takers:
        with pytest.raises(cr.ArgumentError, match=f"{cls.__name__}: {name}"):
            cls(**{name: bad})


def test_numbers_become_floats() -> None:
    optimizer = cr.Adam(np.float32(0.5), clip_norm=1)  # type: ignore[arg-type]
    assert type(optimizer.learning_rate) is type(optimizer.clip_norm) is float
    assert cr.Adam(clip_norm=0.25).clip_norm == 0.25


@pytest.mark.parametrize("bad", ["0.1", None])
def test_bad_types(bad: Any) -> None:
    with pytest.raises(cr.ArgumentTypeError):
        cr.Adam(bad)
    with pytest.raises(cr.ArgumentTypeError):
        cr.optimizers.get(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "optimizer",
    [
        cr.NAdam(),
        cr.NAdam(momentum_decay=10.0),
        cr.NAdam(momentum_decay=0.0, beta_1=1 - 1e-9),
        cr.NAdam(momentum_decay=1e-7, beta_1=1 - 1e-6),
        cr.NAdam(beta_1=0.0),
    ],
    ids=repr,
)
def test_products_of_nadam(optimizer: Any) -> None:
    """The logarithm's series against the product itself, in 50 digits."""
    mp = need("mpmath").mp.clone()
    mp.dps = 50
    b1, b2 = mp.mpf(optimizer.beta_1), mp.mpf(optimizer.beta_2)

    def mu(k: int) -> Any:
        return b1 * (1 - mp.mpf("0.96") ** (k * mp.mpf(optimizer.momentum_decay)) / 2)

    product = mp.mpf(1)
    for t in range(1, 2001):
        product *= mu(t)
        if t in (1, 2, 10, 427, 2000):
            told = optimizer.scalars(t - 1, np.full(3, 1e-3), 0.0)
            rate = mp.mpf(1e-3) * mp.sqrt(1 - b2**t)
            want = rate * (1 - mu(t)) / (1 - product)
            assert abs(told["ag"][0] - want) <= 1e-13 * want
            want = rate * mu(t + 1) / (1 - product * mu(t + 1))
            assert abs(told["am"][0] - want) <= 1e-13 * want


def test_bits_of_nadam_do_not_depend_on_how_steps_are_grouped() -> None:
    whole = cr.NAdam().scalars(0, np.full(600, 1e-3), 0.0)
    for first, steps in ((0, 1), (3, 7), (100, 350), (420, 180)):
        some = cr.NAdam().scalars(first, np.full(steps, 1e-3), 0.0)
        for name in ("ag", "am"):
            want = whole[name][first : first + steps]
            np.testing.assert_array_equal(some[name], want)


@pytest.mark.parametrize("name", ["Adam", "NAdam"])
def test_a_late_step_is_planned_as_fast_as_an_early_one(name: str) -> None:
    """Neither time nor memory grows with the step: this one would need petabytes."""
    told = getattr(cr, name)().scalars(2**53 - 20, np.full(10, 1e-3), 0.0)
    for value in told.values():
        assert np.isfinite(value).all()
