"""Ensembles: each member is the lone model that it would be, and what they give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.arrays import random
from chainrule.data import bootstrap
from chainrule.network import chunks

from tests.support.ensembles import (
    LABELS,
    MEMBERS,
    RNG,
    X,
    Y,
    gap,
    new_ensemble,
    normed,
)
from tests.support.libraries import LIBRARIES, backend
from tests.support.models import bound, standing

WEIGHT = RNG.uniform(0.0, 2.0, 70)


def _host(a: Any) -> Any:
    return np.asarray(cr.backends.of(a).to_numpy(a))


def test_weights_come_from_the_seed_and_the_member(where: dict[str, Any]) -> None:
    ensemble = new_ensemble(network=normed(), **where).build(3)
    assert ensemble.bound is not None
    theta, state = ensemble.get_weights()
    assert theta.shape == (MEMBERS, bound(ensemble).size)
    assert state.shape == (MEMBERS, bound(ensemble).state_size)
    lone = new_ensemble(None, network=normed(), **where).build(3)
    np.testing.assert_array_equal(theta[0], lone.get_weights()[0])
    for k in range(MEMBERS):
        np.testing.assert_array_equal(theta[k], bound(ensemble).initial(3, k)[0])
    # More members change nothing about the first.
    more = new_ensemble(5, network=normed(), **where).build(3)
    np.testing.assert_array_equal(more.get_weights()[0][:MEMBERS], theta)
    assert not np.array_equal(theta[0], theta[1])


def test_parameters_have_an_axis_of_members(where: dict[str, Any]) -> None:
    ensemble = new_ensemble(**where).build(3)
    assert ensemble.theta.shape == (MEMBERS, 50)
    shapes = {name: tuple(a.shape) for name, a in ensemble.parameters.items()}
    assert shapes == {
        "0.weight": (3, 8, 3),
        "0.bias": (3, 8),
        "2.weight": (3, 2, 8),
        "2.bias": (3, 2),
    }
    alone = ensemble.member(1).parameters
    for name, a in ensemble.parameters.items():
        np.testing.assert_array_equal(_host(a)[1], _host(alone[name]))


CASES: dict[str, dict[str, Any]] = {
    "tanh, Adam": {"network": cr.MLP((8, 2), "tanh")},
    "BatchNorm and Dropout, AdamW clipped": {
        "network": normed(),
        "optimizer": cr.AdamW(1e-3, clip_norm=0.05),
        "loss": "huber",
    },
    "a sweep of rates, Nesterov clipped": {
        "network": cr.MLP((8, 2), "silu"),
        "optimizer": cr.SGD(
            [1e-2, 3e-2, 1e-3], momentum=0.9, nesterov=True, clip_norm=0.5
        ),
    },
    "a sweep of schedules, bootstrap, cross entropy": {
        "network": cr.MLP((8, 2), "gelu"),
        "loss": cr.losses.CrossEntropy(class_weight=[1.0, 2.0]),
        "optimizer": cr.NAdam(
            (1e-2, cr.schedules.CosineDecay(1e-2, 200), 1e-3), weight_decay=1e-3
        ),
    },
}


@pytest.mark.parametrize("case", CASES)
def test_each_member_is_its_lone_model(where: dict[str, Any], case: str) -> None:
    """Two hundred steps in one pass, and each member by itself: 1e-9 in float64."""
    ensemble = new_ensemble(**CASES[case], **where)
    alone = [ensemble.member(k) for k in range(MEMBERS)]
    assert not alone[0].built  # they draw their weights themselves
    labels = "cross entropy" in case
    strict = "device" in where  # slow: a fifth of the steps
    how: dict[str, Any] = {
        "epochs": 8 if strict else 40,
        "batch_size": 16,
        "sample_weight": WEIGHT if "Dropout" in case or labels else None,
        "bootstrap": "bootstrap" in case,
    }
    y = LABELS if labels else Y
    history = ensemble.fit(X, y, **how)
    assert standing(ensemble).step == (40 if strict else 200)
    theta, state = ensemble.get_weights()
    for k, model in enumerate(alone):
        one = model.fit(X, y, **how)
        # A bias before BatchNorm has no gradient; there is none in these networks.
        assert gap(theta[k], model.get_weights()[0]) < 1e-9
        np.testing.assert_allclose(state[k], model.get_weights()[1], rtol=1e-9)
        losses = [values[k] for values in history["member_loss"]]
        np.testing.assert_allclose(losses, one["loss"], rtol=1e-9)
        assert strict or one["loss"][-1] < one["loss"][0]
    mean = np.mean(np.stack(history["member_loss"]), axis=1)
    np.testing.assert_allclose(history["loss"], mean, rtol=1e-15)
    assert all(type(value) is float for value in history["loss"])


def test_each_member_is_its_lone_model_in_float32(where: dict[str, Any]) -> None:
    ensemble = new_ensemble(dtype="float32", **where)
    alone = [ensemble.member(k) for k in range(MEMBERS)]
    ensemble.fit(X, Y, epochs=40, batch_size=16)
    for k, model in enumerate(alone):
        model.fit(X, Y, epochs=40, batch_size=16)
        theta = ensemble.get_weights()[0]
        assert theta.dtype == "float32"
        assert gap(theta[k], model.get_weights()[0]) < 1e-4


@pytest.mark.parametrize("where_to", LIBRARIES[1:])
def test_backends_agree(where_to: str) -> None:
    """Bootstrap samples and rates are the same everywhere; so are trajectories."""
    ours, theirs = (
        new_ensemble(optimizer=cr.RMSprop([1e-3, 1e-2, 3e-3]), **backend(name))
        for name in ("numpy", where_to)
    )
    for model in (ours, theirs):
        model.fit(X, Y, epochs=40, batch_size=16, bootstrap=True)
    assert gap(theirs.get_weights()[0], ours.get_weights()[0]) < 1e-10


def test_a_trained_member_goes_on(where: dict[str, Any]) -> None:
    """Slots, counters and history go along; the ensemble is left alone."""
    ensemble = new_ensemble(network=normed(), **where)
    ensemble.fit(X, Y, epochs=3, batch_size=16)
    member = ensemble.member(2)
    before = ensemble.get_weights()
    np.testing.assert_array_equal(member.get_weights()[0], before[0][2])
    np.testing.assert_array_equal(
        _host(member.predict(X)), _host(ensemble.member(2).predict(X))
    )
    assert member.history["loss"] == [v[2] for v in ensemble.history["member_loss"]]
    member.fit(X, Y, epochs=3, batch_size=16)
    for a, b in zip(before, ensemble.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    ensemble.fit(X, Y, epochs=3, batch_size=16)
    assert gap(member.get_weights()[0], ensemble.get_weights()[0][2]) < 1e-9
    assert len(member.history["loss"]) == 6


def test_a_built_ensemble_has_untrained_members() -> None:
    built, lazy = new_ensemble().build(3), new_ensemble()
    for k in range(MEMBERS):
        a = built.member(k).get_weights()[0]
        np.testing.assert_array_equal(a, lazy.member(k).build(3).get_weights()[0])


def test_mean_and_standard_deviation(where: dict[str, Any]) -> None:
    ensemble = new_ensemble(**where)
    ensemble.fit(X, Y, epochs=2)
    each = np.stack([ensemble.member(k).predict(X) for k in range(MEMBERS)])
    members = ensemble.predict_members(X)
    assert members.shape == (MEMBERS, 70, 2)
    np.testing.assert_allclose(members, each, rtol=1e-12, atol=1e-14)
    mean, std = ensemble.predict(X, return_std=True)
    assert mean.shape == std.shape == (70, 2)
    np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(std, each.std(axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(ensemble.predict(X), mean)
    again = ensemble.predict(X, return_std=True, method="ensemble")
    np.testing.assert_array_equal(again[1], std)


def test_arrays_in_arrays_out(where: dict[str, Any]) -> None:
    """In the library of x, in float64, for one row and for none."""
    ensemble = new_ensemble(**where).build(3)
    engine = ensemble.backend
    with engine.scope("float64"):
        x = engine.asarray(X, "float64")
    mean, std = ensemble.predict(x, return_std=True)
    for a in (mean, std, ensemble.predict_members(x), ensemble.jacobian(x)):
        assert engine.owns(a)
        assert "float64" in str(a.dtype)
    np.testing.assert_allclose(_host(std), ensemble.predict(X, return_std=True)[1])
    assert ensemble.predict(X[:1], return_std=True)[1].shape == (1, 2)
    assert ensemble.predict(X[:0], return_std=True)[1].shape == (0, 2)
    assert ensemble.predict_members(X[:0]).shape == (MEMBERS, 0, 2)


def test_many_rows_come_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = new_ensemble(backend="numpy").build(3)
    whole = [*ensemble.predict(X, return_std=True), ensemble.predict_members(X)]
    monkeypatch.setattr(chunks, "CHUNK", 16)
    parts = [*ensemble.predict(X, return_std=True), ensemble.predict_members(X)]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_probabilities_are_the_mean_of_the_members(where: dict[str, Any]) -> None:
    ensemble = new_ensemble(loss="cross_entropy", metrics=["accuracy"], **where)
    history = ensemble.fit(X, LABELS, epochs=2)
    each = [ensemble.member(k).predict_proba(X) for k in range(MEMBERS)]
    p = ensemble.predict_proba(X)
    np.testing.assert_allclose(p, np.mean(each, axis=0), rtol=1e-12)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    accuracy = np.mean(ensemble.predict(X).argmax(axis=1) == LABELS)
    assert history["accuracy"][-1] == accuracy


def test_evaluate_is_the_mean_of_the_members_losses(where: dict[str, Any]) -> None:
    ensemble = new_ensemble(metrics=["r2"], **where).build(3)
    found = ensemble.evaluate(X, Y, WEIGHT)
    each = [ensemble.member(k).evaluate(X, Y, WEIGHT)["loss"] for k in range(MEMBERS)]
    np.testing.assert_allclose(found["member_loss"], each, rtol=1e-12)
    assert found["loss"] == pytest.approx(np.mean(each), rel=1e-12)
    assert isinstance(found["r2"], float)


def test_the_jacobian_is_that_of_the_mean(where: dict[str, Any]) -> None:
    ensemble = new_ensemble(**where).build(3)
    x, h = X[:5], 1e-6
    jacobian = ensemble.jacobian(x)
    assert jacobian.shape == (5, 2, 3)
    for i in range(3):
        step = h * np.eye(3)[i]
        slope = (ensemble.predict(x + step) - ensemble.predict(x - step)) / (2 * h)
        np.testing.assert_allclose(jacobian[:, :, i], slope, atol=1e-8)


def test_derivatives_are_those_of_the_mean(where: dict[str, Any]) -> None:
    ensemble = new_ensemble(network=cr.MLP((8, 1), "tanh"), **where).build(3)
    x, u, h = X[:5], X[5:10], 1e-6
    jacobian, hessian = ensemble.jacobian(x), ensemble.hessian(x)
    up, down = (ensemble.jacobian(x + s * u) for s in (h, -h))
    hu = ensemble.hvp(x, u)
    np.testing.assert_allclose(hu, ((up - down) / (2 * h))[:, 0, :], atol=1e-8)
    np.testing.assert_allclose(np.einsum("bij,bj->bi", hessian, u), hu, atol=1e-12)
    forward = ensemble.jvp(x, u)
    wanted = np.einsum("bmi,bi->bm", jacobian, u)
    np.testing.assert_allclose(forward, wanted, atol=1e-12)
    back = ensemble.vjp(x, np.ones((5, 1)))
    np.testing.assert_allclose(back, jacobian[:, 0, :], atol=1e-12)
    ask: Any
    for ask in (ensemble.parameter_jacobian, lambda x: ensemble.sample_gradients(x, x)):
        with pytest.raises(cr.ArgumentError, match=r"Ask model\.member\(k\)"):
            ask(x)


def test_sequences_and_networks_without_parameters() -> None:
    """Middle axes are rows, never members; where nothing differs, std is 0."""
    x = RNG.normal(size=(6, 4, 3))
    model = new_ensemble(network=cr.MLP((5, 2)), backend="numpy")
    alone = model.member(1)
    for one in (model, alone):
        one.fit(x, x[..., :2], epochs=3, batch_size=4, bootstrap=True)
    assert model.predict(x, return_std=True)[1].shape == (6, 4, 2)
    assert gap(model.get_weights()[0][1], alone.get_weights()[0]) < 1e-12
    plain = new_ensemble(network=cr.Sequential(cr.Tanh())).build(3)
    mean, std = plain.predict(X, return_std=True)
    np.testing.assert_allclose(mean, np.tanh(X))
    np.testing.assert_allclose(std, 0.0, atol=1e-15)


def test_bootstrap_weights_are_counts_of_their_own() -> None:
    counts = [bootstrap.counts(3, k, 1000) for k in range(4)]
    for a in counts:
        assert a.sum() == 1000
        assert (a == np.round(a)).all()
        # A sample is left out with probability (1 - 1/n)^n, about 1/e.
        assert abs(np.mean(a == 0) - math.exp(-1)) < 0.05
    assert np.abs(np.corrcoef(counts) - np.eye(4)).max() < 0.12
    np.testing.assert_array_equal(counts[1], bootstrap.counts(3, 1, 1000))
    assert not np.array_equal(counts[1], bootstrap.counts(4, 1, 1000))


def test_bootstrap_counts_where_an_index_has_32_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in Pyodide, whose bincount refuses the generator's int64."""
    wanted, bincount = bootstrap.counts(3, 0, 50), np.bincount

    def strict(a: Any, **options: Any) -> Any:
        assert a.dtype == np.int32
        return bincount(a, **options)

    monkeypatch.setattr(np, "intp", np.int32)
    monkeypatch.setattr(np, "bincount", strict)
    np.testing.assert_array_equal(bootstrap.counts(3, 0, 50), wanted)
    assert len({random.WEIGHTS, random.ORDER, random.BOOTSTRAP}) == 3


def test_bootstrap_multiplies_the_sample_weights(where: dict[str, Any]) -> None:
    """Member k is the lone model with weights counts(k) · sample_weight."""
    ensemble = new_ensemble(**where)
    alone = ensemble.member(2)
    ensemble.fit(X, Y, epochs=3, sample_weight=WEIGHT, bootstrap=True)
    alone.fit(X, Y, epochs=3, sample_weight=WEIGHT * bootstrap.counts(3, 2, 70))
    assert gap(ensemble.get_weights()[0][2], alone.get_weights()[0]) < 1e-11
    plain = new_ensemble(**where)
    plain.fit(X, Y, epochs=3, sample_weight=WEIGHT)
    assert gap(plain.get_weights()[0], ensemble.get_weights()[0]) > 1e-4
