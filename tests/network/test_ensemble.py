"""Ensembles: each member is the lone model that it would be, and what they give together."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.arrays import random
from chainrule.data import bootstrap
from chainrule.network import chunks

from tests.support.libraries import LIBRARIES, backend
from tests.support.models import bound, standing

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 3))
Y = np.stack([np.sin(X[:, 0]) + X[:, 1], np.cos(X[:, 2])], axis=1)
LABELS = RNG.integers(0, 2, 70)
WEIGHT = RNG.uniform(0.0, 2.0, 70)
MEMBERS = 3


def _normed() -> cr.Layer:
    return cr.Sequential(
        cr.Dense(8, bias=False),
        cr.BatchNorm(),
        cr.GELU(),
        cr.Dropout(0.2),
        cr.Residual(cr.Sequential(cr.Dense(8), cr.LayerNorm(), cr.Tanh())),
        cr.Dense(2),
    )


def _ensemble(members: int | None = MEMBERS, **options: Any) -> cr.Model:
    options = {"optimizer": cr.Adam(1e-2), "dtype": "float64", "seed": 3, **options}
    network = options.pop("network", None) or cr.MLP((8, 2), "tanh")
    return cr.Model(network, members=members, **options)


def _gap(a: Any, b: Any) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def _host(a: Any) -> Any:
    return np.asarray(cr.backends.of(a).to_numpy(a))


# Where members begin.


def test_weights_come_from_the_seed_and_the_member(where: dict[str, Any]) -> None:
    ensemble = _ensemble(network=_normed(), **where).build(3)
    assert ensemble.bound is not None
    theta, state = ensemble.get_weights()
    assert theta.shape == (MEMBERS, bound(ensemble).size)
    assert state.shape == (MEMBERS, bound(ensemble).state_size)
    lone = _ensemble(None, network=_normed(), **where).build(3)
    np.testing.assert_array_equal(theta[0], lone.get_weights()[0])
    for k in range(MEMBERS):
        np.testing.assert_array_equal(theta[k], bound(ensemble).initial(3, k)[0])
    # More members change nothing about the first.
    more = _ensemble(5, network=_normed(), **where).build(3)
    np.testing.assert_array_equal(more.get_weights()[0][:MEMBERS], theta)
    assert not np.array_equal(theta[0], theta[1])


def test_parameters_have_an_axis_of_members(where: dict[str, Any]) -> None:
    ensemble = _ensemble(**where).build(3)
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


# Member by member.

CASES: dict[str, dict[str, Any]] = {
    "tanh, Adam": {"network": cr.MLP((8, 2), "tanh")},
    "BatchNorm and Dropout, AdamW clipped": {
        "network": _normed(),
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
    ensemble = _ensemble(**CASES[case], **where)
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
        assert _gap(theta[k], model.get_weights()[0]) < 1e-9
        np.testing.assert_allclose(state[k], model.get_weights()[1], rtol=1e-9)
        losses = [values[k] for values in history["member_loss"]]
        np.testing.assert_allclose(losses, one["loss"], rtol=1e-9)
        assert strict or one["loss"][-1] < one["loss"][0]
    mean = np.mean(np.stack(history["member_loss"]), axis=1)
    np.testing.assert_allclose(history["loss"], mean, rtol=1e-15)
    assert all(type(value) is float for value in history["loss"])


def test_each_member_is_its_lone_model_in_float32(where: dict[str, Any]) -> None:
    ensemble = _ensemble(dtype="float32", **where)
    alone = [ensemble.member(k) for k in range(MEMBERS)]
    ensemble.fit(X, Y, epochs=40, batch_size=16)
    for k, model in enumerate(alone):
        model.fit(X, Y, epochs=40, batch_size=16)
        theta = ensemble.get_weights()[0]
        assert theta.dtype == "float32"
        assert _gap(theta[k], model.get_weights()[0]) < 1e-4


@pytest.mark.parametrize("where_to", LIBRARIES[1:])
def test_backends_agree(where_to: str) -> None:
    """Bootstrap samples and rates are the same everywhere, so whole trajectories are."""
    ours, theirs = (
        _ensemble(optimizer=cr.RMSprop([1e-3, 1e-2, 3e-3]), **backend(name))
        for name in ("numpy", where_to)
    )
    for model in (ours, theirs):
        model.fit(X, Y, epochs=40, batch_size=16, bootstrap=True)
    assert _gap(theirs.get_weights()[0], ours.get_weights()[0]) < 1e-10


def test_a_trained_member_goes_on(where: dict[str, Any]) -> None:
    """Slots, counters and history go along; the ensemble is left alone."""
    ensemble = _ensemble(network=_normed(), **where)
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
    assert _gap(member.get_weights()[0], ensemble.get_weights()[0][2]) < 1e-9
    assert len(member.history["loss"]) == 6


def test_a_built_ensemble_has_untrained_members() -> None:
    built, lazy = _ensemble().build(3), _ensemble()
    for k in range(MEMBERS):
        a = built.member(k).get_weights()[0]
        np.testing.assert_array_equal(a, lazy.member(k).build(3).get_weights()[0])


# What they give together.


def test_mean_and_standard_deviation(where: dict[str, Any]) -> None:
    ensemble = _ensemble(**where)
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
    ensemble = _ensemble(**where).build(3)
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
    ensemble = _ensemble(backend="numpy").build(3)
    whole = [*ensemble.predict(X, return_std=True), ensemble.predict_members(X)]
    monkeypatch.setattr(chunks, "CHUNK", 16)
    parts = [*ensemble.predict(X, return_std=True), ensemble.predict_members(X)]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_probabilities_are_the_mean_of_the_members(where: dict[str, Any]) -> None:
    ensemble = _ensemble(loss="cross_entropy", metrics=["accuracy"], **where)
    history = ensemble.fit(X, LABELS, epochs=2)
    each = [ensemble.member(k).predict_proba(X) for k in range(MEMBERS)]
    p = ensemble.predict_proba(X)
    np.testing.assert_allclose(p, np.mean(each, axis=0), rtol=1e-12)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    accuracy = np.mean(ensemble.predict(X).argmax(axis=1) == LABELS)
    assert history["accuracy"][-1] == accuracy


def test_evaluate_is_the_mean_of_the_members_losses(where: dict[str, Any]) -> None:
    ensemble = _ensemble(metrics=["r2"], **where).build(3)
    found = ensemble.evaluate(X, Y, WEIGHT)
    each = [ensemble.member(k).evaluate(X, Y, WEIGHT)["loss"] for k in range(MEMBERS)]
    np.testing.assert_allclose(found["member_loss"], each, rtol=1e-12)
    assert found["loss"] == pytest.approx(np.mean(each), rel=1e-12)
    assert isinstance(found["r2"], float)


def test_the_jacobian_is_that_of_the_mean(where: dict[str, Any]) -> None:
    ensemble = _ensemble(**where).build(3)
    x, h = X[:5], 1e-6
    jacobian = ensemble.jacobian(x)
    assert jacobian.shape == (5, 2, 3)
    for i in range(3):
        step = h * np.eye(3)[i]
        slope = (ensemble.predict(x + step) - ensemble.predict(x - step)) / (2 * h)
        np.testing.assert_allclose(jacobian[:, :, i], slope, atol=1e-8)


def test_derivatives_are_those_of_the_mean(where: dict[str, Any]) -> None:
    ensemble = _ensemble(network=cr.MLP((8, 1), "tanh"), **where).build(3)
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
    for ask in (ensemble.parameter_jacobian, lambda x: ensemble.sample_gradients(x, x)):
        with pytest.raises(cr.ArgumentError, match=r"Ask model\.member\(k\)"):
            ask(x)


def test_sequences_and_networks_without_parameters() -> None:
    """Middle axes are rows, never members; where nothing differs, std is 0."""
    x = RNG.normal(size=(6, 4, 3))
    model = _ensemble(network=cr.MLP((5, 2)), backend="numpy")
    alone = model.member(1)
    for one in (model, alone):
        one.fit(x, x[..., :2], epochs=3, batch_size=4, bootstrap=True)
    assert model.predict(x, return_std=True)[1].shape == (6, 4, 2)
    assert _gap(model.get_weights()[0][1], alone.get_weights()[0]) < 1e-12
    plain = _ensemble(network=cr.Sequential(cr.Tanh())).build(3)
    mean, std = plain.predict(X, return_std=True)
    np.testing.assert_allclose(mean, np.tanh(X))
    np.testing.assert_allclose(std, 0.0, atol=1e-15)


# Bootstrap.


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
    ensemble = _ensemble(**where)
    alone = ensemble.member(2)
    ensemble.fit(X, Y, epochs=3, sample_weight=WEIGHT, bootstrap=True)
    alone.fit(X, Y, epochs=3, sample_weight=WEIGHT * bootstrap.counts(3, 2, 70))
    assert _gap(ensemble.get_weights()[0][2], alone.get_weights()[0]) < 1e-11
    plain = _ensemble(**where)
    plain.fit(X, Y, epochs=3, sample_weight=WEIGHT)
    assert _gap(plain.get_weights()[0], ensemble.get_weights()[0]) > 1e-4


# A sweep.


def test_the_learning_rate_of_a_sweep() -> None:
    rates = np.array([1e-3, 1e-2, 1e-1])
    model = _ensemble(optimizer=cr.SGD(rates)).build(3)
    assert model.optimizer.learning_rate == (1e-3, 1e-2, 1e-1)
    assert model.optimizer == cr.SGD([1e-3, 1e-2, 1e-1])
    np.testing.assert_allclose(model.learning_rate, rates)
    model.learning_rate = 0.5
    np.testing.assert_allclose(model.learning_rate, 0.5)
    model.learning_rate = rates / 2
    np.testing.assert_allclose(model.learning_rate, rates / 2)
    assert model.member(1).learning_rate == pytest.approx(5e-3)
    # From a single rate to one for each member.
    other = _ensemble(optimizer=cr.SGD(1e-2))
    other.learning_rate = rates
    alone = [other.member(k) for k in range(MEMBERS)]
    other.fit(X, Y, epochs=2)
    for k, one in enumerate(alone):
        assert one.learning_rate == pytest.approx(rates[k])
        one.fit(X, Y, epochs=2)
        assert _gap(other.get_weights()[0][k], one.get_weights()[0]) < 1e-12


def test_scikit_learn_s_velocity_in_a_sweep() -> None:
    """The scalar that looks back at the last rate has an axis of members, too."""
    decay = cr.schedules.InverseTimeDecay(1e-2, 3)
    optimizer = cr.SGD([decay, 1e-2, decay], momentum=0.9, rate_in_velocity=True)
    model = _ensemble(optimizer=optimizer, backend="numpy")
    alone = [model.member(k) for k in range(MEMBERS)]
    for one in (model, *alone):
        one.fit(X, Y, epochs=2, batch_size=16)
        one.fit(X, Y, epochs=2, batch_size=16)
    for k, one in enumerate(alone):
        assert _gap(model.get_weights()[0][k], one.get_weights()[0]) < 1e-12


def test_a_plateau_reduces_all_rates() -> None:
    model = _ensemble(optimizer=cr.SGD([1e-9, 1e-8, 1e-10]))
    plateau = cr.callbacks.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=1e-10)
    model.fit(X, Y, epochs=4, callbacks=[plateau])
    np.testing.assert_allclose(model.learning_rate, [5e-10, 5e-9, 1e-10])


# Early stopping.


@pytest.mark.parametrize("name", [*LIBRARIES, "the last weights"])
def test_members_stop_one_by_one(name: str) -> None:
    """Each as if it had been trained alone; the fit ends with the last."""
    restore = name in LIBRARIES
    where = backend(name if restore else "numpy")

    def stopping() -> cr.EarlyStopping:
        return cr.EarlyStopping(patience=2, restore_best_weights=restore)

    rates = [0.3, 0.5, 0.02]
    model = _ensemble(optimizer=cr.SGD(rates, momentum=0.5), **where)
    alone = [model.member(k) for k in range(MEMBERS)]
    how: dict[str, Any] = {"epochs": 30, "batch_size": 16, "validation_split": 0.3}
    together = stopping()
    history = model.fit(X, Y, callbacks=[together], **how)
    ends = []
    for k, one in enumerate(alone):
        hook = stopping()
        ends.append(len(one.fit(X, Y, callbacks=[hook], **how)["loss"]))
        assert hook.best_epoch == together.best_epoch[k]
        assert hook.stopped_epoch == together.stopped_epoch[k]
        assert hook.best == pytest.approx(together.best[k], rel=1e-9)
        assert _gap(model.get_weights()[0][k], one.get_weights()[0]) < 1e-9
    assert len(set(ends)) > 1  # they did not all stop together
    assert len(history["loss"]) == max(ends)


def test_a_stopped_member_stands_still() -> None:
    model = _ensemble(backend="numpy")
    seen = []

    def stop(epoch: int, logs: dict[str, Any]) -> None:
        seen.append(model.get_weights()[0])
        model.stopped_members = np.array([False, epoch >= 1, False])

    model.fit(
        X, Y, epochs=4, callbacks=[cr.callbacks.LambdaCallback(on_epoch_end=stop)]
    )
    np.testing.assert_array_equal(seen[1][1], seen[3][1])
    assert not np.array_equal(seen[1][0], seen[3][0])
    model.fit(X, Y, epochs=1)  # another fit begins with all of them
    assert not np.array_equal(seen[3][1], model.get_weights()[0][1])


def test_early_stopping_of_members_goes_on_from_its_state() -> None:
    rates = [0.3, 0.5, 0.02]
    how: dict[str, Any] = {"batch_size": 16, "validation_data": (X[:20], Y[:20])}

    def model() -> cr.Model:
        return _ensemble(optimizer=cr.SGD(rates, momentum=0.5), backend="numpy")

    def stopping() -> cr.EarlyStopping:
        return cr.EarlyStopping(patience=2)

    straight, hook = model(), stopping()
    straight.fit(X[20:], Y[20:], epochs=12, callbacks=[hook], **how)
    first, cut = model(), cr.EarlyStopping(patience=2)
    half = next(e for e in hook.stopped_epoch if e is not None) + 1
    # Interrupted after the epoch in which the first member had stopped: the weights of
    # the fit are those of its end, so on_train_end must not come in between.
    cut.on_train_end = lambda logs: None  # type: ignore[method-assign]
    first.fit(X[20:], Y[20:], epochs=half, callbacks=[cut], **how)
    second = stopping()
    second.restore(pickle.loads(pickle.dumps(cut.state())))
    first.fit(X[20:], Y[20:], epochs=12 - half, callbacks=[second], **how)
    assert second.stopped_epoch == hook.stopped_epoch
    assert second.best_epoch == hook.best_epoch
    for a, b in zip(first.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_metric_stops_all_members() -> None:
    model = _ensemble(loss="cross_entropy", metrics=["accuracy"])
    hook = cr.EarlyStopping("accuracy", patience=1)
    model.fit(X, LABELS, epochs=40, callbacks=[hook])
    assert isinstance(hook.best_epoch, int)
    assert isinstance(hook.stopped_epoch, int)
    accuracy = np.mean(model.predict(X).argmax(axis=1) == LABELS)
    assert accuracy == pytest.approx(hook.best)


# Life of a model.


def test_pickle_to_and_weights(where: dict[str, Any]) -> None:
    model = _ensemble(network=_normed(), **where)
    model.fit(X, Y, epochs=2)
    for twin in (pickle.loads(pickle.dumps(model)), model.to("numpy")):
        assert twin.members == MEMBERS
        np.testing.assert_allclose(twin.predict(X), model.predict(X), rtol=1e-10)
        twin.fit(X, Y, epochs=1)
        assert len(model.history["loss"]) == 2
    member = pickle.loads(pickle.dumps(_ensemble(**where).member(2)))
    np.testing.assert_array_equal(
        member.build(3).get_weights()[0], _ensemble().build(3).get_weights()[0][2]
    )
    other = _ensemble(network=_normed(), **where).build(3)
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    text = "weights must have the shapes .*; got"
    with pytest.raises(cr.ShapeError, match=text):
        other.set_weights(model.member(0).get_weights())
    assert "3 members" in model.summary()
    assert "members=3" in repr(model)


def test_files_hold_all_members(tmp_path: Any, where: dict[str, Any]) -> None:
    optimizer = cr.Adam([1e-3, cr.schedules.InverseTimeDecay(1e-2, 9), 1e-3])
    model = _ensemble(network=_normed(), optimizer=optimizer, **where)
    model.fit(X, Y, epochs=2, batch_size=16)
    model.learning_rate = np.array([1e-3, 2e-3, 3e-3])
    path = tmp_path / "ensemble.safetensors"
    model.save(path, include_optimizer=True)
    engine = model.backend
    twin = cr.load(path, engine)
    assert twin.members == MEMBERS
    assert twin.optimizer == optimizer
    np.testing.assert_array_equal(twin.learning_rate, model.learning_rate)
    for one in (model, twin):
        one.fit(X, Y, epochs=1, batch_size=16, bootstrap=True)
    for a, b in zip(twin.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # A member that is saved is still that member: its bootstrap sample is its own.
    model.member(2).save(path, include_optimizer=True)
    alone = cr.load(path, engine)
    assert alone.members is None
    assert alone.optimizer == cr.Adam(1e-3)
    for one in (model, alone):
        one.fit(X, Y, epochs=1, batch_size=16, bootstrap=True)
    assert _gap(alone.get_weights()[0], model.get_weights()[0][2]) < 1e-11


def test_a_fit_of_an_ensemble_is_resumed(tmp_path: Any) -> None:
    """Cut within an epoch, with a member that stands still: the same bits."""
    path = tmp_path / "run.checkpoint"
    how: dict[str, Any] = {"batch_size": 16, "validation_split": 0.3, "bootstrap": True}

    def model() -> cr.Model:
        optimizer = cr.SGD([0.3, 0.5, 0.02], momentum=0.5)
        return _ensemble(optimizer=optimizer, backend="numpy")

    straight, whole = model(), cr.EarlyStopping(patience=2)
    history = straight.fit(X, Y, epochs=12, callbacks=[whole], **how)
    stop = min(e for e in whole.stopped_epoch if e is not None) + 1

    class Kill(Exception):
        pass

    def kill(epoch: int, logs: dict[str, Any]) -> None:
        if epoch == stop:
            raise Kill

    killed = [
        cr.EarlyStopping(patience=2),
        cr.callbacks.Checkpoint(path, every_steps=2),
        cr.callbacks.LambdaCallback(on_epoch_end=kill),
    ]
    with pytest.raises(Kill):
        model().fit(X, Y, epochs=12, callbacks=killed, **how)
    resumed, hook = model(), cr.EarlyStopping(patience=2)
    joined = resumed.fit(X, Y, epochs=12, callbacks=[hook], resume=path, **how)
    assert hook.stopped_epoch == whole.stopped_epoch
    for a, b in zip(resumed.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(joined["member_loss"], history["member_loss"])
    assert joined["loss"] == history["loss"]
    with pytest.raises(cr.ChainruleError, match="members was 3 and is nothing"):
        model().member(0).fit(X, Y, epochs=12, resume=path, **how)


def test_divergence_says_whose(where: dict[str, Any]) -> None:
    """One member's rate explodes: all keep the last epoch in which all were finite."""
    explode = [1e-2, lambda step: 1e-2 if step < 15 else 1e200, 1e-2]
    model = _ensemble(optimizer=cr.SGD(explode), **where)
    calm = _ensemble(optimizer=cr.SGD([1e-2] * 3), **where)
    calm.fit(X, Y, epochs=3, batch_size=16)
    with pytest.raises(cr.DivergenceError, match="of member 1 stopped") as caught:
        model.fit(X, Y, epochs=20, batch_size=16)
    assert (caught.value.members, caught.value.epochs) == ((1,), 3)
    np.testing.assert_array_equal(model.get_weights()[0], calm.get_weights()[0])
    assert model.history["loss"] == calm.history["loss"]
    model.member(0).fit(X, Y, epochs=1)


