"""L-BFGS: SciPy's own iterations, and where they end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.data import samples
from chainrule.network import Network
from chainrule.training import problem
from chainrule.training.objective import LossObjective

from tests.support.libraries import here
from tests.support.second_order import X, Y, model, worst


@pytest.mark.skipif(not here("scipy"), reason="needs SciPy")
@pytest.mark.parametrize("seed", range(10))
def test_lbfgs_on_the_parabola(seed: int) -> None:
    fitted = model(cr.LBFGS(), seed)
    fitted.fit(X, Y, epochs=300, batch_size=100)
    assert worst(fitted) < 2e-3


@pytest.mark.skipif(not here("scipy"), reason="needs SciPy")
@pytest.mark.parametrize("decay", [0.0, 1e-3])
def test_lbfgs_is_scipys(decay: float) -> None:
    from scipy import optimize

    fitted = model(cr.LBFGS(weight_decay=decay)).build(1)
    start = fitted.theta
    whole = problem.Problem(
        backends.get("numpy"),
        Network(fitted.network, (1,)),
        LossObjective(fitted.loss),
        samples.Data(X, Y, None),
        100,
        np.zeros(0),
    )
    weights = np.concatenate([np.ones(16), np.zeros(16), np.ones(16), np.zeros(1)])

    def function(theta: Any) -> Any:
        value, gradient = whole.value_and_gradient(theta)
        penalty = 0.5 * decay * np.sum(weights * theta**2)
        return float(value) + penalty, gradient + decay * weights * theta

    options = {"maxiter": 20, "ftol": 0.0, "gtol": 0.0}
    wanted = optimize.minimize(
        function, start, jac=True, method="L-BFGS-B", options=options
    )
    history = fitted.fit(X, Y, epochs=20, batch_size=100)
    np.testing.assert_allclose(fitted.theta, wanted.x, rtol=1e-9, atol=1e-12)
    loss = wanted.fun - 0.5 * decay * np.sum(weights * wanted.x**2)
    assert history["loss"][-1] == pytest.approx(loss, rel=1e-9)


@pytest.mark.skipif(not here("scipy"), reason="needs SciPy")
def test_lbfgs_that_finds_no_lower_point_has_an_epoch() -> None:
    fitted = model(cr.LBFGS()).build(1)
    start = fitted.theta
    history = fitted.fit(X, Y, epochs=5, sample_weight=np.zeros(len(X)))
    assert history["loss"] == [0.0]
    np.testing.assert_array_equal(fitted.theta, start)


@pytest.mark.skipif(not here("scipy"), reason="needs SciPy")
def test_lbfgs_from_an_infinite_loss_diverges() -> None:
    with (
        np.errstate(all="ignore"),
        pytest.raises(cr.DivergenceError, match="in epoch 1"),
    ):
        model(cr.LBFGS()).fit(X, 1e200 * Y, epochs=5)
