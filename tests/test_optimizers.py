"""Optimizers against torch, optax and scikit-learn; the update's mechanics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.base import Backend
from chainrule.backends.numpy import BLOCK
from chainrule.network import Network

from support import here, need

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
            update, given, pieces, network, bool(decay)
        )
        assert all(a is b for a, b in zip(got, given, strict=True))
        plain = Backend(np).elementwise(update, plain, pieces, network, bool(decay))
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
        network,
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
    assert one.kind() == other.kind()
    assert hash(one.kind()) == hash(other.kind())
    assert one.kind().slots == one.slots
    assert one.kind() != one.replace(clip_norm=None).kind()
    assert one.kind() != one.replace(weight_decay=0.0).kind()


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


@pytest.mark.parametrize("bad", ["0.1", None])
def test_bad_types(bad: Any) -> None:
    with pytest.raises(cr.ArgumentTypeError):
        cr.Adam(bad)
    with pytest.raises(cr.ArgumentTypeError):
        cr.optimizers.get(3)
