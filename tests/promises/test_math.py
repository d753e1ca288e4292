"""docs/math.md in numbers: the paper's equations, their slips, and our derivations.

Float64 NumPy throughout. A gradient is held against central differences of the forward
function, and a printed form that has a slip is shown to be wrong, by shape or by
number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from chainrule import optimizers, rules
from chainrule.arrays.namespace import erf

BATCH, N, M = 5, 4, 3


def draw(*shape: int, seed: int = 0) -> Any:
    """Numbers from a normal distribution."""
    return np.random.default_rng((seed, *shape)).normal(size=shape)


def differences(f: Callable[[Any], Any], x: Any, h: float = 1e-5) -> Any:
    """Central differences: shape of f(x), then shape of x."""
    columns = []
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        columns.append((np.asarray(f(up)) - np.asarray(f(down))) / (2.0 * h))
    stacked = np.stack(columns, axis=-1)
    return stacked.reshape(*stacked.shape[:-1], *x.shape)


def close(a: Any, b: Any) -> None:
    """Same shape, and the same numbers up to the error of central differences."""
    assert np.shape(a) == np.shape(b)
    assert_allclose(a, b, rtol=1e-8, atol=1e-8)


def differ(a: Any, b: Any) -> None:
    """Far further apart than rounding or differences can explain."""
    assert np.max(np.abs(a - b)) > 1e-2


def error(z: Any) -> Any:
    """Stand in for E: a scalar of the output, not linear in it."""
    return np.sum(np.sin(z) + 0.3 * z)


def error_slope(z: Any) -> Any:
    """∂E/∂Z of `error`."""
    return np.cos(z) + 0.3


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
    z, _ = rules.tanh(y, xp=SimpleNamespace(tanh=counted))
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


def test_softmax_jacobian_is_symmetric() -> None:
    x, dz = draw(N), draw(N, seed=1)
    z, pullback = rules.softmax(x)
    jacobian = np.diag(z) - np.outer(z, z)
    close(jacobian, differences(lambda x: np.exp(x) / np.sum(np.exp(x)), x))
    close(pullback(dz)[0], jacobian @ dz)
    assert abs(np.sum(pullback(dz)[0])) < 1e-15  # a shift of x changes nothing


def test_log_softmax_pullback() -> None:
    x, dz = draw(N), draw(N, seed=1)
    z, pullback = rules.log_softmax(x)
    jacobian = np.eye(N) - np.exp(z)  # row i: δ_ij - p_j
    close(jacobian, differences(lambda x: x - np.log(np.sum(np.exp(x))), x))
    close(pullback(dz)[0], jacobian.T @ dz)


def test_cross_entropy_is_log_softmax_and_a_product() -> None:
    x = draw(BATCH, N)
    labels = np.array([0, 3, 1, 1, 2])
    smoothing, classes = 0.1, [0.5, 1.0, 2.0, 3.0]
    c = np.array(classes)
    t = np.eye(N)[labels]
    s = t * (1.0 - smoothing) + smoothing / N

    value, pullback = rules.cross_entropy(x, labels)
    close(value, -np.mean(np.sum(t * rules.log_softmax(x)[0], axis=-1)))
    close(pullback()[0], (rules.softmax(x)[0] - t) / BATCH)

    value, pullback = rules.cross_entropy(
        x, labels, class_weight=classes, label_smoothing=smoothing
    )
    mass = np.sum(c * t)
    log_p, back = rules.log_softmax(x)
    close(value, -np.sum(c * s * log_p) / mass)
    close(pullback()[0], back(-c * s / mass)[0])


def test_binary_cross_entropy_slope() -> None:
    x = draw(BATCH, N)
    t = np.random.default_rng(0).integers(0, 2, (BATCH, N)).astype(np.float64)
    value, pullback = rules.binary_cross_entropy(x, t)
    p = 1.0 / (1.0 + np.exp(-x))
    close(value, -np.mean(t * np.log(p) + (1.0 - t) * np.log(1.0 - p)))
    close(pullback()[0], (p - t) / x.size)


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_layer_norm_jacobian_is_symmetric(eps: float) -> None:
    x, one, zero = draw(1, N), np.ones(N), np.zeros(N)
    u, pullback = rules.layer_norm(x, one, zero, eps=eps)
    r = 1.0 / np.sqrt(np.var(x) + eps)
    jacobian = r * (np.eye(N) - np.ones((N, N)) / N - u.T @ u / N)

    def forward(x: Any) -> Any:
        return (x - np.mean(x)) / np.sqrt(np.var(x) + eps)

    # No eps is neglected: the form holds for a large one as well.
    close(jacobian, differences(forward, x[0]))
    dz = draw(1, N, seed=1)
    close(pullback(dz)[0], dz @ jacobian)


@pytest.mark.parametrize(("name", "axis"), [("layer_norm", -1), ("batch_norm", -2)])
def test_norm_pullbacks(name: str, axis: int) -> None:
    x, gain, shift = draw(BATCH, N), draw(N), draw(N, seed=1)

    def forward(x: Any, gain: Any, shift: Any) -> Any:
        d = x - np.mean(x, axis=axis, keepdims=True)
        var = np.mean(d * d, axis=axis, keepdims=True)
        return gain * d / np.sqrt(var + 1e-5) + shift

    z, pullback = getattr(rules, name)(x, gain, shift)
    close(z, forward(x, gain, shift))
    dx, dgain, dshift = pullback(error_slope(z))
    close(dx, differences(lambda x: error(forward(x, gain, shift)), x))
    close(dgain, differences(lambda g: error(forward(x, g, shift)), gain))
    close(dshift, differences(lambda s: error(forward(x, gain, s)), shift))
    if axis == -2:
        # What batch norm removes comes back as a gradient of zero mean.
        assert_allclose(np.sum(dx, axis=0), 0.0, atol=1e-13)


def test_weighted_loss_is_a_weighted_mean() -> None:
    z, t = draw(BATCH, M), draw(BATCH, M, seed=1)
    w = np.array([1.0, 0.0, 2.0, 3.0, 1.0])
    value, pullback = rules.squared_error(z, t, w)
    each = np.mean((z - t) ** 2, axis=1)
    close(value, np.sum(w * each) / np.sum(w))
    close(pullback()[0], w[:, None] / np.sum(w) * 2.0 * (z - t) / M)
    close(pullback()[0], differences(lambda z: rules.squared_error(z, t, w)[0], z))
    # A weight is how often a sample is there, and only ratios of weights matter.
    often = np.repeat(np.arange(BATCH), w.astype(int))
    close(value, rules.squared_error(z[often], t[often])[0])
    close(value, rules.squared_error(z, t, 7.0 * w)[0])
    # No weight at all: 0, not 0/0.
    value, pullback = rules.squared_error(z, t, np.zeros(BATCH))
    assert value == 0.0
    assert_array_equal(pullback()[0], np.zeros((BATCH, M)))


def test_rank_rule_jacobian() -> None:
    x, w, b = draw(BATCH, N), draw(M, N), draw(M)
    y, affine = rules.dense(x, w, b)
    z, activation = rules.tanh(y)
    unit = np.broadcast_to(np.eye(M)[:, None, :], (M, *z.shape))
    (dx,) = affine(*activation(unit), wrt=(0,))[:1]
    assert dx.shape == (M, BATCH, N)
    for r in range(BATCH):
        close(dx[:, r], differences(lambda v: np.tanh(w @ v + b), x[r]))


def test_rank_rule_ensemble() -> None:
    members = 2
    x, w, b = draw(BATCH, N), draw(members, M, N), draw(members, M)
    y, pullback = rules.dense(x, w, b)
    dy = error_slope(y)
    gradients = pullback(dy)
    assert [g.shape for g in gradients] == [
        (members, BATCH, N),
        (members, M, N),
        (members, M),
    ]
    for k in range(members):
        alone, back = rules.dense(x, w[k], b[k])
        close(y[k], alone)
        for g, single in zip(gradients, back(dy[k]), strict=True):
            close(g[k], single)


def test_rank_rule_per_sample_gradients() -> None:
    x, w, b = draw(BATCH, N), draw(M, N), draw(M)
    y, pullback = rules.dense(x[:, None, :], w, b)  # each sample a batch of one
    _, dw, db = pullback(error_slope(y))
    assert dw.shape == (BATCH, M, N)
    for r in range(BATCH):
        row = x[r : r + 1]
        close(dw[r], differences(lambda w: error(row @ w.T + b), w))
    y, pullback = rules.dense(x, w, b)
    _, total, _ = pullback(error_slope(y))
    close(np.sum(dw, axis=0), total)
    assert db.shape == (BATCH, M)


def test_stable_forms_stay_finite() -> None:
    x = np.array([-1e4, -700.0, -40.0, 0.0, 40.0, 700.0, 1e4])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        s, back = rules.sigmoid(x)
        (ds,) = back(np.ones_like(x))
        p, _ = rules.softplus(x)
        q, _ = rules.softmax(np.array([1e4, 1e4, 0.0]))
        lq, _ = rules.log_softmax(np.array([1e4, 1e4, 0.0]))
    assert s[1] > 0.0  # e⁻⁷⁰⁰ is a float64
    assert_allclose(s[1:3], np.exp(x[1:3]), rtol=1e-14)
    assert 0.5 * (1.0 + np.tanh(0.5 * x[2])) == 0.0  # the form by tanh loses it
    assert np.isfinite(ds).all()
    assert_allclose(p, [0.0, *np.exp(x[1:3]), math.log(2.0), 40.0, 700.0, 1e4])
    assert_array_equal(q, [0.5, 0.5, 0.0])
    assert_allclose(lq, [-math.log(2.0), -math.log(2.0), -1e4 - math.log(2.0)])


def test_erf_has_full_precision() -> None:
    x = np.concatenate([np.linspace(-7.0, 7.0, 20001), np.logspace(-300, 0, 301)])
    x = np.concatenate([x, [0.46875, 4.0, 5.93, 0.0, 1e300]])
    wanted = np.array([math.erf(v) for v in x])
    assert_allclose(erf(x), wanted, rtol=5e-16, atol=0.0)
    x = x[:20001].astype(np.float32)
    single = erf(x)
    assert single.dtype == np.float32
    wanted = np.array([math.erf(v) for v in x])
    assert_allclose(single, wanted, rtol=5e-7, atol=0.0)


@pytest.mark.parametrize("epsilon_hat", [False, True])
def test_adam_host_scalars(epsilon_hat: bool) -> None:
    b1, b2, lr, eps, steps = 0.9, 0.999, 0.1, 1e-3, 20
    adam = optimizers.Adam(lr, epsilon=eps, epsilon_hat=epsilon_hat)
    scalars = adam.scalars(0, np.full(steps, lr), lr)
    a, e = scalars["a"], np.broadcast_to(scalars["e"], (steps,))
    m, v = np.zeros(N), np.zeros(N)
    for k in range(steps):
        g = draw(N, seed=k)
        m = b1 * m + (1.0 - b1) * g
        v = b2 * v + (1.0 - b2) * g * g
        t = k + 1
        m_hat, v_hat = m / (1.0 - b1**t), v / (1.0 - b2**t)
        # ε̂ is an ε that starts large: ε̂ / √(1 - β₂ᵗ).
        beside = eps / math.sqrt(1.0 - b2**t) if epsilon_hat else eps
        wanted = lr * m_hat / (np.sqrt(v_hat) + beside)
        assert_allclose(a[k] * m / (np.sqrt(v) + e[k]), wanted, rtol=1e-11)


def test_adam_correction_needs_float64() -> None:
    exact = 1.0 - 0.999
    single = np.float32(1.0) - np.float32(0.999)
    assert abs(single / exact - 1.0) > 1e-5
