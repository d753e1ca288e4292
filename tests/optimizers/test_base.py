"""Optimizers against torch, optax and scikit-learn; the update's mechanics."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends import Backend
from chainrule.backends.numpy.engine import BLOCK
from chainrule.network import Network

from tests.support.libraries import here, need

RNG = np.random.default_rng(1)
X = RNG.normal(size=(90, 3))
Y = np.stack([np.sin(2.0 * X[:, 0]), X[:, 1] * X[:, 2]], axis=1)
EPOCHS, BATCH = 20, 20  # five steps an epoch, the last of ten rows: 100 steps
NETWORK = cr.MLP((8, 2), "tanh")


def _model(optimizer: Any) -> cr.Model:
    return cr.Model(NETWORK, optimizer=optimizer, dtype="float64", backend="numpy")


def _fitted(optimizer: Any) -> Any:
    model = _model(optimizer)
    model.fit(X, Y, epochs=EPOCHS, batch_size=BATCH, shuffle=False)
    return model.get_weights()[0]


def _start() -> list[Any]:
    return list(_model("sgd").build(3).parameters.values())


def _batches() -> Iterator[tuple[Any, Any]]:
    for _ in range(EPOCHS):
        for low in range(0, len(X), BATCH):
            yield X[low : low + BATCH], Y[low : low + BATCH]


def _torch(make: Callable[[Any, Any], Any], decay: float, clip: float | None) -> Any:
    """Train the same network with torch; weights and biases are two groups."""
    import torch

    leaves = [torch.tensor(a, requires_grad=True) for a in _start()]
    w1, b1, w2, b2 = leaves
    optimizer = make(
        torch.optim,
        [
            {"params": [w1, w2], "weight_decay": decay},
            {"params": [b1, b2], "weight_decay": 0.0},
        ],
    )
    for x, y in _batches():
        optimizer.zero_grad()
        z = torch.tanh(torch.tensor(x) @ w1.T + b1) @ w2.T + b2
        torch.nn.functional.mse_loss(z, torch.tensor(y)).backward()
        if clip is not None:
            norm = torch.sqrt(sum((a.grad**2).sum() for a in leaves))
            given = [a.grad * torch.clamp(clip / norm, max=1.0) for a in leaves]
            torch.nn.utils.clip_grad_norm_(leaves, clip)
            # torch divides by the norm + 1e-6; otherwise it is the same.
            for leaf, exact in zip(leaves, given, strict=True):
                torch.testing.assert_close(leaf.grad, exact, rtol=1e-4, atol=0.0)
                leaf.grad = exact
        optimizer.step()
    return np.concatenate([a.detach().numpy().ravel() for a in leaves])


TORCH: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "SGD": (cr.SGD, lambda o, p: o.SGD(p, 0.05)),
    "momentum": (
        lambda **k: cr.SGD(0.05, 0.9, **k),
        lambda o, p: o.SGD(p, 0.05, momentum=0.9),
    ),
    "Nesterov": (
        lambda **k: cr.SGD(0.05, 0.9, nesterov=True, **k),
        lambda o, p: o.SGD(p, 0.05, momentum=0.9, nesterov=True),
    ),
    "Adam": (lambda **k: cr.Adam(0.01, **k), lambda o, p: o.Adam(p, 0.01)),
    "AdamW": (lambda **k: cr.AdamW(0.01, **k), lambda o, p: o.AdamW(p, 0.01)),
    "RMSprop": (lambda **k: cr.RMSprop(0.01, **k), lambda o, p: o.RMSprop(p, 0.01)),
    "Adagrad": (lambda **k: cr.Adagrad(0.1, **k), lambda o, p: o.Adagrad(p, 0.1)),
    "NAdam": (lambda **k: cr.NAdam(0.01, **k), lambda o, p: o.NAdam(p, 0.01)),
}
TORCH["SGD"] = (lambda **k: cr.SGD(0.05, **k), TORCH["SGD"][1])


@pytest.mark.skipif(not here("torch"), reason="needs torch")
@pytest.mark.parametrize(
    ("decay", "clip"), [(0.0, None), (0.1, None), (0.1, 0.2)], ids=["", "decay", "clip"]
)
@pytest.mark.parametrize("name", TORCH)
def test_100_steps_as_torch(name: str, decay: float, clip: float | None) -> None:
    ours, theirs = TORCH[name]
    got = _fitted(ours(weight_decay=decay, clip_norm=clip))
    np.testing.assert_allclose(got, _torch(theirs, decay, clip), rtol=0, atol=1e-9)


def _optax(make: Callable[[Any, Any], Any]) -> Any:
    import jax
    import jax.numpy as jnp
    import optax

    with jax.enable_x64(True):
        params = [jnp.asarray(a) for a in _start()]
        optimizer = make(optax, [True, False, True, False])
        state = optimizer.init(params)

        def loss(params: Any, x: Any, y: Any) -> Any:
            w1, b1, w2, b2 = params
            z = jnp.tanh(x @ w1.T + b1) @ w2.T + b2
            return jnp.mean((z - y) ** 2)

        @jax.jit  # type: ignore[untyped-decorator]
        def step(params: Any, state: Any, x: Any, y: Any) -> Any:
            updates, state = optimizer.update(
                jax.grad(loss)(params, x, y), state, params
            )
            return optax.apply_updates(params, updates), state

        for x, y in _batches():
            params, state = step(params, state, jnp.asarray(x), jnp.asarray(y))
        return np.concatenate([np.asarray(a).ravel() for a in params])


OPTAX: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "SGD": (
        cr.SGD(0.05, 0.9, nesterov=True, weight_decay=0.1, clip_norm=0.2),
        lambda o, mask: o.chain(
            o.clip_by_global_norm(0.2),
            o.add_decayed_weights(0.1, mask),
            o.sgd(0.05, momentum=0.9, nesterov=True),
        ),
    ),
    "Adam": (cr.Adam(0.01), lambda o, _: o.adam(0.01)),
    "AdamW": (
        cr.AdamW(0.01, weight_decay=0.1),
        lambda o, mask: o.adamw(0.01, weight_decay=0.1, mask=mask),
    ),
    "RMSprop": (
        cr.RMSprop(0.01, 0.95, 1e-7),
        lambda o, _: o.rmsprop(0.01, 0.95, 1e-7, eps_in_sqrt=False),
    ),
    "Lion": (
        cr.Lion(1e-3, weight_decay=0.1),
        lambda o, mask: o.lion(1e-3, weight_decay=0.1, mask=mask),
    ),
}


@pytest.mark.skipif(not (here("jax") and here("optax")), reason="needs jax and optax")
@pytest.mark.parametrize("name", OPTAX)
def test_100_steps_as_optax(name: str) -> None:
    ours, theirs = OPTAX[name]
    np.testing.assert_allclose(_fitted(ours), _optax(theirs), rtol=0, atol=1e-9)


# The update itself, on a fixed sequence of gradients.

GRADIENTS = RNG.normal(size=(60, 7))
RATES = np.geomspace(0.1, 1e-3, 60)


def _scalars(optimizer: Any, steps: int) -> Iterator[Any]:
    """Scalars of steps 0, 1, ..., as the step sees them."""
    columns = optimizer.scalars(0, optimizer.rates(0, steps), 0.0)
    for i in range(steps):
        row = {k: float(np.broadcast_to(v, steps)[i]) for k, v in columns.items()}
        yield SimpleNamespace(**row)


def _ours(optimizer: Any) -> Any:
    theta = np.ones(7)
    slots = [np.zeros(7) for _ in optimizer.slots]
    for s, g in zip(_scalars(optimizer, len(GRADIENTS)), GRADIENTS, strict=True):
        theta, *slots = optimizer.update(np, s, g, None, theta, *slots)
    return theta


def _sklearn(theirs: Any, rates: Any) -> Any:
    theta = np.ones(7)
    for rate, g in zip(rates, GRADIENTS, strict=True):
        if rate is not None:
            theirs.learning_rate = rate
        theirs.update_params([theta], [g])
    return theta


@pytest.mark.parametrize("epsilon", [1e-8, 1e-2])
def test_epsilon_hat_is_scikit_learns_adam(epsilon: float) -> None:
    module = need("sklearn.neural_network._stochastic_optimizers")
    theirs = module.AdamOptimizer([np.ones(7)], 0.01, epsilon=epsilon)
    want = _sklearn(theirs, [None] * 60)
    got = _ours(cr.Adam(0.01, epsilon=epsilon, epsilon_hat=True))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    if epsilon > 1e-3:
        assert np.abs(_ours(cr.Adam(0.01, epsilon=epsilon)) - want).max() > 1e-4


@pytest.mark.parametrize("nesterov", [False, True])
def test_rate_in_velocity_is_scikit_learns_sgd(nesterov: bool) -> None:
    module = need("sklearn.neural_network._stochastic_optimizers")
    theirs = module.SGDOptimizer([np.ones(7)], 0.1, momentum=0.9, nesterov=nesterov)
    want = _sklearn(theirs, RATES)
    schedule = RATES.__getitem__
    got = _ours(cr.SGD(schedule, 0.9, nesterov, rate_in_velocity=True))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    assert np.abs(_ours(cr.SGD(schedule, 0.9, nesterov)) - want).max() > 1e-3


def test_rate_in_velocity_goes_on_across_epochs() -> None:
    optimizer = cr.SGD(RATES.__getitem__, 0.9, rate_in_velocity=True)
    whole = optimizer.scalars(0, RATES, 0.0)["d"]
    later = optimizer.scalars(25, RATES[25:], RATES[24])["d"]
    np.testing.assert_array_equal(whole[25:], later)


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


DEFAULTS: dict[Any, dict[str, Any]] = {
    cr.SGD: {
        "learning_rate": 0.01,
        "momentum": 0.0,
        "nesterov": False,
        "rate_in_velocity": False,
    },
    cr.Adam: {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    cr.AdamW: {"learning_rate": 1e-3, "weight_decay": 0.01, "epsilon_hat": False},
    cr.RMSprop: {"learning_rate": 0.01, "rho": 0.99, "epsilon": 1e-8},
    cr.Adagrad: {"learning_rate": 0.01, "epsilon": 1e-10},
    cr.NAdam: {
        "learning_rate": 2e-3,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-8,
        "momentum_decay": 4e-3,
    },
    cr.Lion: {"learning_rate": 1e-4, "beta_1": 0.9, "beta_2": 0.99},
}
DEFAULTS[cr.Adam]["epsilon_hat"] = False
DEFAULTS[cr.AdamW] = {**DEFAULTS[cr.Adam], **DEFAULTS[cr.AdamW]}


@pytest.mark.parametrize("cls", DEFAULTS)
def test_defaults(cls: Any) -> None:
    """Those of torch.optim, and optax's for Lion (whose decay is 0 here)."""
    wanted = {"weight_decay": 0.0, "clip_norm": None, **DEFAULTS[cls]}
    assert cls()._values() == wanted


