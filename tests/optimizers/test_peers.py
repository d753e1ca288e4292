"""Optimizers against PyTorch's, optax's and scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr

from tests.support.libraries import here, need
from tests.support.optimizers import (
    DEFAULTS,
    GRADIENTS,
    NETWORK,
    RATES,
    X,
    Y,
    each_scalars,
)

EPOCHS, BATCH = 20, 20  # five steps an epoch, the last of ten rows: 100 steps


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


def _torch(
    make: Callable[[Any, Any], Any],
    decay: float,
    clip: float | None,
    value: float | None = None,
) -> Any:
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
        if value is not None:
            torch.nn.utils.clip_grad_value_(leaves, value)
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


@pytest.mark.skipif(not here("torch"), reason="needs torch")
@pytest.mark.parametrize("clip", [None, 0.1], ids=["value", "value, norm"])
@pytest.mark.parametrize("name", ["momentum", "AdamW"])
def test_clipping_by_value_as_torch(
    name: str, clip: float | None, where: dict[str, Any]
) -> None:
    """On every backend, and for each member of an ensemble."""
    ours, theirs = TORCH[name]
    optimizer = ours(weight_decay=0.1, clip_norm=clip, clip_value=0.03)
    start = _model("sgd").build(3)
    want = _torch(theirs, 0.1, clip, 0.03)
    away = _torch(theirs, 0.1, clip)
    tolerance = 1e-9 if where.get("dtype") == "float64" else 3e-5
    assert np.abs(want - away).max() > 1e-2
    for rates in (optimizer.learning_rate, [optimizer.learning_rate] * 2):
        members = 2 if isinstance(rates, list) else None
        given = optimizer.replace(
            learning_rate=tuple(rates) if isinstance(rates, list) else rates
        )
        model = cr.Model(NETWORK, optimizer=given, members=members, **where).build(3)
        theta = np.broadcast_to(start.theta, (*np.shape(rates), start.theta.size))
        model.set_weights((theta.copy(), model.get_weights()[1]))
        model.fit(X, Y, epochs=EPOCHS, batch_size=BATCH, shuffle=False)
        got = model.get_weights()[0]
        np.testing.assert_allclose(
            got, np.broadcast_to(want, got.shape), rtol=0, atol=tolerance
        )


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


def _ours(optimizer: Any) -> Any:
    theta = np.ones(7)
    slots = [np.zeros(7) for _ in optimizer.slots]
    for s, g in zip(each_scalars(optimizer, len(GRADIENTS)), GRADIENTS, strict=True):
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
