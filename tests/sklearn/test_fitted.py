"""What a fitted estimator gives, in which library's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
import chainrule as cr
from chainrule.sklearn import MLPClassifier, MLPRegressor

from tests.support.estimators import (
    BACKENDS,
    SMALL,
    XB,
    XC,
    YB,
    YC,
    X,
    Y,
    classifier,
    differences,
    everywhere,
    regressor,
    rng,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@everywhere
def test_jacobian(backend: str) -> None:
    for e, x in (
        (regressor(activation="tanh", backend=backend).fit(X, Y), X[:3]),
        (
            regressor(activation="tanh", loss="poisson", backend=backend).fit(
                X, abs(Y)
            ),
            X[:3],
        ),
    ):
        wanted = differences(e.predict, x)[:, None, :]
        np.testing.assert_allclose(e.jacobian(x), wanted, atol=1e-7)
    for data in ((XB, YB), (XC, YC)):
        c = classifier(activation="tanh", backend=backend).fit(*data)
        x = data[0][:3]
        wanted = differences(c.predict_proba, x)
        np.testing.assert_allclose(c.jacobian(x), wanted, atol=1e-7)


@everywhere
def test_prediction_intervals(backend: str) -> None:
    x = rng.uniform(-1, 1, size=(400, 1))
    y = x[:, 0] + (0.1 + 0.4 * (x[:, 0] > 0)) * rng.normal(size=400)
    e = regressor(
        loss="quantile", quantiles=(0.1, 0.5, 0.9), max_iter=60, backend=backend
    ).fit(x, y)
    low, high = e.predict_interval(x).T
    assert (low <= high).all()
    assert 0.65 < np.mean((low <= y) & (y <= high)) < 0.93
    assert (high - low)[x[:, 0] > 0].mean() > 1.5 * (high - low)[x[:, 0] < 0].mean()
    assert e.predict_quantiles(x).shape == (400, 3)
    assert e.predict(x).shape == (400,)
    assert e.jacobian(x).shape == (400, 1, 1)
    ends = regressor(loss="quantile", quantiles=np.array([0.1, 0.9]), max_iter=2)
    assert ends.fit(X, Y).predict_quantiles(X).shape == (60, 2)
    many = regressor(loss="quantile", max_iter=2).fit(X, np.c_[Y, -Y])
    assert many.predict(X).shape == (60, 2)
    assert many.predict_interval(X).shape == (60, 2, 2)


@pytest.mark.skipif("torch" not in BACKENDS, reason="torch is missing")
def test_torch_in_torch_out() -> None:
    import torch

    x = torch.tensor(XC)
    host = classifier().fit(XC, YC)
    e = classifier().fit(x, torch.tensor(YC))
    assert all(isinstance(c, torch.Tensor) for c in e.coefs_)
    np.testing.assert_allclose(e.coefs_[0].numpy(), host.coefs_[0], rtol=1e-9)
    for method in ("predict", "predict_proba", "predict_log_proba", "jacobian"):
        found = getattr(e, method)(x)
        assert isinstance(found, torch.Tensor)
        np.testing.assert_allclose(found, getattr(host, method)(XC), atol=1e-9)
    assert e.score(x, torch.tensor(YC)) == host.score(XC, YC)
    # NumPy after torch is welcome: each X gets its own kind back.
    assert isinstance(e.predict_proba(XC), np.ndarray)
    with pytest.raises(ValueError, match="Expected 2D array, got 1D"):
        e.predict(x[0])
    with pytest.raises(ValueError, match="X has 2 features, but MLPClassifier"):
        e.predict(x[:, :2])
    with pytest.raises(ValueError, match="X must be finite"):
        e.predict(x / 0)
    r = regressor(early_stopping=True).fit(x, torch.tensor(Y))
    assert isinstance(r.predict(x), torch.Tensor)
    np.testing.assert_allclose(
        r.predict(x), regressor(early_stopping=True).fit(XC, Y).predict(XC), atol=1e-9
    )


@pytest.mark.skipif("jax" not in BACKENDS, reason="JAX is missing")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_jax_in_jax_out(solver: str) -> None:
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(XC)
    assert x.dtype == jnp.float32
    e = classifier(solver=solver).fit(x, jnp.asarray(YC))
    assert all(isinstance(c, jax.Array) for c in e.coefs_)
    host = classifier(solver=solver).fit(XC.astype(np.float32), YC)
    for method in ("predict", "predict_proba"):
        found = getattr(e, method)(x)
        assert isinstance(found, jax.Array)
        wanted = getattr(host, method)(XC.astype(np.float32))
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_strict_in_strict_out() -> None:
    import array_api_strict

    device = array_api_strict.Device("device1")
    x = array_api_strict.asarray(X, device=device)
    y = array_api_strict.asarray(Y, device=device)
    e = regressor(dropout=0.1).fit(x, y)
    z = e.predict(x)
    assert z.device == device
    assert e.coefs_[0].device == device
    wanted = regressor(dropout=0.1).fit(X, Y).predict(X)
    np.testing.assert_allclose(np.from_dlpack(z), wanted, atol=1e-9)


@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
@pytest.mark.parametrize("make", [MLPRegressor, MLPClassifier])
def test_masked_entries_are_refused(make: Any, name: str) -> None:
    y = YB if make is MLPClassifier else Y
    given = {"X": X, "y": y, "sample_weight": np.ones(60)}
    estimator = make(**{**SMALL, "max_iter": 2})
    estimator.fit(*(np.ma.array(a) for a in given.values()))  # nothing is masked
    one = np.arange(given[name].size).reshape(given[name].shape) == 1
    given[name] = np.ma.array(given[name], mask=one)
    for method in (estimator.fit, estimator.score):
        with pytest.raises(cr.ArgumentError, match=f"^{name} has masked entries"):
            method(given["X"], given["y"], given["sample_weight"])
    if name == "X":
        with pytest.raises(cr.ArgumentError, match=r"^X has masked entries"):
            estimator.predict(given["X"])
