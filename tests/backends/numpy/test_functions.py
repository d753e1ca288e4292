"""NumPy's functions, where ours are faster."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import backends


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
        (a, b),
        (a, 1.0),
        (0.0, b),
        (a, -3),
        (a[:, :1], b),
        (a, b[0]),
        (a[0, 0], b),
        (a.astype("f8"), b),
        (a, np.float32(2.0)),
        (np.asfortranarray(a), b),
        (2.0, 3.0),
    ]
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
        a,
        a.T,
        a[::-2, ::3],
        np.asfortranarray(a),
        np.broadcast_to(a[0], (9, 24)),
        a[:0],
        a[:, :0],
        a[:1],
        some,
        tiny,
        *(a.astype(kind) for kind in ("f4", "f2", "g", "D", "O", ">f8", "i4", "?")),
        rng.normal(size=(20_000, 3)),
        rng.normal(size=(3, 20_000)),
        rng.normal(size=(600, 500)),
        np.stack([a, a]),
    ]
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


@pytest.mark.parametrize("shape", [(100, 10), (40, 64), (64, 1), (3, 10), (64, 65)])
def test_numpy_finds_the_greatest_of_each_row(shape: tuple[int, int]) -> None:
    a = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    a[1, 0], a[2, -1] = np.nan, -np.inf
    xp = backends.get("numpy").xp
    for keepdims in (False, True):
        found = xp.max(a, axis=-1, keepdims=keepdims)
        np.testing.assert_array_equal(found, np.max(a, axis=-1, keepdims=keepdims))
