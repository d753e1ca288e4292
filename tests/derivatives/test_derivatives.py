"""Derivatives of a model, against JAX's own and central differences, in float64."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.derivatives import cost, inputs, parameters
from chainrule.network import Network
from chainrule.network.forward import build_output

from tests.support.libraries import here
from tests.support.models import bound

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 2))
U = RNG.normal(size=(5, 2))
SMOOTH = [
    *(cr.CELU(0.7), cr.ELU(), cr.Exp(), cr.GELU(), cr.GELUTanh(), cr.LogSoftmax()),
    *(cr.Mish(), cr.SELU(), cr.Sigmoid(), cr.SiLU(), cr.Softmax(), cr.Softplus()),
    *(cr.Softsign(), cr.Tanh()),
]
PARTS = [*SMOOTH, cr.LayerNorm(), cr.BatchNorm(), cr.Residual(cr.Dense(4)), cr.ReLU()]


def model_of(part: cr.Layer, outputs: int, where: dict[str, Any]) -> cr.Model:
    """A small model around a part, with weights and a state that are not special."""
    network = cr.Sequential(
        cr.Dense(4), part, cr.Dense(3), cr.Tanh(), cr.Dense(outputs)
    )
    model = cr.Model(network, dtype="float64", **where).build(2)
    theta, state = model.get_weights()
    rng = np.random.default_rng(1)
    theta = rng.normal(size=theta.shape) * 0.7
    model.set_weights((theta, rng.uniform(0.5, 1.5, size=state.shape)))
    return model


def differences(f: Any, a: Any, step: float = 1e-5) -> Any:
    """∂f/∂a of a function of rows, row by row: (batch, *f, *a)."""
    columns = []
    for shift in np.eye(a[0].size):
        d = step * shift.reshape(a[0].shape)
        columns.append((f(a + d) - f(a - d)) / (2 * step))
    return np.moveaxis(np.stack(columns), 0, -1)


def close(got: Any, want: Any, tol: float) -> None:
    assert np.shape(got) == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


@pytest.fixture(scope="module", params=PARTS, ids=lambda p: type(p).__name__)
def part(request: pytest.FixtureRequest) -> Any:
    return request.param


@functools.cache
def oracle(part: cr.Layer, outputs: int) -> dict[str, Any]:
    """What JAX's own differentiation of the forward pass gives."""
    import jax
    import jax.numpy as jnp

    model = model_of(part, outputs, {"backend": "numpy"})
    network = bound(model)
    theta, state = model.get_weights()
    engine = backends.get("jax")
    loss = model.loss
    with jax.enable_x64(True):
        theta, state = jnp.asarray(theta), jnp.asarray(state)
        output = build_output(engine, network)

        def z(theta: Any, x: Any) -> Any:
            return output(theta, state, x[None, :])[0]

        def e(theta: Any, x: Any, t: Any) -> Any:
            out = output(theta, state, x[None, :])
            return loss(out, t[None, :], None, (outputs,), xp=engine.xp)[0]

        every = {
            "jacobian": jax.vmap(jax.jacobian(z, 1), (None, 0)),
            "parameter_jacobian": jax.vmap(jax.jacobian(z, 0), (None, 0)),
            "hessian": jax.vmap(jax.hessian(lambda t, x: z(t, x)[0], 1), (None, 0)),
        }
        found = {name: jax.jit(f)(theta, X) for name, f in every.items()}
        gradients = jax.jit(jax.vmap(jax.grad(e), (None, 0, 0)))
        found["sample_gradients"] = gradients(theta, X, targets(outputs))
        return {name: np.asarray(a) for name, a in found.items()}


def targets(outputs: int) -> Any:
    return np.random.default_rng(2).normal(size=(5, outputs))


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_against_jax(part: cr.Layer, where: dict[str, Any]) -> None:
    many = isinstance(part, (cr.Tanh, cr.LayerNorm, cr.Softmax))
    for outputs in (1, 3) if many else (1,):
        model, want = model_of(part, outputs, where), oracle(part, outputs)
        close(model.jacobian(X), want["jacobian"], 1e-10)
        close(model.parameter_jacobian(X), want["parameter_jacobian"], 1e-10)
        got = model.sample_gradients(X, targets(outputs))
        close(got, want["sample_gradients"], 1e-10)
        v = targets(outputs)
        close(model.vjp(X, v), np.einsum("bm,bmn->bn", v, want["jacobian"]), 1e-10)
        close(model.jvp(X, U), np.einsum("bmn,bn->bm", want["jacobian"], U), 1e-10)
        if outputs == 1:
            close(model.hessian(X), want["hessian"], 1e-8)
            hu = np.einsum("bij,bj->bi", want["hessian"], U)
            close(model.hvp(X, U), hu, 1e-8)


def test_against_differences(part: cr.Layer) -> None:
    model = model_of(part, 1, {"backend": "numpy"})
    close(model.jacobian(X), differences(model.predict, X), 1e-7)
    slopes = differences(lambda x: model.jacobian(x)[:, 0, :], X)
    close(model.hessian(X), slopes, 1e-7)