def test_logs_of_an_ensemble(tmp_path: Any) -> None:
    model = _ensemble(backend="numpy")
    path = tmp_path / "log.csv"
    history = model.fit(
        X,
        Y,
        epochs=2,
        validation_split=0.2,
        callbacks=[cr.callbacks.CSVLogger(path)],
    )
    assert path.read_text(encoding="utf-8").splitlines()[0] == "epoch,loss,val_loss"
    assert set(history) == {"loss", "member_loss", "val_loss", "val_member_loss"}
    assert history["val_member_loss"][0].shape == (MEMBERS,)
    assert set(history.member(0)) == {"loss", "val_loss"}
    assert "loss=" in repr(history)
    pytest.importorskip("matplotlib").use("agg")
    (line, _) = history.plot().get_lines()
    np.testing.assert_array_equal(line.get_ydata(), history["loss"])


def test_two_callbacks_hold_members() -> None:
    """Whoever was stopped by the one is not set going by the other."""
    model = _ensemble(optimizer=cr.SGD([1e-9, 1e-2, 1e-2]), backend="numpy")
    stops = cr.EarlyStopping(patience=1, min_delta=1e-4)
    never = cr.EarlyStopping(patience=100)
    model.fit(X, Y, epochs=3, callbacks=[stops, never])
    assert model.stopped_members.tolist() == [True, False, False]


