"""docs/math.md in numbers: the paper's equations, and their slips.

Float64 NumPy throughout. A gradient is held against central differences of the forward
function, and a printed form that has a slip is shown to be wrong, by shape or by
number.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from chainrule import rules

from tests.support.formulas import (
    BATCH,
    M,
    N,
    close,
    differences,
    draw,
    error,
    error_slope,
)


def differ(a: Any, b: Any) -> None:
    """Far further apart than rounding or differences can explain."""
    assert np.max(np.abs(a - b)) > 1e-2


def layer(x: Any, w: Any, b: Any) -> Any:
    """Z = tanh(Y), Y = x wᵀ + b, and the gradients of `error` at it."""
    y, affine = rules.dense(x, w, b)
    z, activation = rules.tanh(y)
    dz = error_slope(z)
    (dy,) = activation(dz)
    return SimpleNamespace(
        y=y, z=z, dz=dz, dy=dy, slope=1.0 - np.tanh(y) ** 2, grads=affine(dy)
    )


def energy(x: Any, w: Any, b: Any) -> Any:
    """E of the layer, without any rule's pullback."""
    return error(np.tanh(x @ w.T + b))


def test_equation_1_activates_each_element() -> None:
    y = draw(M, 1)  # the paper's column
    z, _ = rules.tanh(y)
    assert_allclose(z, [[math.tanh(value)] for value in y[:, 0]], rtol=1e-15)
    # Printed, Z = F(Yᵀ): a row, where Z is a column.
    printed, _ = rules.tanh(y.T)
    assert printed.shape == (1, M) != z.shape
    assert_array_equal(printed.T, z)
    # In a batch nothing changes, for F meets one element at a time.
    rows = draw(BATCH, M)
    z, _ = rules.tanh(rows)
    assert_allclose(z, [[math.tanh(v) for v in row] for row in rows], rtol=1e-15)


def test_vectorizing_is_a_ufunc_not_np_vectorize() -> None:
    calls: list[Any] = []

    def counted(y: Any) -> Any:
        calls.append(y)
        return np.tanh(y)

    y = draw(100, 10)
    looped = np.vectorize(counted, otypes=[np.float64])(y)
    assert len(calls) == y.size  # np.vectorize: a Python call per element
    calls.clear()
    only: Any = SimpleNamespace(tanh=counted)
    z, _ = rules.tanh(y, xp=only)
    assert len(calls) == 1  # the rule: one call for the whole array
    assert isinstance(np.tanh, np.ufunc)
    assert not isinstance(np.vectorize(math.tanh), np.ufunc)
    assert_allclose(z, looped, rtol=1e-15)


def test_equation_2_has_a_bias() -> None:
    x, w, b = draw(BATCH, N), draw(M, N), draw(M)
    y, _ = rules.dense(x, w, b)
    wanted = [
        [sum(w[a, i] * row[i] for i in range(N)) + b[a] for a in range(M)] for row in x
    ]
    assert_allclose(y, wanted, rtol=1e-13)
    # Our rows are the paper's columns.
    for row, out in zip(x, y, strict=True):
        assert_allclose(w @ row[:, None] + b[:, None], out[:, None], rtol=1e-13)
    # Printed, Y = W X: it is off by the bias,
    printed = (w @ x.T).T
    assert_allclose(y - printed, np.broadcast_to(b, y.shape), rtol=1e-13)
    differ(printed, y)
    # so that ∂Y/∂B would be 0, where the paper's section 3.2 uses 1.
    close(differences(lambda b: rules.dense(x[:1], w, b)[0][0], b), np.eye(M))
    assert_array_equal(rules.dense(0.0 * x, w)[0], np.zeros((BATCH, M)))


def test_equation_3_is_z_with_a_bias() -> None:
    x, w, b = draw(BATCH, N), draw(M, N), draw(M)
    at = layer(x, w, b)
    wanted = [
        [math.tanh(math.fsum([*(w[a] * row), b[a]])) for a in range(M)] for row in x
    ]
    assert_allclose(at.z, wanted, rtol=1e-13)
    differ(np.tanh(x @ w.T), at.z)  # printed, F(W X): without the bias
    # Printed, (2) says Y = W X and (3) says Y = F(W X): Y cannot be both.
    differ(np.tanh(x @ w.T), x @ w.T)


