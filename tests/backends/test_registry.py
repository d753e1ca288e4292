"""The engines: which are here, how they are found, and what they promise."""

from __future__ import annotations

import builtins
import pickle
from collections import namedtuple
from typing import Any

import array_api_strict
import numpy as np
import pytest

import chainrule as cr
from chainrule import backends

from tests.support.libraries import LIBRARIES, PROMISED, STRICT_DEVICE, backend, here

REAL = [name for name in LIBRARIES if name != "strict"]
X = np.random.default_rng(0).normal(size=(20, 3))


def test_available_says_what_is_here_and_why_the_rest_is_not() -> None:
    found = backends.available()
    assert set(found) >= PROMISED
    assert set(found) | set(found.missing) == {"numpy", "jax", "torch", "cupy"}
    assert np.__version__ in found["numpy"]
    for name, why in found.missing.items():
        assert name in why
        assert "pip install" in why or "GPU" in why
        assert f"{name}: not available" in str(found)


def test_a_missing_library_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def blocked(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "cupy":
            msg = "No module named 'cupy'"
            raise ModuleNotFoundError(msg)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(
        cr.BackendError, match=r"pip install 'chainrule\[cuda12\]'"
    ) as e:
        cr.Model(cr.MLP((1,)), backend="cupy")
    assert "numpy" in str(e.value)


@pytest.mark.parametrize("name", REAL)
def test_get(name: str) -> None:
    engine = backends.get(name)
    assert engine.name == name
    assert backends.get(engine) is engine
    assert backends.get(name) == engine
    assert pickle.loads(pickle.dumps(engine)) == engine
    assert backends.of(engine.asarray(X, "float32")) == engine


def test_get_takes_a_namespace_module() -> None:
    engine = backends.get(array_api_strict, STRICT_DEVICE)
    assert engine.device == STRICT_DEVICE
    assert engine.asarray(X).device == STRICT_DEVICE
    assert pickle.loads(pickle.dumps(engine)) == engine
    assert backends.get(np).name == "numpy"
    assert backends.get(array_api_strict) != engine


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_what_was_asked_for(name: str, dtype: str) -> None:
    model = cr.Model(cr.MLP((4, 1)), dtype=dtype, **backend(name))
    model.fit(X, X[:, :1], epochs=1)
    assert dtype in str(model.theta.dtype)
    assert model.predict(X).dtype == dtype
    assert model.jacobian(X).dtype == dtype


@pytest.mark.parametrize("name", LIBRARIES)
def test_array_type_in_array_type_out(name: str) -> None:
    """Whatever the model runs on, results are of the caller's kind and place."""
    given = backends.get(**_arguments(name)).asarray(X, "float32")
    for runs_on in [*LIBRARIES, None]:
        where = {} if runs_on is None else backend(runs_on)
        model = cr.Model(cr.MLP((4, 2)), **where)
        model.fit(given, given[:, :2], epochs=1)
        for out in (model.predict(given), model.jacobian(given)):
            assert type(out) is type(given)
            assert getattr(out, "device", None) == getattr(given, "device", None)
        if runs_on is None:  # follows the data
            assert model.backend == backends.of(given)


def _arguments(name: str) -> dict[str, Any]:
    return {k: v for k, v in backend(name).items() if v is not None}


@pytest.mark.parametrize("name", LIBRARIES)
def test_copies_are_real(name: str) -> None:
    engine = backends.get(**_arguments(name))
    # Aligned to 64 bytes: JAX would alias such memory.
    raw = np.zeros(1024 + 16, dtype=np.float32)
    start = (-raw.ctypes.data % 64) // 4
    host = raw[start : start + 1024]
    a = engine.copy(engine.asarray(host))
    host[:] = 1.0
    assert engine.to_numpy(a).sum() == 0.0


@pytest.mark.skipif(not (here("jax") and here("torch")), reason="needs both")
def test_backends_live_beside_each_other() -> None:
    models = {n: cr.Model(cr.MLP((4, 1)), backend=n, dtype="float64") for n in REAL}
    for _ in range(2):
        for model in models.values():
            model.fit(X, X[:, :1], epochs=1)
    thetas = [model.get_weights()[0] for model in models.values()]
    for theta in thetas[1:]:
        np.testing.assert_allclose(theta, thetas[0], rtol=1e-12)
    import jax.numpy as jnp
    import torch

    # Nothing global was switched.
    assert jnp.asarray([1.0]).dtype == "float32"
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_jax_compiles_once_for_equal_structures() -> None:
    from chainrule.backends.jax.engine import _compiled

    def fit(rate: float, seed: int, decay: float) -> None:
        optimizer = cr.Adam(rate, weight_decay=decay, clip_norm=1.0)
        model = cr.Model(cr.MLP((7, 1)), optimizer=optimizer, backend="jax", seed=seed)
        model.fit(X, X[:, :1], epochs=2, batch_size=8)

    fit(1e-3, 0, 0.1)
    before = _compiled.cache_info().misses
    fit(1e-2, 1, 0.2)
    fit(cr.schedules.CosineDecay(1e-2, 9), 2, 0.3)  # type: ignore[arg-type]
    assert _compiled.cache_info().misses == before


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_jax_keeps_so_many_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.backends.jax import engine as engine_

    monkeypatch.setattr(engine_, "SHAPES", 3)
    made = []

    def build(backend: Any, k: int) -> Any:
        made.append(k)
        return lambda x: k * x

    run = backends.get("jax").compile
    for rows in range(1, 12):
        assert float(run(build, 7)(np.ones(rows)).sum()) == 7 * rows
    assert 2 <= len(made) <= 4
    backends.clear_caches()
    run(build, 7)
    assert made.count(7) == len(made)


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_what_was_compiled_is_given_back() -> None:
    import gc
    import weakref

    model = cr.Model(cr.MLP((5, 1)), backend="jax").build(3)
    x = X.astype(np.float32)
    z = model.predict(x)

    def build(backend: Any) -> Any:
        def f(x: Any) -> Any:
            return x + 1

        seen.append(weakref.ref(f))
        return f

    seen: list[Any] = []
    model.backend.compile(build)(x)
    gc.collect()
    assert seen[0]() is not None
    backends.clear_caches()
    assert seen[0]() is None
    np.testing.assert_array_equal(model.predict(x), z)


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_jax_predict_pads_rows() -> None:
    from chainrule.network.chunks import _padded

    engine = backends.get("jax")
    x = engine.asarray(np.ones((5, 3), dtype=np.float32))
    part, rows = _padded(engine, x, 0, 8192)
    assert (part.shape, rows) == ((8, 3), 5)
    np.testing.assert_array_equal(part[5:, :], np.ones((3, 3)))
    weight, _ = _padded(engine, x[:, 0], 0, 8192, fill=False)
    assert float(weight[5:].sum()) == 0.0


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_flush_zeroes_subnormals_alone(name: str, dtype: str) -> None:
    if not here(name):
        pytest.skip(f"needs {name}")
    engine = backends.get(name)
    info = np.finfo(dtype)
    tiny, large = info.tiny, np.nextafter(info.tiny, 0, dtype=dtype)
    kept = [1.0, -1.0, tiny, -tiny, np.inf, -np.inf, 0.0]
    gone = [large, -large, info.smallest_subnormal, large / 2]
    given = np.tile(np.array([*kept, *gone], dtype=dtype), 5)  # vectors, and a rest
    wanted = np.tile(np.array([*kept, *[0.0] * len(gone)], dtype=dtype), 5)
    (found,) = engine.flush((engine.asarray(given, dtype),))
    np.testing.assert_array_equal(engine.to_numpy(found), wanted)
    # Of members, and larger than a block.
    many = [engine.asarray(np.tile(given, (2, 800)), dtype)]
    (found,) = engine.flush(tuple(many))
    np.testing.assert_array_equal(engine.to_numpy(found), np.tile(wanted, (2, 800)))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cupy", "jax", "torch"])
def test_gpu_trains_as_numpy_does(name: str) -> None:
    """On a GPU: the same trajectory as NumPy's, and results where the data lie."""
    device = {"cupy": "cuda:0", "jax": "gpu:0", "torch": "cuda:0"}[name]
    try:
        engine = backends.get(name, device)
    except cr.ChainruleError as error:
        pytest.skip(str(error))
    models = [
        cr.Model(
            cr.Sequential(cr.Dense(16), cr.Tanh(), cr.Dropout(0.2), cr.Dense(1)),
            backend=b,
            dtype="float64",
        )
        for b in (engine, "numpy")
    ]
    for model in models:
        model.fit(X, X[:, :1], epochs=20, batch_size=8)
    np.testing.assert_allclose(
        models[0].get_weights()[0], models[1].get_weights()[0], rtol=1e-9, atol=1e-12
    )
    given = engine.asarray(X, "float64")
    assert type(models[0].predict(given)) is type(given)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "RMSprop", "Lion"])