# Errors.


@pytest.mark.parametrize(
    ("members", "error", "got"),
    [
        (0, cr.ArgumentError, "0"),
        (-2, cr.ArgumentError, "-2"),
        (True, cr.ArgumentTypeError, "True"),
        (2.0, cr.ArgumentTypeError, "2.0"),
        ("8", cr.ArgumentTypeError, "'8'"),
    ],
)
def test_members_must_be_a_number_of_at_least_1(
    members: Any, error: type[Exception], got: str
) -> None:
    with pytest.raises(
        error, match=f"members must be an integer of at least 1; got {got}"
    ):
        _ensemble(members)


def test_members_that_are_not_there() -> None:
    model = _ensemble()
    with pytest.raises(cr.ArgumentError, match=r"k must be in 0 \.\.\. 2; got 3"):
        model.member(3)
    with pytest.raises(cr.ArgumentError, match="k must be an integer of at least 0"):
        model.member(-1)
    with pytest.raises(cr.ArgumentTypeError, match="k must be an integer"):
        model.member(1.0)  # type: ignore[arg-type]
    lone = _ensemble(None).build(3)
    with pytest.raises(cr.ArgumentError, match=r"member\(k\) needs an ensemble"):
        lone.member(0)
    with pytest.raises(
        cr.ArgumentError, match=r"return_std=True.* or make an ensemble"
    ):
        lone.predict(X, return_std=True)
    with pytest.raises(cr.ArgumentError, match="predict_members needs an ensemble"):
        lone.predict_members(X)
    with pytest.raises(cr.ArgumentError, match="method must be one of"):
        model.build(3).predict(X, return_std=True, method="ensembel")
    with pytest.raises(cr.NotBuiltError):
        _ensemble().predict(X, return_std=True)


