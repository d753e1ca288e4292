"""Signals: SIGTERM and Ctrl-C, at any moment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import Checkpoint, LambdaCallback

from tests.support.faults import (
    POSIX,
    X,
    Y,
    assert_same,
    fit_model,
    new_model,
    new_twin,
)
from tests.support.models import standing


def _send(number: int, epoch: int, hook: str = "on_epoch_end") -> LambdaCallback:
    def send(now: int, logs: Any) -> None:
        if now == epoch:
            os.kill(os.getpid(), number)

    hooks: dict[str, Any] = {hook: send}
    return LambdaCallback(**hooks)


@POSIX
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
def test_sigterm_saves_and_exits(hook: str, tmp_path: Path) -> None:
    path = tmp_path / "fit"
    ended: list[Any] = []
    model = new_model()
    end = LambdaCallback(on_train_end=ended.append)
    with pytest.raises(SystemExit) as caught:
        fit_model(
            model, 9, Checkpoint(path, every=100), end, _send(signal.SIGTERM, 1, hook)
        )
    assert caught.value.code == 128 + signal.SIGTERM
    assert len(ended) == 1
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert_same(model, new_twin(2))
    resumed = new_model()
    fit_model(resumed, 5, resume=path)
    assert_same(resumed, new_twin(5))


@POSIX
def test_sigterm_within_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    model = new_model()
    saver = Checkpoint(path, every=100, every_steps=2)
    with pytest.raises(SystemExit):
        fit_model(model, 9, saver, _send(signal.SIGTERM, 1, "on_epoch_begin"))
    assert model.history.epochs == 1
    once = new_twin(1)
    assert cr.load(path).theta.tobytes() == once.theta.tobytes()
    resumed = new_model()
    fit_model(resumed, 5, resume=path)
    assert_same(resumed, new_twin(5))


@POSIX
@pytest.mark.parametrize("hook", ["on_epoch_end", "on_train_end"])
def test_sigterm_in_an_epoch_that_fails(hook: str, tmp_path: Path) -> None:
    """The process is to end, whatever else happened; the error is the cause."""
    error = ValueError("mine")

    def throw(*_: Any) -> None:
        raise error

    term = _send(signal.SIGTERM, 1)
    hooks = [Checkpoint(tmp_path / "fit"), term, LambdaCallback(**{hook: throw})]
    if hook == "on_epoch_end":
        hooks[2] = LambdaCallback(
            on_epoch_end=lambda epoch, logs: throw() if epoch == 1 else None
        )
    with pytest.raises(SystemExit) as caught:
        fit_model(new_model(), 5, *hooks)
    assert caught.value.code == 128 + signal.SIGTERM
    assert caught.value.__cause__ is error
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@POSIX
def test_ctrl_c_saves(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    saver = Checkpoint(path, every=100)
    history = fit_model(new_model(), 9, saver, _send(signal.SIGINT, 1))
    assert history.interrupted
    resumed = new_model()
    assert not fit_model(resumed, 5, resume=path).interrupted
    assert_same(resumed, new_twin(5))


@POSIX
def test_the_second_ctrl_c_is_at_once(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    press = _send(signal.SIGINT, 2, "on_epoch_begin")
    saver = Checkpoint(path)
    history = fit_model(new_model(), 9, saver, press, press)
    assert (history.interrupted, history.epochs) == (True, 2)
    resumed = new_model()
    fit_model(resumed, 5, resume=path)
    assert_same(resumed, new_twin(5))


@POSIX
def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As in a background job, or under nohup: neither signal stops the fit."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        press = [_send(number, 1, "on_epoch_begin") for number in numbers]
        model = new_model()
        history = fit_model(model, 3, Checkpoint(tmp_path / "fit"), *press)
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 2
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert (history.interrupted, history.epochs) == (False, 3)
    assert_same(model, new_twin(3))


@POSIX
@pytest.mark.parametrize("saving", [True, False])
def test_sigterm_of_a_process(saving: bool, tmp_path: Path) -> None:
    """With a checkpoint it exits with 143; without, it dies at once as ever."""
    code = f"""
        import os, signal, numpy as np, chainrule as cr
        x = np.ones((8, 2))
        send = cr.callbacks.LambdaCallback(
            on_epoch_end=lambda e, logs: os.kill(os.getpid(), signal.SIGTERM))
        hooks = [send] + [cr.Checkpoint({str(tmp_path / "fit")!r})] * {saving}
        try:
            cr.Model(cr.MLP((2,)), backend="numpy").fit(x, x, callbacks=hooks)
        finally:
            print("cleaned up")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (143 if saving else -signal.SIGTERM), done.stderr
    assert done.stdout.strip() == ("cleaned up" if saving else "")
    assert (tmp_path / "fit").exists() == saving


def test_fits_in_threads_leave_signals_alone(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []
    look = LambdaCallback(
        on_epoch_end=lambda e, logs: seen.append(signal.getsignal(signal.SIGTERM))
    )
    thread = threading.Thread(
        target=fit_model, args=(new_model(), 2, look, Checkpoint(tmp_path / "fit"))
    )
    thread.start()
    thread.join()
    assert seen == [before] * 2
    assert (tmp_path / "fit").exists()


class Flaky:
    """A metric that raises at its n-th call."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        self.calls, self.at, self.error = 0, at, error
        self.__name__ = "flaky"

    def __call__(self, t: Any, z: Any) -> float:
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return 0.0


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
def test_an_epoch_counts_wholly_or_not(at: int, error: type[BaseException]) -> None:
    """Weights, counters and history agree, though validation or a metric raises."""
    model = new_model(metrics=[Flaky(at, error)])
    with contextlib.suppress(error):
        fit_model(model, 5, validation_data=(X, Y))
    made = (at - 1) // 2  # two calls an epoch
    assert standing(model).epoch == model.history.epochs == made
    assert {len(column) for column in model.history.values()} <= {made}
    twin = new_model(metrics=[Flaky(0, error)])
    if made:
        fit_model(twin, made, validation_data=(X, Y))
    else:
        twin.build(3)
    assert np.array_equal(model.get_weights()[0], twin.get_weights()[0])
    assert np.array_equal(model.get_weights()[1], twin.get_weights()[1])
    assert dict(model.history) == dict(twin.history)
    fit_model(model, 2)
    assert standing(model).epoch == model.history.epochs == made + 2


@POSIX
# Where it is raised in a finalizer, Python reports it and goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("listening", [True, False])
def test_ctrl_c_at_any_moment(listening: bool) -> None:
    """A handler of the program's own raises wherever it is: nothing is half known."""

    def raise_it(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    rng = np.random.default_rng(0)
    twins = [new_twin(k) if k else new_model().build(3) for k in range(9)]
    before = signal.signal(signal.SIGALRM, raise_it)
    hooks = [LambdaCallback()] if listening else []
    begun = time.perf_counter()
    fit_model(new_model().build(3), 8, *hooks)
    took = time.perf_counter() - begun
    seen = set()
    try:
        for _ in range(150):
            model = new_model().build(3)
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.02, 1.1) * took)
                fit_model(model, 8, *hooks)
            except KeyboardInterrupt:
                pass
            finally:
                while True:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 0.0)
                        break
                    except KeyboardInterrupt:
                        pass
            seen.add(standing(model).epoch)
            twin = twins[standing(model).epoch]
            assert np.array_equal(model.get_weights()[0], twin.get_weights()[0])
            assert dict(model.history) == dict(twin.history)
            assert standing(model).step in (0, 6 * standing(model).epoch)
            assert (
                standing(model).step + standing(model).begun
                == 6 * standing(model).epoch
            )
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(seen) > 1
