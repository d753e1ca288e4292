"""Callbacks, validation and stopping of estimators."""

from __future__ import annotations

import os
import pickle
import signal
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import chainrule as cr
from chainrule.callbacks import Callback, LambdaCallback
from chainrule.network import chunks
from chainrule.training.problem import Problem

from tests.support.estimators import (
    XC,
    YC,
    X,
    Y,
    classifier,
    everywhere,
    regressor,
)
from tests.support.faults import POSIX

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@everywhere
def test_validation_data(backend: str) -> None:
    e = regressor(validation_data=(X[:20], Y[:20]), backend=backend).fit(X, Y)
    assert len(e.validation_loss_curve_) == e.n_iter_
    wanted = 0.5 * np.mean((e.predict(X[:20]) - Y[:20]) ** 2)
    assert e.validation_loss_curve_[-1] == pytest.approx(wanted, rel=1e-9)
    plain = regressor().fit(X, Y)
    np.testing.assert_allclose(e.coefs_[0], plain.coefs_[0], rtol=1e-9)


def test_early_stopping_with_partial_fit() -> None:
    e = classifier(
        early_stopping=True, validation_data=(XC, YC), n_iter_no_change=3, tol=0.05
    )
    for _ in range(200):
        e.partial_fit(XC, YC, classes=[0, 1, 2])
        if e.stopped_:
            break
    assert e.stopped_
    assert (
        e.score(XC, YC) == e.best_validation_score_ == max(e.validation_scores_ or [])
    )
    before = e.coefs_[0].copy()
    e.partial_fit(XC, YC)
    np.testing.assert_array_equal(e.coefs_[0], before)


def test_a_scorer_for_early_stopping() -> None:
    from sklearn.metrics import mean_absolute_error

    frame = pd.DataFrame(X, columns=list("abcd"))
    e = regressor(
        early_stopping=True,
        scoring="neg_mean_absolute_error",
        validation_data=(frame, Y),
    ).fit(frame, Y)
    wanted = -mean_absolute_error(Y, e.predict(frame))
    assert e.best_validation_score_ == pytest.approx(wanted)
    by_loss = regressor(early_stopping=True, scoring="loss").fit(X, Y)
    scores = np.array(by_loss.validation_scores_)
    np.testing.assert_allclose(scores, -np.array(by_loss.validation_loss_curve_))


@everywhere
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks(solver: str, backend: str) -> None:
    seen = []
    stop = cr.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append((epoch, sorted(logs)))
    )
    early = cr.EarlyStopping(monitor="val_loss", patience=2, min_delta=10.0)
    e = regressor(
        solver=solver,
        callbacks=[stop, early],
        validation_data=(X, Y),
        backend=backend,
    ).fit(X, Y)
    assert e.n_iter_ == 3
    assert seen[0] == (0, ["loss", "val_loss", "val_score"])
    assert len(seen) == 3
    # The best weights came back: those after the first epoch.
    wanted = e.validation_loss_curve_[0]
    assert 0.5 * np.mean((e.predict(X) - Y) ** 2) == pytest.approx(wanted, rel=1e-6)


