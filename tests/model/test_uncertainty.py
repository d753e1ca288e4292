"""Covariance of the parameters and the band: against linear least squares."""

from __future__ import annotations

import gc
import pickle
import warnings
import weakref
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.layers import Variable
from chainrule.model import uncertainty

from tests.support.libraries import estimators

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
Y = X @ np.array([[1.0, -2.0, 0.5], [0.3, 0.0, 1.0]]) + RNG.normal(size=(40, 3))
WEIGHT = RNG.integers(0, 4, size=40).astype(np.float64)
NEW = RNG.normal(size=(300, 2))


def fitted(units: Any = (3,), weight: Any = None, **options: Any) -> Any:
    options = {"dtype": "float64", "backend": "numpy", **options}
    network = options.pop("network", None) or cr.MLP(units, activation="tanh")
    model = cr.Model(network, optimizer=cr.LevenbergMarquardt(), **options)
    model.fit(X, Y, epochs=40, sample_weight=weight, batch_size=40)
    return model


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_a_linear_network_is_linear_least_squares(
    where: dict[str, Any], weight: Any
) -> None:
    """The textbook: s² (AᵀWA)⁻¹, with one s² over all outputs."""
    model = fitted(weight=weight, **where)
    w = np.ones(40) if weight is None else weight
    a = np.concatenate([X, np.ones((40, 1))], axis=1)
    gram = a.T @ (w[:, None] * a)
    solution = np.linalg.solve(gram, a.T @ (w[:, None] * Y))
    residuals = Y - a @ solution
    s2 = np.sum(w[:, None] * residuals**2) / (3 * np.sum(w > 0) - 9)
    cov = s2 * np.linalg.inv(gram)
    found = model.backend.to_numpy(model.parameter_covariance())
    # theta: weight (3, 2) row-major, then bias (3,); outputs are independent.
    for k in range(3):
        rows = [2 * k, 2 * k + 1, 6 + k]
        np.testing.assert_allclose(found[np.ix_(rows, rows)], cov, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found[0, 3], 0.0, atol=1e-9)
    mean, std = model.predict(NEW, return_std=True, method="laplace")
    b = np.concatenate([NEW, np.ones((300, 1))], axis=1)
    wanted = np.sqrt(np.einsum("ri,ij,rj->r", b, cov, b))
    assert std.shape == mean.shape == (300, 3)
    np.testing.assert_allclose(std, np.stack([wanted] * 3, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(mean, model.predict(NEW))


def test_the_band_covers_as_often_as_it_says() -> None:
    """Over many noisy data sets, the truth lies within two deviations in 95 %."""
    x = np.linspace(-1.0, 1.0, 60)[:, None]
    truth = np.tanh(2.0 * x)
    inside = []
    for seed in range(30):
        y = truth + 0.05 * np.random.default_rng(seed).normal(size=truth.shape)
        model = cr.Model(
            cr.MLP((2, 1), activation="tanh"),
            optimizer=cr.LevenbergMarquardt(),
            dtype="float64",
            seed=seed,
        )
        model.fit(x, y, epochs=60, batch_size=60)
        mean, std = model.predict(x, return_std=True, method="laplace")
        inside.append(np.mean(np.abs(mean - truth) < 2.0 * std))
    assert 0.85 < np.mean(inside) < 1.0


def test_directions_without_data_are_left_out() -> None:
    """Two layers without activation: a redundant parameter does not matter."""
    plain = fitted()
    deep = fitted(network=cr.Sequential(cr.Dense(4), cr.Dense(3)))
    bands = [
        m.predict(NEW, return_std=True, method="laplace")[1] for m in (plain, deep)
    ]
    np.testing.assert_allclose(bands[1], bands[0], rtol=1e-4)


def test_frozen_parameters_have_no_variance() -> None:
    network = cr.Sequential(cr.Dense(4, trainable=False), cr.Tanh(), cr.Dense(3))
    cov = fitted(network=network).parameter_covariance()
    assert not cov[:12].any()
    assert not cov[:, :12].any()
    assert (np.diag(cov)[12:] > 0.0).all()


def test_it_follows_the_parameters_and_the_data() -> None:
    model = fitted()
    first = model.parameter_covariance()
    np.testing.assert_array_equal(model.parameter_covariance(X, Y), first)
    theta, state = model.get_weights()
    model.set_weights((theta + 0.1, state))
    with pytest.raises(cr.ArgumentError, match=r"as they are now.*covariance\(x, y\)"):
        model.parameter_covariance()
    assert (np.diag(model.parameter_covariance(X, Y)) > np.diag(first)).all()


def _design(scale: float, shift: float = 0.0) -> Any:
    rng = np.random.default_rng(1)
    x = np.stack([scale * rng.uniform(0, 1, 60), shift + rng.uniform(0, 1, 60)], axis=1)
    truth = np.stack([3 * x[:, 0] / scale + 2 * x[:, 1], x[:, 1] - x[:, 0] / scale], 1)
    return x, truth + 0.1 * rng.normal(size=truth.shape), rng.integers(0, 3, 60) * 1.0


def _textbook(x: Any, y: Any, w: Any) -> tuple[Any, Any, Any]:
    """Fit, band, and standard deviations of one output's (weights, bias), by QR."""
    a = np.concatenate([x, np.ones((len(x), 1))], axis=1).astype(np.float64)
    size = np.linalg.norm(np.sqrt(w)[:, None] * a, axis=0)
    q, r = np.linalg.qr(np.sqrt(w)[:, None] * a / size)
    beta = np.linalg.solve(r, q.T @ (np.sqrt(w)[:, None] * y)) / size[:, None]
    s2 = np.sum(w[:, None] * (y - a @ beta) ** 2) / (y.shape[1] * (w > 0).sum() - 6)
    c = np.linalg.inv(r) / size[:, None]
    band = np.sqrt(s2 * np.sum((a @ c) ** 2, axis=1))
    return beta, band, np.sqrt(s2 * np.sum(c * c, axis=1))


@pytest.mark.parametrize(
    ("dtype", "scale", "shift"),
    [
        ("float32", 1e8, 0.0),
        ("float32", 1e-8, 0.0),
        ("float32", 1e3, 300.0),
        ("float64", 1e8, 0.0),
        ("float64", 1e-8, 1e5),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_units_change_nothing(
    where: dict[str, Any], dtype: Any, scale: float, shift: float, weighted: bool
) -> None:
    """A linear network's band is linear least squares' own, whatever the units."""
    x, y, weight = _design(scale, shift)
    x = x.astype(dtype)  # what the model sees
    w = weight if weighted else np.ones(60)
    beta, band, deviations = _textbook(x, y.astype(dtype), w)
    model = cr.Model(cr.Dense(2), dtype=dtype, **where).build(2)
    theta = np.concatenate([beta[:2].T.ravel(), beta[2]])
    model.set_weights((theta, np.zeros(0)))
    cov = model.parameter_covariance(x, y, sample_weight=w if weighted else None)
    found = np.sqrt(np.diag(model.backend.to_numpy(cov))).astype(np.float64)
    rtol = 1e-6 if dtype == "float64" else 1e-3
    for k in (0, 1):
        np.testing.assert_allclose(found[[2 * k, 2 * k + 1, 4 + k]], deviations, rtol)
    std = model.predict(x, return_std=True, method="laplace")[1]
    assert std.dtype == dtype
    np.testing.assert_allclose(std, np.stack([band] * 2, axis=1), rtol=rtol)


@pytest.mark.parametrize(("dtype", "scale"), [("float32", 1e4), ("float64", 1e8)])
def test_a_fit_in_other_units_has_the_right_band(dtype: Any, scale: float) -> None:
    x, y, _ = _design(scale)
    model = cr.Model(
        cr.Dense(2), optimizer=cr.LevenbergMarquardt(), backend="numpy", dtype=dtype
    )
    model.fit(x, y, epochs=100)
    z, std = model.predict(x, return_std=True, method="laplace")
    beta, band, _ = _textbook(x, y, np.ones(60))
    off = np.abs(z - np.concatenate([x, np.ones((60, 1))], axis=1) @ beta)
    assert (off < 0.05 * band[:, None]).all()
    np.testing.assert_allclose(std, np.stack([band] * 2, axis=1), rtol=1e-2)


class Misra(cr.Layer):  # type: ignore[misc]
    """b1 (1 - exp(-b2 x)), a model of NIST's."""

    def __init__(self, *, trainable: bool = True) -> None:
        self._configure(trainable)

    @property
    def parameters(self) -> Any:
        """(b1, b2)."""
        start = cr.initializers.Constant(1.0)
        return (Variable("b1", (1,), start), Variable("b2", (1,), start))

    def forward(self, params: Any, x: Any, context: Any) -> Any:
        """Return (z, pullback); members stand before the batch."""
        xp = context.xp
        b1, b2 = (p[..., None, :] for p in params)
        e = xp.exp(-b2 * x)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> Any:
            grads = (xp.sum(dz * (1.0 - e), axis=-2), xp.sum(dz * b1 * x * e, axis=-2))
            return (dz * b1 * b2 * e if dx else None), grads if dp else None

        return b1 * (1.0 - e), pullback


# NIST StRD, https://www.itl.nist.gov/div898/strd: Misra1a, 14 observations.
MISRA_X = [77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8,
           593.1, 689.1, 760.0]  # fmt: skip
MISRA_Y = [10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01,
           66.40, 75.47, 81.78]  # fmt: skip


@pytest.mark.parametrize("start", [(500.0, 1e-4), (250.0, 5e-4)])
def test_certified_deviations_of_nist_misra1a(
    where: dict[str, Any], start: tuple[float, float]
) -> None:
    x, y = np.array(MISRA_X)[:, None], np.array(MISRA_Y)[:, None]
    model = cr.Model(
        Misra(), optimizer=cr.LevenbergMarquardt(), dtype="float64", **where
    ).build(1)
    model.set_weights((np.array(start), np.zeros(0)))
    model.fit(x, y, epochs=60)
    certified = [2.3894212918e2, 5.5015643181e-4]
    np.testing.assert_allclose(model.get_weights()[0], certified, rtol=1e-8)
    cov = model.backend.to_numpy(model.parameter_covariance())
    deviations = [2.7070075241e0, 7.2668688436e-6]
    np.testing.assert_allclose(np.sqrt(np.diag(cov)), deviations, rtol=1e-6)
    again = model.backend.to_numpy(model.parameter_covariance(x, y))
    np.testing.assert_array_equal(again, cov)


# NIST StRD: Longley, 16 observations; condition 4.9e9 in its own units.
LONGLEY = np.array(
    [
        [60323, 83.0, 234289, 2356, 1590, 107608, 1947],
        [61122, 88.5, 259426, 2325, 1456, 108632, 1948],
        [60171, 88.2, 258054, 3682, 1616, 109773, 1949],
        [61187, 89.5, 284599, 3351, 1650, 110929, 1950],
        [63221, 96.2, 328975, 2099, 3099, 112075, 1951],
        [63639, 98.1, 346999, 1932, 3594, 113270, 1952],
        [64989, 99.0, 365385, 1870, 3547, 115094, 1953],
        [63761, 100.0, 363112, 3578, 3350, 116219, 1954],
        [66019, 101.2, 397469, 2904, 3048, 117388, 1955],
        [67857, 104.6, 419180, 2822, 2857, 118734, 1956],
        [68169, 108.4, 442769, 2936, 2798, 120445, 1957],
        [66513, 110.8, 444546, 4681, 2637, 121950, 1958],
        [68655, 112.6, 482704, 3813, 2552, 123366, 1959],
        [69564, 114.2, 502601, 3931, 2514, 125368, 1960],
        [69331, 115.7, 518173, 4806, 2572, 127852, 1961],
        [70551, 116.9, 554894, 4007, 2827, 130081, 1962],
    ]
)


def test_certified_deviations_of_nist_longley(where: dict[str, Any]) -> None:
    x, y = LONGLEY[:, 1:], LONGLEY[:, :1]
    model = cr.Model(
        cr.Dense(1), optimizer=cr.LevenbergMarquardt(), dtype="float64", **where
    )
    model.fit(x, y, epochs=200)
    estimates = [15.0618722713733, -0.358191792925910e-01, -2.02022980381683,
                 -1.03322686717359, -0.511041056535807e-01, 1829.15146461355,
                 -3482258.63459582]  # fmt: skip
    np.testing.assert_allclose(model.get_weights()[0], estimates, rtol=1e-5)
    cov = model.backend.to_numpy(model.parameter_covariance())
    deviations = [84.9149257747669, 0.334910077722432e-01, 0.488399681651699,
                  0.214274163161675, 0.226073200069370, 455.478499142212,
                  890420.383607373]  # fmt: skip
    np.testing.assert_allclose(np.sqrt(np.diag(cov)), deviations, rtol=1e-5)


def test_a_dead_unit_changes_no_band() -> None:
    """A column of zeros: its parameters have no variance, and no unit."""
    x = np.abs(X)
    network = cr.Sequential(cr.Dense(3), cr.ReLU(), cr.Dense(3))
    model = cr.Model(network, backend="numpy", dtype="float64").build(2)
    theta, state = model.get_weights()
    theta[:6] = [1.0, 0.3, -1.0, -2.0, 0.2, 1.0]  # the second unit never fires
    theta[6:9] = [0.1, -0.1, 0.2]
    model.set_weights((theta, state))
    cov = model.parameter_covariance(x, Y)
    dead = [2, 3, 7, 10, 13, 16]  # its weights and bias, and what it is weighed with
    assert not cov[dead].any()
    assert not cov[:, dead].any()
    smaller = cr.Sequential(cr.Dense(2), cr.ReLU(), cr.Dense(3))
    other = cr.Model(smaller, backend="numpy", dtype="float64").build(2)
    other.set_weights((np.delete(theta, dead), state))
    other.parameter_covariance(x, Y)
    bands = [m.predict(x, return_std=True, method="laplace")[1] for m in (model, other)]
    np.testing.assert_allclose(bands[0], bands[1], rtol=1e-9)


def _big(**options: Any) -> Any:
    optimizer = cr.LevenbergMarquardt()
    return cr.Model(cr.MLP((4, 3), "tanh"), optimizer=optimizer, **options)


def _bytes(m: Any, x: Any) -> bytes:
    return bytes(m.predict(x, return_std=True, method="laplace")[1].tobytes())


def test_no_data_are_kept(where: dict[str, Any]) -> None:
    """What the caller does to the data after a fit changes no band; memory is free."""
    dtype = "float32"
    model = _big(dtype=dtype, **where).build(2)
    with model.backend.scope(model.dtype, model.precision):
        x, y, w = (
            model.backend.copy(model.backend.asarray(a, dtype)) for a in (X, Y, WEIGHT)
        )
    host = [np.array(a, dtype=dtype) for a in (X, Y, WEIGHT)]
    for arrays in ([x, y, w], host):
        model.fit(*arrays[:2], sample_weight=arrays[2], epochs=4)
        model.parameter_covariance(*arrays[:2], sample_weight=arrays[2])
        before = _bytes(model, NEW)
        for a in arrays:
            if isinstance(a, np.ndarray) or hasattr(a, "zero_"):
                a[...] = 0
        assert _bytes(model, NEW) == before
        gone = [weakref.ref(a) for a in arrays]
        del a
        arrays.clear()
        x = y = w = None
        gc.collect()
        assert [ref() for ref in gone] == [None] * 3


@pytest.mark.parametrize("kind", ["adam", "lbfgs", "sgd", "LevenbergMarquardt"])
def test_no_estimator_keeps_data(kind: str) -> None:
    sklearn = estimators()
    how: dict[str, Any] = {"solver": kind}
    if kind == "LevenbergMarquardt":
        how = {"optimizer": cr.LevenbergMarquardt(), "alpha": 0}
        how["loss"] = cr.losses.SquaredError()
    x, y = X.copy(), Y.copy()
    gone = [weakref.ref(x), weakref.ref(y)]
    estimator = sklearn.MLPRegressor(
        hidden_layer_sizes=(3,),
        max_iter=2,
        backend="numpy",
        callbacks=[cr.callbacks.EarlyStopping(monitor="loss")] * (kind != "lbfgs"),
        **how,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(x, y)
    del x, y
    gc.collect()
    assert [ref() for ref in gone] == [None] * 2
    assert len(pickle.dumps(estimator)) < 30_000


def test_what_is_kept_is_small_and_of_the_parameters_as_they_are() -> None:
    model = _big(backend="numpy", dtype="float64")
    model.fit(X, Y, epochs=3)
    kept = model.parameter_covariance()
    np.testing.assert_allclose(kept, model.parameter_covariance(X, Y), rtol=1e-9)
    sizes = [len(pickle.dumps(m)) for m in (model, _big().build(2))]
    assert sizes[0] < sizes[1] + 5_000
    model.optimizer = cr.SGD(1e-3)
    np.testing.assert_allclose(kept, model.parameter_covariance(), rtol=1e-9)
    model.fit(X, Y, epochs=1)
    with pytest.raises(cr.ArgumentError, match="keeps no data"):
        model.predict(X, return_std=True, method="laplace")
    large = cr.Model(
        cr.MLP((90, 3), "tanh"), optimizer=cr.LevenbergMarquardt(), backend="numpy"
    )
    large.fit(X, Y, epochs=1)
    with pytest.raises(cr.ArgumentError, match="up to 512 parameters"):
        large.parameter_covariance()


def test_a_covariance_too_large_for_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted()

    def none_left(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(uncertainty.Uncertainty, "_covariance", none_left)
    with pytest.raises(
        cr.errors.OutOfMemoryError,
        match=r"9 parameters is a matrix of 9 x 9.*648 bytes",
    ):
        model.parameter_covariance(X, Y)
    model.fit(X, Y, epochs=1)  # the fit itself is none the worse


def test_errors() -> None:
    model = fitted()
    with pytest.raises(cr.ArgumentError, match=r"lone model needs method='laplace'"):
        model.predict(X, return_std=True)
    with pytest.raises(cr.ArgumentError, match=r"method must be one of ensemble, lapl"):
        model.predict(X, return_std=True, method="laplac")
    moved = [model.to("numpy"), pickle.loads(pickle.dumps(model))]
    for other in moved:
        with pytest.raises(cr.ArgumentError, match=r"parameter_covariance\(x, y\)"):
            other.predict(X, return_std=True, method="laplace")
        other.parameter_covariance(X, Y)
        np.testing.assert_allclose(
            other.predict(X, return_std=True, method="laplace")[1],
            model.predict(X, return_std=True, method="laplace")[1],
        )
    few = cr.Model(cr.MLP((20, 3), activation="tanh"), dtype="float64")
    few.fit(X[:10], Y[:10], epochs=1)
    with pytest.raises(cr.ArgumentError, match=r"needs the covariance.*\(x, y\)"):
        few.predict(X, return_std=True, method="laplace")
    few.optimizer = cr.LevenbergMarquardt()
    few.fit(X[:10], Y[:10], epochs=1)
    with pytest.raises(cr.ArgumentError, match=r"more numbers to fit than.*got 30 and"):
        few.predict(X, return_std=True, method="laplace")
    ensemble = cr.Model(cr.MLP((3,)), members=2)
    ensemble.fit(X, Y, epochs=1)
    with pytest.raises(cr.ArgumentError, match="ensemble has its own spread"):
        ensemble.predict(X, return_std=True, method="laplace")
    other = cr.Model(cr.MLP((3,)), loss="huber")
    other.fit(X, Y, epochs=1)
    with pytest.raises(cr.ArgumentError, match=r"laplace' needs a loss that is a sum"):
        other.predict(X, return_std=True, method="laplace")
    with pytest.raises(cr.NotBuiltError):
        cr.Model(cr.MLP((3,))).parameter_covariance()
