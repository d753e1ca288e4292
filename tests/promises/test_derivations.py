"""docs/math.md in numbers: our own derivations, in float64 on NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from chainrule import optimizers, rules
from chainrule.arrays.namespace import erf

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


def test_focal_slope() -> None:
    x = draw(BATCH, N)
    labels, gamma = np.array([0, 3, 1, 1, 2]), 1.5
    t = np.eye(N)[labels]
    p = rules.softmax(x)[0]
    g = -((1.0 - p) ** gamma) * (1.0 - gamma * p * np.log(p) / (1.0 - p))
    _, pullback = rules.focal(x, labels, gamma=gamma)
    slope = t * g - p * np.sum(t * g, axis=-1, keepdims=True)
    close(pullback()[0], slope / BATCH)

    def forward(x: Any) -> Any:
        q = np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True)
        return -np.sum(t * (1.0 - q) ** gamma * np.log(q)) / BATCH

    close(pullback()[0], differences(forward, x))


def test_cosine_distance_slope() -> None:
    x, t = draw(BATCH, N), draw(BATCH, N, seed=1)
    length = np.sqrt(np.sum(x * x, axis=-1, keepdims=True))
    u, v = x / length, t / np.sqrt(np.sum(t * t, axis=-1, keepdims=True))
    cos = np.sum(u * v, axis=-1, keepdims=True)
    value, pullback = rules.cosine_distance(x, t)
    close(value, np.mean(np.sum((u - v) ** 2, axis=-1)) / 2.0)
    close(value, 1.0 - np.mean(cos))
    close(pullback()[0], -(v - cos * u) / length / BATCH)
    close(np.sum(pullback()[0] * x, axis=-1), np.zeros(BATCH))  # turned, not stretched


def test_log_cosh_near_zero() -> None:
    for d in (1e-9, 1e-3, 0.7, 3.0, 40.0):
        value, pullback = rules.log_cosh(np.array([[d]]), np.zeros((1, 1)))
        u = np.expm1(min(d, 3.0))
        near, far = (
            np.log1p(u * u / (2.0 + 2.0 * u)),
            d + np.log((1 + np.exp(-2 * d)) / 2),
        )
        assert value == pytest.approx(near if d <= 3.0 else far, rel=1e-12)
        assert pullback()[0] == pytest.approx(np.tanh(d), rel=1e-12)


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