@pytest.mark.skipif(not here("torch"), reason="needs torch")
@pytest.mark.parametrize("cls", [c for c in DEFAULTS if c is not cr.Lion])
def test_defaults_are_torchs(cls: Any) -> None:
    torch = need("torch")
    theirs = getattr(torch.optim, cls.__name__)([torch.zeros(1)]).defaults
    betas = dict(zip(("beta_1", "beta_2"), theirs.get("betas", ()), strict=False))
    names = {"lr": "learning_rate", "eps": "epsilon", "alpha": "rho"}
    theirs = {names.get(k, k): v for k, v in theirs.items()} | betas
    ours = cls()._values()
    assert len(ours.keys() & theirs.keys()) >= 3
    if cls is cr.SGD:
        del theirs["learning_rate"]  # 1e-3; ours is Keras's
    for name in ours.keys() & theirs.keys():
        assert ours[name] == theirs[name], name


def test_rates_and_scalars() -> None:
    optimizer = cr.AdamW(lambda step: 0.5 + step, weight_decay=0.1, clip_norm=2.0)
    np.testing.assert_array_equal(optimizer.rates(3, 2), [3.5, 4.5])
    np.testing.assert_array_equal(optimizer.rates(3, 2, 0.5), [1.75, 2.25])
    scalars = optimizer.scalars(3, np.array([0.5, 0.25]), 0.5)
    np.testing.assert_allclose(scalars["shrink"], [0.05, 0.025])
    assert (scalars["decay"], scalars["clip_norm"]) == (0.1, 2.0)
    plain = cr.AdamW(0.1, weight_decay=0.0).scalars(0, np.ones(1), 0.0)
    assert not plain.keys() & {"decay", "shrink", "clip_norm"}


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
    for s in _scalars(optimizer, 2):

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
    (s,) = _scalars(optimizer, 1)
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


# Records.


@pytest.mark.parametrize("name", ALL)
def test_kind_has_no_numbers(name: str) -> None:
    one = ALL[name].replace(clip_norm=1.0, weight_decay=0.1)
    other = one.replace(learning_rate=lambda _: 0.5, clip_norm=3.0, weight_decay=0.7)
    assert one != other
    assert one.structure() == other.structure()
    assert hash(one.structure()) == hash(other.structure())
    assert one.structure().slots == one.slots
    assert one.structure() != one.replace(clip_norm=None).structure()
    assert one.structure() != one.replace(weight_decay=0.0).structure()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "nadam", "lion"])
def test_equal_by_value_and_found_by_name(name: str) -> None:
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
    optimizer = cr.Adam(np.float32(0.5), clip_norm=1)
    assert type(optimizer.learning_rate) is type(optimizer.clip_norm) is float
    assert cr.Adam(clip_norm=0.25).clip_norm == 0.25


@pytest.mark.parametrize("bad", ["0.1", None])
def test_bad_types(bad: Any) -> None:
    with pytest.raises(cr.ArgumentTypeError):
        cr.Adam(bad)
    with pytest.raises(cr.ArgumentTypeError):
        cr.optimizers.get(3)


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
