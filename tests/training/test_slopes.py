"""Training on slopes: its gradient, what it gives, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.arrays.share import Fraction
from chainrule.network import Network
from chainrule.training.slopes import SlopeObjective

from tests.support.layers import differences
from tests.support.libraries import backend as backend_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 2))
T = RNG.normal(size=(5, 3))
S = RNG.normal(size=(5, 3, 2))
W = np.array([1.0, 0.0, 2.0, 0.5, 1.0])


def new_network(*parts: cr.Layer) -> Network:
    return Network(cr.Sequential(cr.Dense(4), *parts, cr.Dense(3)), (2,))


def objective(
    network: Network, engine: Any, theta: Any, weight: Any, **given: Any
) -> Any:
    """Value and gradient, on the host."""
    it = SlopeObjective(cr.losses.get(given.pop("loss", "squared_error")), 0.7)
    with engine.scope("float64"):
        batch = [None if a is None else engine.asarray(a) for a in (X, T, weight, S)]
        f = it.build(engine, network, train=True)
        params = network.unflatten(engine.asarray(theta), engine.xp)
        value, pieces, _, _ = f(params, engine.asarray(np.zeros(0)), batch, **given)
        gradient = network.join(pieces, engine.xp)
        return engine.to_numpy(value), engine.to_numpy(gradient)


PARTS = [
    (cr.Tanh(),),
    (cr.LayerNorm(), cr.GELU()),
    (cr.Residual(cr.Dense(4)), cr.Mish(), cr.Softmax()),
]


@pytest.mark.parametrize("parts", PARTS, ids=str)
@pytest.mark.parametrize("weight", [None, W], ids=["plain", "weighted"])
def test_the_gradient_of_both_terms(parts: Any, weight: Any, where: Any) -> None:
    network = new_network(*parts)
    theta = np.random.default_rng(1).normal(size=network.size) * 0.7
    model = cr.Model(network.layer, dtype="float64", backend="numpy").build(2)

    def value(theta: Any) -> float:
        """The formula, by other ways."""
        model.set_weights((theta, np.zeros(0)))
        w = np.ones(5) if weight is None else weight
        z = ((model.predict(X) - T) ** 2).mean(axis=1)
        s = ((model.jacobian(X) - S) ** 2).mean(axis=(1, 2))
        return float(w @ (z + 0.7 * s) / w.sum())

    engine = cr.backends.get(**where) if "device" not in where else None
    engine = engine or cr.backends.get(where["backend"], where["device"])
    got = objective(network, engine, theta, weight)
    assert got[0] == pytest.approx(value(theta), rel=1e-12)
    np.testing.assert_allclose(got[1], differences(value, theta), rtol=1e-6, atol=1e-7)


def test_members_stand_alone() -> None:
    network, engine = new_network(cr.Tanh()), cr.backends.get("numpy")
    theta = np.random.default_rng(1).normal(size=(3, network.size))
    each = np.stack([W, np.ones(5), W[::-1]])
    for weights in (W, each.T):  # shared, or a column for each member
        value, gradient = objective(
            network, engine, theta, weights, share=Fraction(2.0)
        )
        for k in range(3):
            mine = W if weights is W else each[k]
            one = objective(network, engine, theta[k], mine, share=Fraction(2.0))
            np.testing.assert_allclose(value[k], one[0], rtol=1e-12)
            np.testing.assert_allclose(gradient[k], one[1], rtol=1e-10, atol=1e-12)


def wave(x: Any) -> tuple[Any, Any]:
    return np.sin(4 * x), 4 * np.cos(4 * x)


def fitted(where: dict[str, Any], epochs: int = 600, **options: Any) -> Any:
    x = np.linspace(-1, 0.9, 5)[:, None]  # not symmetric: no gradient is but rounding
    y, dy = wave(x)
    model = cr.Model(
        cr.MLP((16, 16, 1), "tanh"),
        optimizer=cr.Adam(1e-2),
        dtype="float64",
        seed=1,
        **where,
    )
    if options.get("slopes"):
        options["slopes"] = dy
    history = model.fit(x, y, epochs=epochs, batch_size=5, **options)
    return model, history


def test_slopes_at_few_points_give_a_better_fit() -> None:
    x = np.linspace(-1, 1, 200)[:, None]
    y, dy = wave(x)
    where = backend_of("numpy")
    alone, _ = fitted(where)
    both, history = fitted(where, slopes=True, slope_weight=0.1)
    errors = [float(np.abs(m.predict(x) - y).max()) for m in (alone, both)]
    assert errors[1] < 0.25 * errors[0]
    steep = [float(np.abs(m.jacobian(x)[:, 0] - dy).max()) for m in (alone, both)]
    assert steep[1] < 0.5 * steep[0]
    loss, slope_loss = history["loss"], history["slope_loss"]
    assert len(loss) == len(slope_loss) == 600
    assert slope_loss[-1] < 1e-2 * slope_loss[0]
    assert loss[-1] > 0.09 * slope_loss[-1]


def test_every_backend_trains_alike(where: dict[str, Any]) -> None:
    found = []
    for place in (where, backend_of("numpy")):
        model = cr.Model(cr.MLP((8, 3), "tanh"), dtype="float64", **place)
        history = model.fit(X, T, slopes=S, epochs=5, batch_size=2, sample_weight=W)
        found.append((model.get_weights()[0], history["loss"], history["slope_loss"]))
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


def test_history_with_validation() -> None:
    model = cr.Model(cr.MLP((4, 3), "tanh"), dtype="float64")
    history = model.fit(X, T, slopes=S, epochs=2, validation_split=0.4, slope_weight=2)
    assert set(history) == {"loss", "slope_loss", "val_loss", "val_slope_loss"}
    j = ((model.jacobian(X) - S) ** 2).mean(axis=(1, 2))
    assert history["slope_loss"][-1] == pytest.approx(j[:3].mean(), rel=1e-12)
    assert history["val_slope_loss"][-1] == pytest.approx(j[3:].mean(), rel=1e-12)
    values = model.evaluate(X[3:], T[3:])["loss"]
    assert history["val_loss"][-1] == pytest.approx(values + 2 * j[3:].mean())
    history = model.fit(X, T, slopes=S, epochs=1, validation_data=(X, T))
    assert set(history) == {"loss", "slope_loss", "val_loss"}
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(X, T)["loss"])
    weighted = model.fit(X, T, slopes=S, epochs=1, sample_weight=W)
    j = ((model.jacobian(X) - S) ** 2).mean(axis=(1, 2))
    assert weighted["slope_loss"][-1] == pytest.approx(j @ W / W.sum(), rel=1e-12)


def test_natural_shapes() -> None:
    def theta(units: int, n: int, given: Any) -> Any:
        model = cr.Model(cr.MLP((4, units), "tanh"), dtype="float64")
        model.fit(np.ones((5, n)), np.ones((5, units)), slopes=given, epochs=1)
        return model.theta

    for units, n, shapes in (
        (1, 1, [(5, 1, 1), (5, 1), (5,)]),
        (1, 2, [(5, 1, 2), (5, 2)]),
        (3, 1, [(5, 3, 1), (5, 3)]),
    ):
        flat = np.arange(5.0 * units * n)
        found = [theta(units, n, flat.reshape(shape)) for shape in shapes]
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])


def test_bad_input_leaves_the_model_alone() -> None:
    model = cr.Model(cr.MLP((4, 3), "tanh"))
    shape = r"slopes must have the shape \(5, 3, 2\).*got"
    for bad in (S[:3], S[:, :2], S[:, 0], T):
        with pytest.raises(cr.ShapeError, match=shape):
            model.fit(X, T, slopes=bad)
    with pytest.raises(cr.ArgumentError, match="slopes must be finite"):
        model.fit(X, T, slopes=S * np.nan)
    with pytest.raises(cr.ArgumentError, match="slope_weight"):
        model.fit(X, T, slopes=S, slope_weight=-1.0)
    for part in (cr.Dropout(0.1), cr.BatchNorm()):
        noisy = cr.Model(cr.Sequential(cr.Dense(3), part))
        with pytest.raises(cr.ArgumentError, match="slopes need a network whose"):
            noisy.fit(X, T, slopes=S)
    crowd = cr.Model(cr.MLP((4, 3), "tanh"), members=2)
    with pytest.raises(cr.ArgumentError, match="slopes are fitted by one network"):
        crowd.fit(X, T, slopes=S)
    assert not model.built