def test_rates_that_do_not_fit_the_members() -> None:
    with pytest.raises(cr.ArgumentError, match=r"2 rates.*an ensemble of 3"):
        _ensemble(optimizer=cr.Adam([1e-3, 1e-2]))
    with pytest.raises(cr.ArgumentError, match=r"2 rates.*a single network"):
        _ensemble(None, optimizer=cr.Adam([1e-3, 1e-2]))
    model = _ensemble()
    with pytest.raises(cr.ArgumentError, match="2 rates"):
        model.optimizer = cr.Adam([1e-3, 1e-2])
    assert model.optimizer == cr.Adam(1e-2)
    with pytest.raises(cr.ArgumentError, match="one rate for each member; got none"):
        cr.Adam([])
    with pytest.raises(cr.ArgumentError, match=r"learning_rate\[1\] must be"):
        cr.Adam([1e-3, -1.0])
    with pytest.raises(cr.ArgumentTypeError, match=r"learning_rate\[0\] must be"):
        cr.Adam(["fast", 1e-3])
    with pytest.raises(cr.ShapeError, match="each of the 3 members; got 2"):
        model.learning_rate = [1e-3, 1e-2]
    with pytest.raises(cr.ArgumentTypeError, match="bootstrap must be"):
        model.fit(X, Y, bootstrap=1)  # type: ignore[arg-type]
    assert not model.built


class _Problem(cr.optimizers.ProblemOptimizer):
    pass


def test_whole_problems_are_of_one_network() -> None:
    with pytest.raises(cr.ArgumentError, match=r"train model\.member\(k\)"):
        _ensemble(optimizer=_Problem())
