"""Layers that take indices: they stay integers on their way there, everywhere."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import serialization
from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.network import Network
from chainrule.testing import compare_backends

from tests.support.layers import differences, through
from tests.support.libraries import MATRIX, Library, here
from tests.support.own_layers import Embedding, Parallel

VOCABULARY = 7
RNG = np.random.default_rng(5)
X = RNG.integers(0, VOCABULARY, (50, 3))
Y = np.cos(X).sum(-1, keepdims=True)
OPTIONS: Any = {"batch_size": 16, "progress": False}


def layered(*, frozen: bool = False) -> cr.Sequential:
    return cr.Sequential(
        Embedding(VOCABULARY, 4, trainable=not frozen),
        cr.Dense(6),
        cr.Tanh(),
        cr.Dense(1),
    )


def test_the_first_layer_decides() -> None:
    indices = Embedding(VOCABULARY, 2)
    two = Parallel(indices, indices)
    for layer in (
        indices,
        cr.Sequential(indices),
        cr.Sequential(two, cr.Dense(1)),
        two,
    ):
        assert Network(layer, (3,)).input_dtype == "int32"
    for other in (cr.Dense(1), cr.Sequential(cr.Flatten(), cr.Dense(1))):
        assert Network(other, (3,)).input_dtype is None


def test_another_dtype_is_refused() -> None:
    class Half(Embedding):
        input_dtype = "float16"

    match = r"Half\.input_dtype must be None.* or 'int32'.*got 'float16'"
    with pytest.raises(ArgumentError, match=match):
        Network(Half(3, 2), (3,))


@pytest.mark.parametrize("lib", MATRIX, indirect=True)
@pytest.mark.parametrize("members", [(), (2,)])
def test_its_gradient(lib: Library, members: tuple[int, ...]) -> None:
    network = Network(layered(), (3,))
    theta = RNG.normal(size=(*members, network.size)).astype(lib.dtype)
    x = X[:5].astype(np.int32)
    got = through(network, theta, x, lib=lib) if lib.values else None
    wanted = through(network, theta.astype(float), x)
    if got is not None:
        rtol = 1e-4 if lib.dtype == "float32" else 1e-10
        np.testing.assert_allclose(got.z, wanted.z, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(got.dtheta, wanted.dtheta, rtol=rtol, atol=rtol)
    if lib.name == "numpy" and not members:
        dtheta = differences(lambda a: float(through(network, a, x).z.sum()), theta)
        np.testing.assert_allclose(wanted.dtheta, dtheta, rtol=1e-6, atol=1e-7)


def _on(backend: Any, a: Any, dtype: str = "int64") -> Any:
    """Return an array of the backend's own library, of integers."""
    return backend.asarray(np.asarray(a, np.int32)) if dtype else a


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("members", [None, 2])
def test_fit_predict_and_evaluate(where: Any, dtype: str, members: int | None) -> None:
    options: Any = {"dtype": dtype, "members": members, "seed": 3, **where}
    model = cr.Model(layered(), optimizer=cr.Adam(0.02), **options)
    history = model.fit(X, Y, epochs=30, validation_data=(X[:9], Y[:9]), **OPTIONS)
    assert np.all(
        np.asarray(history["loss"][-1]) < 0.5 * np.asarray(history["loss"][0])
    )
    z = np.asarray(model.predict(X))
    assert z.dtype == dtype
    for kind in ("int8", "uint8", "int16", "int32"):
        np.testing.assert_array_equal(np.asarray(model.predict(X.astype(kind))), z)
    np.testing.assert_array_equal(np.asarray(model.predict(X.tolist())), z)
    np.testing.assert_allclose(np.asarray(model.predict(X[:1])), z[:1], rtol=1e-5)
    own = model.backend.asarray(X.astype(np.int32))
    back = model.predict(own)
    np.testing.assert_array_equal(model.backend.to_numpy(back), z)
    loss = np.asarray(model.evaluate(X, Y)["loss"])
    each = np.asarray(model.predict_members(X)) if members else z
    error = np.mean((each - Y) ** 2)  # of an ensemble, the mean of its members'
    np.testing.assert_allclose(loss, error, rtol=1e-4)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(np.asarray(again.predict(X)), z)
    if members:
        np.testing.assert_allclose(
            np.asarray(model.member(1).predict(X)),
            each[1],
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.parametrize("members", [None, 2])
def test_files_and_resumed_fits(
    where: Any, members: int | None, tmp_path: Path
) -> None:
    serialization.register(Embedding, name="tests.Embedding")

    def model() -> cr.Model:
        return cr.Model(layered(), seed=2, members=members, **where)

    whole, cut, again = model(), model(), model()
    whole.fit(X, Y, epochs=4, **OPTIONS)
    file = tmp_path / "fit.safetensors"
    cut.fit(X, Y, epochs=2, callbacks=[cr.callbacks.Checkpoint(file)], **OPTIONS)
    again.fit(X, Y, epochs=4, resume=file, **OPTIONS)
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    whole.save(tmp_path / "model.safetensors")
    loaded = cr.load(tmp_path / "model.safetensors", **where)
    z = np.asarray(whole.predict(X))
    np.testing.assert_array_equal(np.asarray(loaded.predict(X)), z)
    assert loaded.predict(X[:0]).shape == (0, 1)


def test_backends_agree() -> None:
    others = [n for n in ("jax", "torch", "array_api_strict") if here(n)]
    found = compare_backends(layered(), X, Y, ["numpy", *others], steps=10)
    assert found.ok, str(found)


@pytest.mark.parametrize(
    "optimizer", ["lbfgs", cr.LevenbergMarquardt(acceleration=0.7)]
)
def test_second_order_optimizers(optimizer: Any) -> None:
    model = cr.Model(layered(), optimizer=optimizer, backend="numpy", dtype="float64")
    history = model.fit(X, Y, epochs=15, progress=False)
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert model.parameter_jacobian(X[:4]).shape == (4, 1, model.bound.size)  # type: ignore[union-attr]
    assert model.sample_gradients(X[:4], Y[:4]).shape[0] == 4


def test_laplace() -> None:
    optimizer = cr.LevenbergMarquardt()
    layer = cr.Sequential(Embedding(VOCABULARY, 1), cr.Dense(1))
    x, y = RNG.integers(0, VOCABULARY, (90, 2)), RNG.normal(size=(90, 1))
    for dtype in ("float32", "float64"):
        model = cr.Model(layer, optimizer=optimizer, backend="numpy", dtype=dtype)
        model.fit(x, y, epochs=5, progress=False)
        z, std = model.predict(x, return_std=True, method="laplace")
        assert std.dtype == z.dtype == dtype
        assert (std > 0).all()


@pytest.mark.parametrize("name", [n for n in ("numpy", "jax", "torch") if here(n)])
def test_function(name: Any) -> None:
    model = cr.Model(layered(), backend=name).build(3)
    f = model.function()
    engine = model.backend
    theta, state = (engine.asarray(a) for a in model.get_weights())
    x = engine.asarray(X.astype(np.int32))
    z = engine.to_numpy(f(theta, state, x))
    np.testing.assert_allclose(z, np.asarray(model.predict(X)), rtol=1e-5, atol=1e-6)
    with pytest.raises(ArgumentTypeError, match=r"function\(\): x must hold indices"):
        f(theta, state, engine.asarray(X.astype(np.float32)))


# What is refused.


@pytest.mark.parametrize("name", [n for n in ("numpy", "jax", "torch") if here(n)])
@pytest.mark.parametrize("kind", ["float64", "float32", "bool"])
def test_what_is_no_index(name: Any, kind: str) -> None:
    model = cr.Model(layered(), backend=name)
    match = r"x must hold indices, of an integer dtype.*got dtype .*Convert|convert"
    wrong = X.astype(kind)
    with pytest.raises(ArgumentTypeError, match=match):
        model.fit(wrong, Y, epochs=1, **OPTIONS)
    assert not model.built
    model.fit(X, Y, epochs=1, **OPTIONS)
    before = model.get_weights()[0]
    for use in (
        lambda: model.predict(wrong),
        lambda: model.predict(wrong[:1]),
        lambda: model.evaluate(wrong, Y),
        lambda: model.fit(wrong, Y, epochs=1, **OPTIONS),
        lambda: model.sample_gradients(wrong, Y),
    ):
        with pytest.raises(ArgumentTypeError, match=match):
            use()
    with pytest.raises(ArgumentTypeError, match="validation x must hold indices"):
        model.fit(X, Y, epochs=1, validation_data=(wrong, Y), **OPTIONS)
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_what_is_beyond_int32() -> None:
    model = cr.Model(layered(), backend="numpy").build(3)
    big = X.astype(np.int64)
    big[3, 1] = 2**31
    match = r"x must hold indices within int32; got \d ... 2147483648"
    with pytest.raises(ArgumentError, match=match):
        model.predict(big)
    big[3, 1] = -(2**31) - 1
    with pytest.raises(ArgumentError, match=r"int32; got -2147483649 ... \d"):
        model.fit(big, Y, epochs=1, **OPTIONS)


def test_derivatives_by_x() -> None:
    model = cr.Model(layered(), backend="numpy").build(3)
    u, v = np.ones((50, 3)), np.ones((50, 1))
    calls: dict[str, tuple[Any, ...]] = {
        "jacobian": (X,),
        "vjp": (X, v),
        "jvp": (X, u),
        "hessian": (X,),
        "hvp": (X, u),
    }
    for name, arguments in calls.items():
        with pytest.raises(ArgumentError, match=r"no derivatives by x.*takes indices"):
            getattr(model, name)(*arguments)
    with pytest.raises(ArgumentError, match="slopes are derivatives by x"):
        model.fit(X, Y, epochs=1, slopes=np.ones((50, 3)), **OPTIONS)