def test_equation_4_is_the_outer_product_transposed() -> None:
    x, w, b = draw(1, N), draw(M, N), draw(M)
    at = layer(x, w, b)
    _, dw, _ = at.grads
    close(dw, differences(lambda w: energy(x, w, b), w))
    close(dw, np.outer(at.slope * at.dz, x))  # (F'(Y) ⊙ ∂E/∂Z) Xᵀ
    # The printed column times row has the shape of Wᵀ.
    column, row = x.T, at.slope * at.dz
    assert (column @ row).shape == (N, M) != w.shape
    close((column @ row).T, dw)
    # Printed (4) in columns: X (n, 1) has no product with F'(Y) (m, 1).
    with pytest.raises(ValueError, match="matmul"):
        column @ at.slope.T
    # The matrix above it writes x_ij; yet every row holds the same x.
    close(dw / at.dy.T, np.tile(x, (M, 1)))


def test_equation_4_when_w_is_square() -> None:
    # No shape warns here: only the numbers are wrong.
    x, w, b = draw(1, N), draw(N, N), draw(N)
    at = layer(x, w, b)
    _, dw, _ = at.grads
    close(dw, differences(lambda w: energy(x, w, b), w))
    differ(x.T @ (at.slope * at.dz), dw)  # the transpose
    # The product before ⊙, ∂E/∂Z a column: it scales rows, and should scale columns.
    differ((x.T @ at.slope) * at.dz.T, x.T @ (at.slope * at.dz))


def test_equation_4_sums_over_a_batch() -> None:
    x, w, b = draw(BATCH, N), draw(M, N), draw(M)
    at = layer(x, w, b)
    _, dw, _ = at.grads
    close(dw, differences(lambda w: energy(x, w, b), w))
    close(dw, sum(np.outer(at.dy[r], x[r]) for r in range(BATCH)))


def test_equation_5_is_right_and_sums_over_a_batch() -> None:
    x, w, b = draw(1, N), draw(M, N), draw(M)
    at = layer(x, w, b)
    close(at.grads[2], (at.slope * at.dz)[0])  # as printed, for one sample
    close(at.grads[2], differences(lambda b: energy(x, w, b), b))
    x = draw(BATCH, N)
    at = layer(x, w, b)
    close(at.grads[2], np.sum(at.slope * at.dz, axis=0))
    close(at.grads[2], differences(lambda b: energy(x, w, b), b))


def test_equation_6_sums_over_the_nodes() -> None:
    x, w, b = draw(BATCH, N), draw(M, N), draw(M)
    at = layer(x, w, b)
    dx, _, _ = at.grads
    wanted = [
        [sum(at.dy[r, a] * w[a, i] for a in range(M)) for i in range(N)]
        for r in range(BATCH)
    ]
    close(dx, np.array(wanted))
    close(dx, differences(lambda x: energy(x, w, b), x))
    # ∂E/∂y itself, by differences.
    close(at.dy, differences(lambda y: error(np.tanh(y)), at.y))
    # Section 3.3 begins with one term, and then says itself that it is not enough.
    differ(at.dy[:, :1] * w[:1], dx)


def test_equation_7_puts_the_slope_into_each_term() -> None:
    x, w, b = draw(BATCH, N), draw(M, N), draw(M)
    at = layer(x, w, b)
    dx, _, _ = at.grads
    wanted = np.zeros((BATCH, N))
    for r in range(BATCH):
        for i in range(N):
            for a in range(M):
                wanted[r, i] += at.dz[r, a] * at.slope[r, a] * w[a, i]
    close(dx, wanted)
    close(dx, differences(lambda x: energy(x, w, b), x))


def test_equation_8_has_the_gradient_of_z() -> None:
    x, w, b = draw(1, N), draw(M, N), draw(M)
    at = layer(x, w, b)
    dx, _, _ = at.grads
    z, slope, dz = at.z.T, at.slope.T, at.dz.T  # the paper's columns
    close(dx.T, differences(lambda x: energy(x, w, b), x).T)
    close(dx.T, w.T @ (dz * slope))
    differ(w.T @ (z * slope), dx.T)  # printed, with Z
    # The line above it has no parentheses: (n, 1) ⊙ (m, 1) is nothing,
    with pytest.raises(ValueError, match="broadcast"):
        (w.T @ dz) * slope
    # and where m = n, a wrong number.
    x, w, b = draw(1, N), draw(N, N), draw(N)
    at = layer(x, w, b)
    close(at.grads[0], differences(lambda x: energy(x, w, b), x))
    differ((w.T @ at.dz.T) * at.slope.T, at.grads[0].T)


def test_equation_8_for_a_batch() -> None:
    x, w, b = draw(BATCH, N), draw(M, N), draw(M)
    at = layer(x, w, b)
    close(at.grads[0], (at.dz * at.slope) @ w)
    close(at.grads[0], differences(lambda x: energy(x, w, b), x))
