"""Ensembles in a fit and after it: sweeps, stopping, files, errors."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr

from tests.support.ensembles import LABELS, MEMBERS, X, Y, gap, new_ensemble, normed
from tests.support.libraries import LIBRARIES, backend


def test_the_learning_rate_of_a_sweep() -> None:
    rates = np.array([1e-3, 1e-2, 1e-1])
    model = new_ensemble(optimizer=cr.SGD(rates)).build(3)
    assert model.optimizer.learning_rate == (1e-3, 1e-2, 1e-1)
    assert model.optimizer == cr.SGD([1e-3, 1e-2, 1e-1])
    np.testing.assert_allclose(model.learning_rate, rates)
    model.learning_rate = 0.5
    np.testing.assert_allclose(model.learning_rate, 0.5)
    model.learning_rate = rates / 2
    np.testing.assert_allclose(model.learning_rate, rates / 2)
    assert model.member(1).learning_rate == pytest.approx(5e-3)
    # From a single rate to one for each member.
    other = new_ensemble(optimizer=cr.SGD(1e-2))
    other.learning_rate = rates
    alone = [other.member(k) for k in range(MEMBERS)]
    other.fit(X, Y, epochs=2)
    for k, one in enumerate(alone):
        assert one.learning_rate == pytest.approx(rates[k])
        one.fit(X, Y, epochs=2)
        assert gap(other.get_weights()[0][k], one.get_weights()[0]) < 1e-12


def test_scikit_learn_s_velocity_in_a_sweep() -> None:
    """The scalar that looks back at the last rate has an axis of members, too."""
    decay = cr.schedules.InverseTimeDecay(1e-2, 3)
    optimizer = cr.SGD([decay, 1e-2, decay], momentum=0.9, rate_in_velocity=True)
    model = new_ensemble(optimizer=optimizer, backend="numpy")
    alone = [model.member(k) for k in range(MEMBERS)]
    for one in (model, *alone):
        one.fit(X, Y, epochs=2, batch_size=16)
        one.fit(X, Y, epochs=2, batch_size=16)
    for k, one in enumerate(alone):
        assert gap(model.get_weights()[0][k], one.get_weights()[0]) < 1e-12


def test_a_plateau_reduces_all_rates() -> None:
    model = new_ensemble(optimizer=cr.SGD([1e-9, 1e-8, 1e-10]))
    plateau = cr.callbacks.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=1e-10)
    model.fit(X, Y, epochs=4, callbacks=[plateau])
    np.testing.assert_allclose(model.learning_rate, [5e-10, 5e-9, 1e-10])


@pytest.mark.parametrize("name", [*LIBRARIES, "the last weights"])
def test_members_stop_one_by_one(name: str) -> None:
    """Each as if it had been trained alone; the fit ends with the last."""
    restore = name in LIBRARIES
    where = backend(name if restore else "numpy")

    def stopping() -> cr.EarlyStopping:
        return cr.EarlyStopping(patience=2, restore_best_weights=restore)

    rates = [0.3, 0.5, 0.02]
    model = new_ensemble(optimizer=cr.SGD(rates, momentum=0.5), **where)
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
        assert gap(model.get_weights()[0][k], one.get_weights()[0]) < 1e-9
    assert len(set(ends)) > 1  # they did not all stop together
    assert len(history["loss"]) == max(ends)


def test_a_stopped_member_stands_still() -> None:
    model = new_ensemble(backend="numpy")
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
        return new_ensemble(optimizer=cr.SGD(rates, momentum=0.5), backend="numpy")

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
    model = new_ensemble(loss="cross_entropy", metrics=["accuracy"])
    hook = cr.EarlyStopping("accuracy", patience=1)
    model.fit(X, LABELS, epochs=40, callbacks=[hook])
    assert isinstance(hook.best_epoch, int)
    assert isinstance(hook.stopped_epoch, int)
    accuracy = np.mean(model.predict(X).argmax(axis=1) == LABELS)
    assert accuracy == pytest.approx(hook.best)


def test_pickle_to_and_weights(where: dict[str, Any]) -> None:
    model = new_ensemble(network=normed(), **where)
    model.fit(X, Y, epochs=2)
    for twin in (pickle.loads(pickle.dumps(model)), model.to("numpy")):
        assert twin.members == MEMBERS
        np.testing.assert_allclose(twin.predict(X), model.predict(X), rtol=1e-10)
        twin.fit(X, Y, epochs=1)
        assert len(model.history["loss"]) == 2
    member = pickle.loads(pickle.dumps(new_ensemble(**where).member(2)))
    np.testing.assert_array_equal(
        member.build(3).get_weights()[0], new_ensemble().build(3).get_weights()[0][2]
    )
    other = new_ensemble(network=normed(), **where).build(3)
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    text = "weights must have the shapes .*; got"
    with pytest.raises(cr.ShapeError, match=text):
        other.set_weights(model.member(0).get_weights())
    assert "3 members" in model.summary()
    assert "members=3" in repr(model)


def test_files_hold_all_members(tmp_path: Any, where: dict[str, Any]) -> None:
    optimizer = cr.Adam([1e-3, cr.schedules.InverseTimeDecay(1e-2, 9), 1e-3])
    model = new_ensemble(network=normed(), optimizer=optimizer, **where)
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
    assert gap(alone.get_weights()[0], model.get_weights()[0][2]) < 1e-11


def test_a_fit_of_an_ensemble_is_resumed(tmp_path: Any) -> None:
    """Cut within an epoch, with a member that stands still: the same bits."""
    path = tmp_path / "run.checkpoint"
    how: dict[str, Any] = {"batch_size": 16, "validation_split": 0.3, "bootstrap": True}

    def model() -> cr.Model:
        optimizer = cr.SGD([0.3, 0.5, 0.02], momentum=0.5)
        return new_ensemble(optimizer=optimizer, backend="numpy")

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
    model = new_ensemble(optimizer=cr.SGD(explode), **where)  # type: ignore[arg-type]
    calm = new_ensemble(optimizer=cr.SGD([1e-2] * 3), **where)
    calm.fit(X, Y, epochs=3, batch_size=16)
    with pytest.raises(cr.DivergenceError, match="of member 1 stopped") as caught:
        model.fit(X, Y, epochs=20, batch_size=16)
    assert (caught.value.members, caught.value.epochs) == ((1,), 3)
    np.testing.assert_array_equal(model.get_weights()[0], calm.get_weights()[0])
    assert model.history["loss"] == calm.history["loss"]
    model.member(0).fit(X, Y, epochs=1)


def test_logs_of_an_ensemble(tmp_path: Any) -> None:
    model = new_ensemble(backend="numpy")
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
    model = new_ensemble(optimizer=cr.SGD([1e-9, 1e-2, 1e-2]), backend="numpy")
    stops = cr.EarlyStopping(patience=1, min_delta=1e-4)
    never = cr.EarlyStopping(patience=100)
    model.fit(X, Y, epochs=3, callbacks=[stops, never])
    assert model.stopped_members.tolist() == [True, False, False]


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
        new_ensemble(members)


def test_members_that_are_not_there() -> None:
    model = new_ensemble()
    with pytest.raises(cr.ArgumentError, match=r"k must be in 0 \.\.\. 2; got 3"):
        model.member(3)
    with pytest.raises(cr.ArgumentError, match="k must be an integer of at least 0"):
        model.member(-1)
    with pytest.raises(cr.ArgumentTypeError, match="k must be an integer"):
        model.member(1.0)  # type: ignore[arg-type]
    lone = new_ensemble(None).build(3)
    with pytest.raises(cr.ArgumentError, match=r"member\(k\) needs an ensemble"):
        lone.member(0)
    with pytest.raises(
        cr.ArgumentError, match=r"return_std=True.* or make an ensemble"
    ):
        lone.predict(X, return_std=True)
    with pytest.raises(cr.ArgumentError, match="predict_members needs an ensemble"):
        lone.predict_members(X)
    with pytest.raises(cr.ArgumentError, match="method must be one of"):
        model.build(3).predict(X, return_std=True, method="ensembel")  # type: ignore[call-overload]
    with pytest.raises(cr.NotBuiltError):
        new_ensemble().predict(X, return_std=True)


def test_rates_that_do_not_fit_the_members() -> None:
    with pytest.raises(cr.ArgumentError, match=r"2 rates.*an ensemble of 3"):
        new_ensemble(optimizer=cr.Adam([1e-3, 1e-2]))
    with pytest.raises(cr.ArgumentError, match=r"2 rates.*a single network"):
        new_ensemble(None, optimizer=cr.Adam([1e-3, 1e-2]))
    model = new_ensemble()
    with pytest.raises(cr.ArgumentError, match="2 rates"):
        model.optimizer = cr.Adam([1e-3, 1e-2])
    assert model.optimizer == cr.Adam(1e-2)
    with pytest.raises(cr.ArgumentError, match="one rate for each member; got none"):
        cr.Adam([])
    with pytest.raises(cr.ArgumentError, match=r"learning_rate\[1\] must be"):
        cr.Adam([1e-3, -1.0])
    with pytest.raises(cr.ArgumentTypeError, match=r"learning_rate\[0\] must be"):
        cr.Adam(["fast", 1e-3])  # type: ignore[list-item]
    with pytest.raises(cr.ShapeError, match="each of the 3 members; got 2"):
        model.learning_rate = [1e-3, 1e-2]
    with pytest.raises(cr.ArgumentTypeError, match="bootstrap must be"):
        model.fit(X, Y, bootstrap=1)  # type: ignore[arg-type]
    assert not model.built


class _Problem(cr.optimizers.ProblemOptimizer):
    pass


def test_whole_problems_are_of_one_network() -> None:
    with pytest.raises(cr.ArgumentError, match=r"train model\.member\(k\)"):
        new_ensemble(optimizer=_Problem())