def test_a_callback_changes_the_learning_rate() -> None:
    halve = cr.callbacks.ReduceLROnPlateau(
        monitor="loss", factor=0.5, patience=1, min_delta=100.0
    )
    a = regressor(callbacks=[halve], solver="sgd").fit(X, Y)
    b = regressor(solver="sgd").fit(X, Y)
    assert a.loss_curve_[0] == pytest.approx(b.loss_curve_[0])
    assert abs(a.loss_curve_[-1] - b.loss_curve_[-1]) > 1e-4


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    regressor(progress=True).fit(X, Y)
    assert "loss=" in capsys.readouterr().err
    regressor().fit(X, Y)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "params",
    [
        {"early_stopping": True, "n_iter_no_change": 2, "tol": 10.0},
        {"n_iter_no_change": 2, "tol": 10.0},
        {"solver": "lbfgs"},
    ],
)
def test_the_last_line_of_the_bar(
    params: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = regressor(progress=True, **params).fit(X, Y)
    line = capsys.readouterr().err.rstrip().rpartition("\r")[2]
    assert fitted.solver == "lbfgs" or fitted.n_iter_ < 15
    assert f"epoch {fitted.n_iter_}/15" in line
    if fitted.solver != "lbfgs":  # its last line search has no epoch of its own
        assert f"loss={fitted.loss_curve_[-1]:.3g}" in line
    if fitted.early_stopping:
        assert f"val_loss={fitted.validation_loss_curve_[-1]:.3g}" in line


@everywhere
@pytest.mark.parametrize("optimizer", [None, cr.Adam(), cr.RMSprop(), cr.Adagrad()])
def test_slots_that_overflow_are_told(backend: str, optimizer: Any) -> None:
    """A gradient of 2e21, whose square is not in float32: nothing moves ever after."""
    x = X.astype(np.float32)
    large = (x[:, 0] * 1e17).astype(np.float32)
    given: dict[str, Any] = {
        "hidden_layer_sizes": (),
        "backend": backend,
        "optimizer": optimizer,
    }
    fitted = regressor(**given)
    with pytest.raises(cr.DivergenceError, match=r"optimizer's slots .* overflowed"):
        fitted.fit(x * np.float32(1e3), large)
    assert np.isfinite(fitted.coefs_[0]).all()
    with pytest.raises(cr.DivergenceError, match="Scale X and y"):
        fitted.partial_fit(x * np.float32(1e3), large)
    before = fitted.coefs_[0].copy()
    fitted.partial_fit(x, Y)  # the optimizer has started anew
    assert (fitted.coefs_[0] != before).all()
    with pytest.warns(cr.ChainruleWarning, match="weights of the best epoch are kept"):
        regressor(early_stopping=True, **given).fit(x * np.float32(1e3), large)


@everywhere
@pytest.mark.parametrize("units", [10**12, 10**18])
@pytest.mark.parametrize("members", [None, 2])
def test_out_of_memory(
    backend: str, units: int, members: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = regressor(hidden_layer_sizes=(units,), backend=backend, members=members)
    match = r"^out of memory on .* in a fit: .*\. Use smaller hidden_layer_sizes"
    with pytest.raises(cr.OutOfMemoryError, match=match):
        large.fit(X, Y)
    fitted = regressor(backend=backend, members=members).fit(X, Y)

    def exhausted(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(chunks, "outputs", exhausted)
    with pytest.raises(cr.OutOfMemoryError, match=r"in predict. Hand in fewer rows"):
        fitted.predict(X)


class Recorder(cr.callbacks.Callback):
    """A callback of one's own that writes into itself."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        self.seen.append(epoch)


@everywhere
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_fit_leaves_its_callbacks(solver: str, backend: str) -> None:
    given: list[Any] = [cr.EarlyStopping(patience=3), Recorder()]
    params: dict[str, Any] = {
        "solver": solver,
        "backend": backend,
        "hidden_layer_sizes": (64, 64),
    }
    e = regressor(callbacks=given, **params)
    before = pickle.dumps(e)
    e.fit(X, Y)
    assert e.callbacks == given
    assert len(pickle.dumps(clone(e))) == len(before)
    assert given[0].best_epoch is None
    assert given[1].seen == []
    stopping, recorder = e.callbacks_
    assert stopping.best_epoch is not None
    assert recorder.seen == list(range(e.n_iter_))
    plain = len(pickle.dumps(regressor(**params).fit(X, Y)))
    assert len(pickle.dumps(e)) < 1.2 * plain


def test_callbacks_go_on_between_partial_fits() -> None:
    """As one training: best values, epochs, rates; it ends when a callback ends it."""
    given = [
        cr.EarlyStopping(patience=4, min_delta=1e9),
        cr.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, min_delta=1e9),
        Recorder(),
    ]
    e, twin = (
        regressor(callbacks=given, solver="sgd", shuffle=False, tol=0.0)
        for _ in range(2)
    )
    twin.set_params(max_iter=9).fit(X, Y)
    for k in range(9):
        e.partial_fit(X, Y)
        if k == 2:
            e = pickle.loads(pickle.dumps(e))
    stopping, _, recorder = e.callbacks_
    assert recorder.seen == [0, 1, 2, 3, 4]
    assert stopping.stopped_epoch == 4
    assert (stopping.best, stopping.best_epoch) == (e.loss_curve_[0], 0)
    assert e.loss_curve_ == twin.loss_curve_
    for a, b in zip(e.coefs_, twin.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    # Other callbacks, or a fit, begin anew.
    e.set_params(callbacks=[Recorder()]).partial_fit(X, Y)
    assert e.callbacks_[0].seen == [5]
    e.set_params(max_iter=2).fit(X, Y)
    assert e.callbacks_[0].seen == [0, 1]


def test_a_lambda_keeps_its_functions() -> None:
    """What a method belongs to is the user's, and hears of the epochs."""
    recorder = Recorder()
    hook = cr.callbacks.LambdaCallback(on_epoch_end=recorder.on_epoch_end)
    regressor(callbacks=[hook], max_iter=2).fit(X, Y)
    assert recorder.seen == [0, 1]


@everywhere
@pytest.mark.parametrize(
    "params",
    [
        {"solver": "lbfgs"},
        {"optimizer": cr.LevenbergMarquardt(), "loss": cr.losses.SquaredError()},
    ],
    ids=["lbfgs", "lm"],
)
def test_a_plateau_without_a_rate(params: Any, backend: str) -> None:
    recorder = Recorder()
    plateau = cr.callbacks.ReduceLROnPlateau()
    hook = cr.callbacks.LambdaCallback(on_epoch_end=recorder.on_epoch_end)
    e = regressor(callbacks=[hook, plateau], backend=backend, **params)
    with pytest.raises(cr.ArgumentError, match="an optimizer with a learning rate"):
        e.fit(X, Y)
    assert recorder.seen == []


@everywhere
def test_a_validation_score_is_to_rise(backend: str) -> None:
    seen: list[float] = []
    hook = cr.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(logs["val_score"])
    )
    stopping = cr.EarlyStopping("val_score", patience=3)
    e = regressor(
        callbacks=[stopping, hook],
        validation_data=(X[:20], Y[:20]),
        backend=backend,
        learning_rate_init=0.05,
    ).fit(X[20:], Y[20:])
    assert e.callbacks_[0].best == max(seen)
    assert e.score(X[:20], Y[:20]) == pytest.approx(max(seen), rel=1e-6)


def _press(times: int, epoch: int = 1) -> Callback:
    def press(now: int, _: Any) -> None:
        if now == epoch:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    return LambdaCallback(on_epoch_end=press)


@POSIX
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_ctrl_c_ends_the_fit_and_a_second_one_the_program(solver: str) -> None:
    options: dict[str, Any] = {"solver": solver, "max_iter": 30, "tol": 0.0}
    with pytest.warns(UserWarning, match="interrupted by user") as caught:
        e = regressor(callbacks=[_press(1)], **options).fit(X, Y)
    assert e.n_iter_ == 2
    assert caught[0].filename == __file__
    with (
        pytest.raises(KeyboardInterrupt),
        pytest.warns(UserWarning, match="interrupted by user"),
    ):
        regressor(callbacks=[_press(2)], **options).fit(X, Y)


@POSIX
def test_lbfgs_hears_ctrl_c_where_nobody_listens(monkeypatch: Any) -> None:
    """It is not let run to its end."""
    passes = [0]
    plain = Problem.value_and_gradient

    def counted(self: Problem, theta: Any) -> Any:
        passes[0] += 1
        if passes[0] == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, theta)

    monkeypatch.setattr(Problem, "value_and_gradient", counted)
    with pytest.warns(UserWarning, match="interrupted by user"):
        e = regressor(solver="lbfgs", max_iter=300, tol=0.0).fit(X, Y)
    assert e.n_iter_ <= 5
    assert np.isfinite(e.predict(X)).all()


def test_the_limit_of_lbfgs_is_scipys() -> None:
    look = LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    for callbacks in (None, [look]):
        e = regressor(solver="lbfgs", max_iter=3, tol=0.0, callbacks=callbacks)
        with pytest.warns(ConvergenceWarning, match="REACHED LIMIT"):
            e.fit(X, Y)
        assert e.n_iter_ == 3


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_ended_before_it_began_it_makes_one_epoch(solver: str) -> None:
    """Nothing would be fitted without."""

    class Stop(Callback):
        def on_train_begin(self, logs: Any) -> None:
            self.model.stop_training = True

    e = regressor(solver=solver, callbacks=[Stop()]).fit(X, Y)
    assert e.n_iter_ == 1
    assert np.isfinite(e.predict(X)).all()


def test_who_ends_the_fit_after_it_has_not_stopped_it() -> None:
    class Late(Callback):
        def on_train_end(self, logs: Any) -> None:
            self.model.stop_training = True

    assert not regressor(callbacks=[Late()], max_iter=3).fit(X, Y).stopped_


def test_cuts_of_a_saver_are_not_made() -> None:
    """There is nothing to save: the epoch goes on in one call."""

    class Saver(Callback):
        every_steps = 1

        def on_cut(self, cut: Any) -> None:
            raise AssertionError

    e = regressor(callbacks=[Saver()], max_iter=3).fit(X, Y)
    plain = regressor(max_iter=3).fit(X, Y)
    np.testing.assert_array_equal(e.coefs_[0], plain.coefs_[0])


def test_a_misnamed_hook_is_said_once() -> None:
    class Wrong(Callback):
        def on_epoch_ends(self) -> None: ...

    with pytest.warns(cr.ChainruleWarning, match="never be called") as caught:
        regressor(callbacks=[Wrong()], max_iter=2).fit(X, Y)
    about = [w for w in caught if "never be called" in str(w.message)]
    assert [w.filename for w in about] == [__file__]