def test_both_modes_agree(part: cr.Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    for outputs in (1, 3):
        model = model_of(part, outputs, {"backend": "numpy"})
        network = bound(model)
        found = []
        for mode in (True, False):
            monkeypatch.setattr(cost, "forward_is_cheaper", lambda _, m=mode: m)
            run = inputs.build_jacobian(model.backend, network)
            found.append(run(*model.get_weights(), X))
        close(found[0], found[1], 1e-12)


def test_the_cheaper_mode() -> None:
    forward = cost.forward_is_cheaper
    assert forward(Network(cr.MLP((64, 64, 3)), (2,)))
    assert not forward(Network(cr.MLP((64, 64, 1)), (20,)))
    assert forward(Network(cr.MLP((64, 64, 20)), (1,)))


@pytest.mark.parametrize("backend", ["numpy", "strict"])
def test_at_zero_where_relu_and_the_kinks_of_abs_lie(backend: str) -> None:
    from tests.support.libraries import backend as found

    x = np.zeros((2, 2))
    for part in PARTS:
        network = cr.Sequential(cr.Dense(3, bias=False), part, cr.Dense(1))
        if isinstance(part, cr.Residual):
            continue
        model = cr.Model(network, dtype="float64", **found(backend)).build(2)
        if isinstance(part, cr.ReLU):
            assert not model.jacobian(x).any()
            assert not model.jvp(x, np.ones((2, 2))).any()
            assert not model.hessian(x + 1).any()
            continue
        jvp = model.jvp(x, np.ones((2, 2)))[:, 0]
        close(jvp, model.vjp(x, np.ones((2, 1))).sum(axis=1), 1e-12)
        if not isinstance(part, (cr.ELU, cr.CELU, cr.SELU, cr.Softsign)):
            want = differences(lambda x, m=model: m.vjp(x, np.ones((2, 1))), x, 1e-6)
            close(model.hessian(x), want, 1e-6)


def test_curves_of_parameters(where: dict[str, Any]) -> None:
    model = model_of(cr.GELU(), 3, where)
    network, backend = bound(model), model.backend
    direction = np.random.default_rng(3).normal(size=network.size)
    theta, state = model.get_weights()

    def moved(s: float) -> Any:
        model.set_weights((theta + s * direction, state))
        return model.predict(X)

    h = 1e-3
    points = {k: moved(k * h) for k in (-2, -1, 0, 1, 2)}
    first = points[-2] - 8 * points[-1] + 8 * points[1] - points[2]
    second = -points[-2] + 16 * points[-1] - 30 * points[0] + 16 * points[1] - points[2]
    with backend.scope("float64"):
        run = backend.compile(parameters.build_parameter_curve, network)
        given = (backend.asarray(a, "float64") for a in (theta, state, X, direction))
        got = [backend.to_numpy(a) for a in run(*given)]
    close(got[0], first / (12 * h), 1e-8)
    close(got[1], second / (12 * h * h), 1e-5)


def test_samples_of_any_shape(where: dict[str, Any]) -> None:
    inner = cr.Sequential(cr.Dense(3), cr.LayerNorm(), cr.Tanh())
    network = cr.Sequential(inner, cr.Flatten(), cr.Dense(1))
    model = cr.Model(network, dtype="float64", **where).build((2, 3))
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    close(model.jacobian(x)[:, 0], model.vjp(x, np.ones((4, 1))), 1e-12)
    h = model.hessian(x)
    assert h.shape == (4, 2, 3, 2, 3)
    u = np.random.default_rng(1).normal(size=x.shape)
    close(model.hvp(x, u), np.einsum("bijkl,bkl->bij", h, u), 1e-12)
    rows = model.parameter_jacobian(x)
    gradients = model.sample_gradients(x, np.zeros(4))
    close(gradients, 2 * model.predict(x) * rows[:, 0], 1e-12)
    sequence = cr.Model(inner, dtype="float64", **where).build((2, 3))
    j = sequence.jacobian(x)
    assert j.shape == (4, 2, 3, 2, 3)
    close(sequence.jvp(x, u), np.einsum("bijkl,bkl->bij", j, u), 1e-12)
    assert sequence.parameter_jacobian(x).shape == (4, 6, sequence.theta.shape[0])
    y = np.zeros((4, 2, 3))
    assert sequence.sample_gradients(x, y).shape == (4, sequence.theta.shape[0])


LOSSES = [
    ("absolute_error", None),
    ("huber", None),
    (cr.losses.Quantile(0.3), None),
    ("poisson", "counts"),
    (cr.losses.BinaryCrossEntropy((1.0, 3.0), 0.1), "counts"),
    (cr.losses.CrossEntropy((1.0, 2.0, 3.0), 0.1), "labels"),
    ("cross_entropy", "one-hot"),
]


@pytest.mark.parametrize(("loss", "kind"), LOSSES, ids=str)
def test_sample_gradients_are_those_of_batches_of_one(
    loss: Any, kind: Any, where: dict[str, Any]
) -> None:
    model = cr.Model(cr.MLP((4, 3), "tanh"), loss=loss, dtype="float64", **where).build(
        2
    )
    y: Any = targets(3)
    if kind == "counts":
        y = (y > 0) * 1.0
    elif kind:
        y = np.array([0, 1, 2, 1, 0])
        y = np.eye(3)[y] if kind == "one-hot" else y
    got = model.sample_gradients(X, y)
    theta, state = model.get_weights()
    direction = np.random.default_rng(3).normal(size=theta.shape)
    for i in range(5):
        ends = []
        for step in (1e-6, -1e-6):
            model.set_weights((theta + step * direction, state))
            ends.append(model.evaluate(X[i : i + 1], y[i : i + 1])["loss"])
        slope = (ends[0] - ends[1]) / 2e-6
        assert got[i] @ direction == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_frozen_parameters_have_zeros() -> None:
    network = cr.Sequential(cr.Dense(4, trainable=False), cr.Tanh(), cr.Dense(1))
    model = cr.Model(network, dtype="float64").build(2)
    rows = model.parameter_jacobian(X)[:, 0]
    assert not rows[:, :12].any()
    assert rows[:, 12:].all()
    close(model.sample_gradients(X, np.zeros(5)), 2 * model.predict(X) * rows, 1e-12)


def test_chunks_change_nothing(
    where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(cr.SiLU(), 1, where)
    x, y = np.concatenate([X, U]), np.zeros((10, 1))

    def every() -> list[Any]:
        return [
            model.jacobian(x),
            model.hessian(x),
            model.parameter_jacobian(x),
            model.sample_gradients(x, y),
        ]

    whole = every()
    monkeypatch.setattr(cost, "LIMIT", 100)
    monkeypatch.setattr(cost, "chunk", lambda *_: 4)
    for a, b in zip(whole, every(), strict=True):
        close(a, b, 1e-12)


def test_chunks_bound_memory() -> None:
    engine = backends.get("numpy")
    assert cost.chunk(engine, 1, 1) == 8192
    assert cost.chunk(engine, 128, 256) == 256
    assert cost.chunk(engine, 10**6, 64) == 8
    assert cost.chunk(engine, 10**9, 64) == 1
    assert cost.chunk(backends.get("numpy"), 10**6, 64) * 10**6 <= 1 << 23


def test_array_in_array_out(where: dict[str, Any]) -> None:
    model = model_of(cr.Tanh(), 1, where)
    backend = model.backend
    with backend.scope("float64"):
        x, u, y = (backend.asarray(a, "float64") for a in (X, U, np.zeros((5, 1))))
    for got, want in (
        (model.jacobian(x), model.jacobian(X)),
        (model.hvp(x, u), model.hvp(X, U)),
        (model.jvp(x, U), model.jvp(X, U)),
        (model.vjp(X, y), np.zeros((5, 2))),
        (model.sample_gradients(x, y), model.sample_gradients(X, np.zeros(5))),
    ):
        assert backend.owns(got) or isinstance(got, np.ndarray)
        close(backend.to_numpy(got) if backend.owns(got) else got, want, 1e-12)
    assert backend.owns(model.hessian(x))
    assert model.jacobian(X[:0]).shape == (0, 1, 2)
    assert model.parameter_jacobian(X[:0]).shape == (0, 1, model.theta.shape[0])


def test_bad_input() -> None:
    model = model_of(cr.Tanh(), 3, {"backend": "numpy"})
    with pytest.raises(cr.ShapeError, match=r"v must have the shape \(batch, 3\)"):
        model.vjp(X, U)
    with pytest.raises(cr.ShapeError, match=r"u must have the shape \(batch, 2\)"):
        model.jvp(X, np.ones((5, 3)))
    with pytest.raises(cr.ShapeError, match="x and u must have as many samples"):
        model.jvp(X, U[:3])
    with pytest.raises(cr.ArgumentError, match="u must be finite"):
        model.jvp(X, U * np.nan)
    with pytest.raises(cr.ArgumentError, match="x must be finite"):
        model.parameter_jacobian(X * np.inf)
    calls: list[Any] = [lambda: model.hessian(X), lambda: model.hvp(X, U)]
    for call in calls:
        with pytest.raises(
            cr.ShapeError, match=r"needs a network of one output.*\(3,\)"
        ):
            call()
    with pytest.raises(cr.ShapeError, match="y must have samples of shape"):
        model.sample_gradients(X, np.ones((5, 2)))
    one = model_of(cr.Tanh(), 1, {"backend": "numpy"})
    with pytest.raises(cr.ShapeError, match="u must have the shape"):
        one.hvp(X, np.ones((5, 1)))
    with pytest.raises(cr.NotBuiltError):
        cr.Model(cr.MLP((3, 1))).hessian(X)
