"""What every engine promises: what it moves, flushes, gathers."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends

from tests.support.engines import X
from tests.support.libraries import LIBRARIES, backend, here


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_flush_zeroes_subnormals_alone(name: Any, dtype: str) -> None:
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
def test_gpu_trains_as_numpy_does(name: Any) -> None:
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
    name: Any, steps: int, monkeypatch: pytest.MonkeyPatch
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