def test_gpu_fuses_as_it_computes(name: str) -> None:
    """On a GPU: CuPy's one kernel gives what its many give, to rounding."""
    try:
        engine = backends.get("cupy", "cuda:0")
    except cr.ChainruleError as error:
        pytest.skip(str(error))
    from chainrule.backends.cupy import kernels

    optimizer = getattr(cr, name)(0.01, weight_decay=0.1)
    kind, row = optimizer.structure(), optimizer.scalars(3, np.array([0.05]), 0.05)
    numbers = [float(np.ravel(value)[0]) for value in row.values()]
    scalars: Any = namedtuple("Scalars", row)  # type: ignore[misc]  # noqa: PYI024
    s = scalars(*numbers)
    rng = np.random.default_rng(0)
    host = np.abs(rng.normal(size=(3 + len(kind.slots), 1000)))
    host[:2] *= np.sign(rng.normal(size=(2, 1000)))
    host[2] = rng.random(1000) < 0.5  # decays
    with engine.scope("float32"):
        g, theta, decay, *slots = (engine.asarray(a, "float32") for a in host)
        one, many = ([engine.copy(a) for a in (theta, *slots)] for _ in range(2))
        fused = kernels.fused(kind, engine.xp, s._fields)
        fused(g, decay, *one, *s)
        kind.update(engine.xp, s, g, decay, *many)
        for a, b in zip(one, many, strict=True):
            np.testing.assert_allclose(
                engine.to_numpy(a), engine.to_numpy(b), rtol=1e-5, atol=1e-7
            )


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8", "f2", "i4"])
def test_numpys_choice_between_two_arrays(dtype: str) -> None:
    """A choice of bits where that is faster: NumPy's `where`, whatever it is given."""
    xp = backends.get("numpy").xp
    rng = np.random.default_rng(0)
    a, b = rng.normal(scale=9.0, size=(2, 90, 50)).astype(dtype)
    if a.dtype.kind == "f":
        a[::7], b[::5], b[::3] = np.nan, -0.0, -np.inf
    c = rng.normal(size=a.shape) > 0
    pairs = [
        (a, b), (a, 1.0), (0.0, b), (a, -3), (a[:, :1], b), (a, b[0]), (a[0, 0], b),
        (a.astype("f8"), b), (a, np.float32(2.0)), (np.asfortranarray(a), b), (2.0, 3.0),
    ]  # fmt: skip
    for u, v in pairs:
        got, want = xp.where(c, u, v), np.where(c, u, v)
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert got.tobytes() == want.tobytes()
    got = xp.where(c[::-2, ::3], a[::-2, ::3], b[::-2, ::3])
    assert got.tobytes() == np.where(c, a, b)[::-2, ::3].tobytes()
    few = xp.where(c[:3], a[:3], b[:3])
    assert few.tobytes() == np.where(c, a, b)[:3].tobytes()
    wide = xp.where(c, a[None], np.stack([b, b]))
    assert wide.shape == (2, 90, 50)


