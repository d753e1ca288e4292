"""Model.function: the network as a pure function of the user's own library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends

from tests.support.libraries import LIBRARIES, backend, here, need

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3))
Y = (X**2).sum(axis=1, keepdims=True)

needs_jax = pytest.mark.skipif(not here("jax"), reason="needs JAX")
needs_torch = pytest.mark.skipif(not here("torch"), reason="needs PyTorch")


def make(name: Any, *middle: cr.Layer, dtype: Any = "float64", **options: Any) -> Any:
    """A trained model, so that its state is not what it was at first."""
    middle = middle or (cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.3))
    network = cr.Sequential(cr.Dense(5), *middle, cr.Residual(cr.Dense(5)), cr.Dense(1))
    model = cr.Model(network, dtype=dtype, **backend(name), **options)
    model.fit(X, Y, epochs=2, batch_size=6)
    return model


def arrays(model: cr.Model, *given: Any) -> Any:
    with model.backend.scope(model.dtype, model.precision):
        return tuple(model.backend.asarray(a, model.dtype) for a in given)


def x64(name: str) -> Any:
    """The context in which JAX has 64 bits."""
    return backends.get(**backend(name)).scope("float64")


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_what_predict_gives(name: str, dtype: str) -> None:
    model = make(name, dtype=dtype)
    with backends.get(**backend(name)).scope(dtype):
        (x,) = arrays(model, X)
        z = model.function()(model.theta, model.state, x)
        assert type(z) is type(x)
        assert z.dtype == x.dtype
        z = model.backend.to_numpy(z)
    np.testing.assert_allclose(z, model.predict(X), rtol=2e-5)


@pytest.mark.parametrize("name", LIBRARIES)
def test_members_are_its_leading_axis(name: str) -> None:
    model = make(name, members=3)
    f = model.function()
    with x64(name):
        (x,) = arrays(model, X)
        z = model.backend.to_numpy(f(model.theta, model.state, x))
        lone = model.member(1)
        one = model.backend.to_numpy(f(lone.theta, lone.state, x))
    assert z.shape == (3, 6, 1)
    np.testing.assert_allclose(z, model.predict_members(X), rtol=1e-12)
    np.testing.assert_allclose(one, z[1], rtol=1e-12)
    bare = cr.Model(cr.Tanh(), members=3, dtype="float64", **backend(name)).build(3)
    with x64(name):
        z = model.backend.to_numpy(bare.function()(bare.theta, None, x))
    np.testing.assert_allclose(z, np.tanh(X)[None].repeat(3, axis=0), rtol=1e-12)


@pytest.mark.parametrize("name", LIBRARIES)
def test_it_refuses(name: str) -> None:
    model = make(name, cr.Tanh())
    f = model.function()
    with x64(name):
        (x,) = arrays(model, X)
        theta = model.theta
        f(theta, None, x)  # no state
        with pytest.raises(
            cr.ShapeError, match=r"function\(\): x .*\(batch, 3\).*6, 2"
        ):
            f(theta, None, x[:, :2])
        with pytest.raises(cr.ShapeError, match=r"function\(\): x must .*\(batch, 3\)"):
            f(theta, None, x[0, :])
        with pytest.raises(cr.ShapeError, match=r"function\(\): theta must .*\(\.\.\."):
            f(theta[1:], None, x)
        with pytest.raises(cr.ArgumentTypeError, match=r"x must be an array of .*list"):
            f(theta, None, X.tolist())
        if name not in ("numpy", "jax"):
            with pytest.raises(cr.ArgumentTypeError, match=r"x must .*got ndarray"):
                f(theta, None, X)
    unbuilt = cr.Model(cr.MLP((1,)), **backend(name))
    with pytest.raises(cr.NotBuiltError):
        unbuilt.function()


@pytest.mark.parametrize("name", LIBRARIES)
def test_it_keeps_no_parameters(name: str) -> None:
    model = make(name)
    f, theta, state = model.function(), model.theta, model.state
    (x,) = arrays(model, X)
    with x64(name):
        before = model.backend.to_numpy(f(theta, state, x))
    model.fit(X, Y, epochs=2)
    with x64(name):
        after = model.backend.to_numpy(f(theta, state, x))
        new = model.backend.to_numpy(f(model.theta, model.state, x))
    np.testing.assert_array_equal(after, before)
    np.testing.assert_allclose(new, model.predict(X), rtol=1e-12)
    assert np.abs(new - before).max() > 0


MIDDLES = [
    cr.Sequential(cr.BatchNorm(), cr.Sigmoid()),
    cr.Sequential(cr.LayerNorm(), cr.Softmax()),
    cr.Sequential(cr.GELU(), cr.Mish()),
]


@needs_jax
@pytest.mark.parametrize("layer", MIDDLES, ids=repr)
def test_jax_differentiates_it(layer: cr.Layer) -> None:
    jax = need("jax")
    model = make("jax", layer)
    f = model.function()
    with jax.enable_x64(True):
        (x,) = arrays(model, X)
        theta, state = model.theta, model.state
        jacobian = jax.vmap(jax.jacrev(lambda x: f(theta, state, x[None, :])[0, :]))(x)
        by_theta = jax.jit(jax.jacfwd(lambda t: f(t, state, x)))(theta)
        hessian = jax.vmap(jax.hessian(lambda x: f(theta, state, x[None, :])[0, 0]))(x)
        found = [np.asarray(a) for a in (jacobian, by_theta, hessian)]
        both = jax.jit(jax.value_and_grad(lambda t: (f(t, state, x) ** 2).sum()))
        value, gradient = both(theta)
        z = np.asarray(f(theta, state, x))
    np.testing.assert_allclose(value, (z**2).sum(), rtol=1e-12)
    np.testing.assert_allclose(
        gradient, 2 * np.einsum("ij,ijp->p", z, found[1]), rtol=1e-9, atol=1e-12
    )
    wants = model.jacobian(X), model.parameter_jacobian(X), model.hessian(X)
    for got, want in zip(found, wants, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


@needs_torch
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("layer", MIDDLES, ids=repr)
def test_torch_differentiates_it(layer: cr.Layer) -> None:
    torch = need("torch")
    model = make("torch", layer)
    f, theta, state = model.function(), model.theta, model.state
    x = torch.tensor(X, requires_grad=True)
    theta.requires_grad_(True)
    z = f(theta, state, x)
    dx, dtheta = torch.autograd.grad(z.sum(), (x, theta), create_graph=True)
    np.testing.assert_allclose(
        dx.detach(), model.jacobian(X)[:, 0], rtol=1e-9, atol=1e-11
    )
    by_theta = model.parameter_jacobian(X)
    np.testing.assert_allclose(
        dtheta.detach(), by_theta.sum((0, 1)), rtol=1e-9, atol=1e-11
    )
    (column,) = torch.autograd.grad(dx[:, 0].sum(), x)  # second order
    np.testing.assert_allclose(column, model.hessian(X)[:, 0], rtol=1e-9, atol=1e-11)
    theta, x = theta.detach(), x.detach()
    one = torch.func.jacrev(lambda x: f(theta, state, x[None, :])[0])
    np.testing.assert_allclose(
        torch.vmap(one)(x), model.jacobian(X), rtol=1e-9, atol=1e-11
    )
    forward = torch.func.jacfwd(lambda t: f(t, state, x))(theta)
    np.testing.assert_allclose(forward, by_theta, rtol=1e-9, atol=1e-11)


@needs_torch
def test_torch_trains_by_it() -> None:
    """The objective of several terms whose gradient used to be cut."""
    torch = need("torch")
    model = make("torch", cr.Tanh())
    f = model.function()
    x = torch.full((1, 3), 0.3, dtype=torch.float64, requires_grad=True)
    (f(model.theta, None, x).sum() + (x**2).sum()).backward()
    point = x.detach()
    np.testing.assert_allclose(x.grad, model.jacobian(point)[:, 0] + 2 * point)


def test_numpy_takes_differences_of_it() -> None:
    model = make("numpy")
    f, theta, state = model.function(), model.theta, model.state
    step, e = 1e-6, np.eye(3)[0]
    slope = (f(theta, state, X + step * e) - f(theta, state, X - step * e)) / step / 2
    np.testing.assert_allclose(slope, model.jacobian(X)[:, :, 0], rtol=1e-6)


@needs_jax
def test_precision_goes_along_on_jax() -> None:
    jax = need("jax")
    sharp, half = (
        make("jax", cr.Tanh(), dtype="float32", precision=p)
        for p in ("highest", "bfloat16")
    )
    x = jax.numpy.asarray(X, dtype="float32")
    with jax.default_matmul_precision("bfloat16"):
        z = jax.jit(sharp.function())(sharp.theta, None, x)
        text = str(
            jax.make_jaxpr(jax.grad(lambda t: sharp.function()(t, None, x).sum()))(
                sharp.theta
            )
        )
    np.testing.assert_allclose(z, sharp.predict(X), rtol=1e-5)
    assert text.count("HIGHEST") >= 2 * text.count("dot_general[") > 0
    z = jax.jit(half.function())(half.theta, None, x)
    np.testing.assert_allclose(z, half.predict(X), rtol=1e-3)
    assert np.abs(np.asarray(z - sharp.function()(half.theta, None, x))).max() > 1e-4


@needs_torch
def test_precision_goes_along_on_torch() -> None:
    torch = need("torch")
    sharp, half = (
        make("torch", cr.Tanh(), dtype="float32", precision=p)
        for p in ("highest", "bfloat16")
    )
    x = torch.tensor(X, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = sharp.function()(sharp.theta, None, x)
    np.testing.assert_allclose(z, sharp.predict(X), rtol=1e-5)
    z = half.function()(half.theta, None, x)
    np.testing.assert_array_equal(z, half.predict(X))
    assert np.abs(np.asarray(z - sharp.function()(half.theta, None, x))).max() > 1e-4


@needs_jax
def test_float64_needs_64_bits_on_jax() -> None:
    model = make("jax", cr.Tanh())
    with pytest.raises(cr.ArgumentError, match="jax_enable_x64"):
        model.function()(model.theta, None, X)


@needs_jax
def test_long_joins_are_differentiated() -> None:
    """What the JAX engine writes one after the other, to be fast, has derivatives."""
    jax = need("jax")
    xp = backends.get("jax").xp
    long = np.linspace(0, 1, 20_000, dtype=np.float32)

    def f(a: Any) -> Any:
        return (xp.concat([a, 2 * a], axis=-1) ** 2).sum()

    for transformed in (jax.grad(f), jax.jit(jax.grad(f))):
        np.testing.assert_allclose(transformed(long), 10 * long, rtol=1e-5)
    batch = jax.vmap(jax.grad(f))(np.stack([long, 2 * long]))
    np.testing.assert_allclose(batch[1], 20 * long, rtol=1e-5)