@pytest.mark.parametrize("axis", [-1, -2])
def test_numpys_sum_over_an_axis(axis: int) -> None:
    """A product with ones where that is faster: the sum, whatever the matrix."""
    xp = backends.get("numpy").xp
    rng = np.random.default_rng(0)
    a = rng.normal(size=(37, 24))
    some = np.full((6, 3), 1e30, dtype=np.float32)
    some[2, 1], some[3, 2], some[4, 2] = np.nan, np.inf, -np.inf
    tiny = np.full((5, 2), np.finfo(np.float64).smallest_subnormal)
    matrices = [
        a, a.T, a[::-2, ::3], np.asfortranarray(a), np.broadcast_to(a[0], (9, 24)),
        a[:0], a[:, :0], a[:1], some, tiny,
        *(a.astype(kind) for kind in ("f4", "f2", "g", "D", "O", ">f8", "i4", "?")),
        rng.normal(size=(20_000, 3)), rng.normal(size=(3, 20_000)), rng.normal(size=(600, 500)), np.stack([a, a]),
    ]  # fmt: skip
    for x in matrices:
        for keepdims in (False, True):
            with np.errstate(invalid="ignore"):
                got = xp.sum(x, axis=axis, keepdims=keepdims)
                want = np.sum(x, axis=axis, keepdims=keepdims)
            assert got.dtype == want.dtype
            assert got.shape == want.shape
            wide = got.astype(np.clongdouble)
            np.testing.assert_allclose(
                wide, want.astype(wide.dtype), rtol=1e-5, atol=1e-5
            )
    assert np.array_equal(xp.sum(tiny, axis=axis), np.sum(tiny, axis=axis))
    from chainrule.backends.numpy import functions

    assert not functions._ones(37, a.dtype).flags.writeable


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_knows_what_is_finite(name: str, dtype: str) -> None:
    engine = backends.get(**backend(name))
    huge = np.finfo(dtype).max
    good = [np.full((5, 4), huge), np.zeros((0, 3)), np.asarray(1.0), X.T, X[::2]]
    for a in good:
        before = a.copy()
        with engine.scope(dtype):
            assert engine.is_finite(engine.asarray(a, dtype)) is True
        np.testing.assert_array_equal(a, before)
    for bad in (np.nan, np.inf, -np.inf):
        for place in ((0, 0), (-1, -1)):
            a = np.full((5, 4), huge)
            a[place] = bad
            with engine.scope(dtype):
                assert engine.is_finite(engine.asarray(a, dtype)) is False


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("steps", [0, 1, 3, 7, 100])
def test_batches_are_gathered_for_some_steps_at_once(
    name: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not here(name):
        pytest.skip(f"needs {name}")
    engine = backends.get(name)
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(9, 3, 2)), np.arange(9.0)
    so_many = steps * 8 * (6 + 1) * 8  # bytes of so many steps of eight samples
    monkeypatch.setattr(engine, "gather", so_many)
    order = rng.permutation(np.repeat(np.arange(9), 8))[:56].reshape(7, 8)
    counts = []
    take = engine.take

    def counted(a: Any, index: Any) -> Any:
        counts.append(index.shape[0] if index.ndim > 1 else 1)
        return take(a, index)

    monkeypatch.setattr(engine, "take", counted)
    data = (engine.asarray(x), engine.asarray(t), None)
    got = list(engine.batches(data, engine.indices(order.astype(np.int32))))
    assert len(got) == 7
    for index, (a, b, none) in zip(order, got, strict=True):
        np.testing.assert_array_equal(engine.to_numpy(a), x[index])
        np.testing.assert_array_equal(engine.to_numpy(b), t[index])
        assert none is None
    assert sum(counts) == 2 * 7
    assert max(counts) == min(max(1, steps), 7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torchs_rows_are_tensors_on_the_host(dtype: str) -> None:
    if not here("torch"):
        pytest.skip("needs torch")
    engine = backends.get("torch")
    matrix = np.array([[0.1, 5.0, np.nan], [0.1, 6.0, np.nan]])
    rows = engine.rows(matrix, dtype, own=True)
    assert [len(row) for row in rows] == [3, 3]
    for row, want in zip(rows, matrix, strict=True):
        for a, b in zip(row, want, strict=True):
            assert a.shape == ()
            assert a.device.type == "cpu"
            assert str(a.dtype) == f"torch.{dtype}"
            np.testing.assert_array_equal(engine.to_numpy(a), np.array(b, dtype))
    assert engine.rows(matrix[:, :2], dtype) == [[0.1, 5.0], [0.1, 6.0]]
    assert engine.rows(matrix[:, :0], dtype, own=True) == [[], []]
    # Of members: what is the same for all of them stays a number.
    many = np.tile(matrix[:, :2, None, None], (1, 1, 3, 1))
    many[:, 1, 1, 0] = 7.0
    first, _ = engine.rows(many, dtype, own=True)
    assert first[0] == 0.1
    assert first[1].shape == (3, 1)


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_larger_of_an_array_and_a_number(name: str) -> None:
    engine = backends.get(**backend(name))
    xp = engine.xp
    values = np.array([-2.0, -0.5, 0.0, 3.0, np.nan, np.inf, -np.inf])
    for dtype in ("float32", "float64"):
        with engine.scope(dtype):
            x = engine.asarray(values, dtype)
            for y in (0.0, -1.0, 2.5, 1e30, float("inf"), float("nan")):
                for f, g in ((xp.maximum, np.maximum), (xp.minimum, np.minimum)):
                    z = f(x, y)
                    assert z.dtype == x.dtype
                    want = g(values.astype(dtype), np.asarray(y, dtype))
                    np.testing.assert_array_equal(engine.to_numpy(z), want)


@pytest.mark.parametrize("shape", [(100, 10), (40, 64), (64, 1), (3, 10), (64, 65)])
def test_numpy_finds_the_greatest_of_each_row(shape: tuple[int, int]) -> None:
    a = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    a[1, 0], a[2, -1] = np.nan, -np.inf
    xp = backends.get("numpy").xp
    for keepdims in (False, True):
        found = xp.max(a, axis=-1, keepdims=keepdims)
        np.testing.assert_array_equal(found, np.max(a, axis=-1, keepdims=keepdims))
