"""Faults: whatever happens, an error says what it was, and nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
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
from chainrule import backends
from chainrule.callbacks import Checkpoint, LambdaCallback
from chainrule.network import chunks, evaluation

from tests.support.libraries import here
from tests.support.models import host_slots, standing

X = np.random.default_rng(0).normal(size=(22, 3))
Y = X[:, :2] * 2.0


def _model(backend: Any = "numpy", **options: Any) -> cr.Model:
    network = cr.Sequential(
        cr.Dense(4), cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.2), cr.Dense(2)
    )
    given = {"optimizer": cr.Adam(0.01), "backend": backend, **options}
    return cr.Model(network, **given)


def _fit(model: cr.Model, epochs: int, *callbacks: Any, **options: Any) -> cr.History:
    return model.fit(X, Y, epochs=epochs, batch_size=4, callbacks=callbacks, **options)


def _twin(epochs: int, **options: Any) -> cr.Model:
    model = _model(**options)
    _fit(model, epochs)
    return model


def _assert_same(model: cr.Model, twin: cr.Model) -> None:
    pairs = zip(
        (*model.get_weights(), *host_slots(model)),
        (*twin.get_weights(), *host_slots(twin)),
        strict=True,
    )
    assert all(a.tobytes() == b.tobytes() for a, b in pairs)
    assert dict(model.history) == dict(twin.history)
    assert standing(model).epoch == standing(twin).epoch


def _send(number: int, epoch: int, hook: str = "on_epoch_end") -> LambdaCallback:
    def send(now: int, logs: Any) -> None:
        if now == epoch:
            os.kill(os.getpid(), number)

    return LambdaCallback(**{hook: send})


BACKENDS = ["numpy", *[name for name in ("jax", "torch") if here(name)]]
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


# Signals.


@POSIX
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
def test_sigterm_saves_and_exits(hook: str, tmp_path: Path) -> None:
    path = tmp_path / "fit"
    ended: list[Any] = []
    model = _model()
    end = LambdaCallback(on_train_end=ended.append)
    with pytest.raises(SystemExit) as caught:
        _fit(model, 9, Checkpoint(path, every=100), end, _send(signal.SIGTERM, 1, hook))
    assert caught.value.code == 128 + signal.SIGTERM
    assert len(ended) == 1
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    _assert_same(model, _twin(2))
    resumed = _model()
    _fit(resumed, 5, resume=path)
    _assert_same(resumed, _twin(5))


@POSIX
def test_sigterm_within_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    model = _model()
    saver = Checkpoint(path, every=100, every_steps=2)
    with pytest.raises(SystemExit):
        _fit(model, 9, saver, _send(signal.SIGTERM, 1, "on_epoch_begin"))
    assert model.history.epochs == 1
    once = _twin(1)
    assert cr.load(path).theta.tobytes() == once.theta.tobytes()
    resumed = _model()
    _fit(resumed, 5, resume=path)
    _assert_same(resumed, _twin(5))


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
        _fit(_model(), 5, *hooks)
    assert caught.value.code == 128 + signal.SIGTERM
    assert caught.value.__cause__ is error
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@POSIX
def test_ctrl_c_saves(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    saver = Checkpoint(path, every=100)
    history = _fit(_model(), 9, saver, _send(signal.SIGINT, 1))
    assert history.interrupted
    resumed = _model()
    assert not _fit(resumed, 5, resume=path).interrupted
    _assert_same(resumed, _twin(5))


@POSIX
def test_the_second_ctrl_c_is_at_once(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    press = _send(signal.SIGINT, 2, "on_epoch_begin")
    saver = Checkpoint(path)
    history = _fit(_model(), 9, saver, press, press)
    assert (history.interrupted, history.epochs) == (True, 2)
    resumed = _model()
    _fit(resumed, 5, resume=path)
    _assert_same(resumed, _twin(5))


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
        target=_fit, args=(_model(), 2, look, Checkpoint(tmp_path / "fit"))
    )
    thread.start()
    thread.join()
    assert seen == [before] * 2
    assert (tmp_path / "fit").exists()


# Disks.


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fit"
    model = _model()
    synced = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(epoch: int, logs: Any) -> None:
        if epoch == 2:
            monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(cr.FileError, match=f"{path.name} cannot be written") as caught:
        _fit(model, 9, Checkpoint(path), LambdaCallback(on_epoch_end=fill))
    monkeypatch.setattr(os, "fsync", synced)
    assert caught.value.errno == errno.ENOSPC
    # The old file is whole, the model has the epoch, and both go on.
    assert [file.name for file in tmp_path.iterdir()] == ["fit"]
    _assert_same(model, _twin(3))
    resumed = _model()
    _fit(resumed, 5, Checkpoint(path), resume=path)
    _fit(model, 2)
    _assert_same(resumed, _twin(5))
    assert model.theta.tobytes() == resumed.theta.tobytes()


def test_a_folder_that_takes_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    hook = LambdaCallback(on_train_begin=begun.append)
    model = _model()
    missing = tmp_path / "missing" / "fit"
    with pytest.raises(cr.MissingFileError, match="Make the folder first"):
        _fit(model, 2, hook, Checkpoint(missing))
    with pytest.raises(cr.FileError, match="cannot be written"):
        _fit(model, 2, hook, Checkpoint(tmp_path))
    # Root writes into read-only folders: what the system says to others is imitated.
    opened = os.open

    def refuse(path: Any, flags: int, *mode: Any, **where: Any) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, flags, *mode, **where)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(cr.FileError, match="fit cannot be written: Permission"):
        _fit(model, 2, hook, Checkpoint(tmp_path / "fit"))
    assert not model.built
    assert not begun


def test_two_processes_one_path(tmp_path: Path) -> None:
    """Each file is that of the one or of the other, never a mix; the last one wins."""
    path = tmp_path / "fit"
    stop = threading.Event()
    seen: set[int] = set()
    errors: list[BaseException] = []

    def look() -> None:
        while not stop.is_set():
            try:
                seen.add(cr.load(path).seed)
            except cr.MissingFileError:
                pass
            except BaseException as error:
                errors.append(error)

    watcher = threading.Thread(target=look)
    watcher.start()
    code = """
        import sys, numpy as np, chainrule as cr
        x = np.random.default_rng(0).normal(size=(22, 3))
        model = cr.Model(cr.MLP((64, 2)), backend="numpy", seed=int(sys.argv[2]))
        model.fit(x, x[:, :2], epochs=40, callbacks=[cr.Checkpoint(sys.argv[1])])
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    children = [subprocess.Popen([*command, str(seed)]) for seed in (1, 2)]
    assert [child.wait() for child in children] == [0, 0]
    stop.set()
    watcher.join()
    assert not errors
    assert seen <= {1, 2}
    last = cr.load(path)
    assert last.seed in (1, 2)
    assert standing(last).epoch == 40
    assert [file.name for file in tmp_path.iterdir()] == ["fit"]


# Callbacks and divergence.


def test_a_callback_that_raises_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "fit"

    def throw(epoch: int, logs: Any) -> None:
        if epoch == 2:
            msg = "mine"
            raise ZeroDivisionError(msg)

    model = _model()
    ended: list[Any] = []
    hooks = [LambdaCallback(on_epoch_end=throw, on_train_end=ended.append)]
    with pytest.raises(ZeroDivisionError, match=r"^mine$"):
        _fit(model, 9, *hooks, Checkpoint(path))
    assert not ended
    _assert_same(model, _twin(3))
    resumed = _model()
    _fit(resumed, 4, resume=path)
    _fit(model, 1)
    _assert_same(resumed, _twin(4))
    assert model.theta.tobytes() == resumed.theta.tobytes()


@pytest.mark.parametrize("cuts", [None, 2])
def test_divergence_never_reaches_the_file(
    where: Any, cuts: Any, tmp_path: Path
) -> None:
    path = tmp_path / "fit"
    rate = lambda step: 0.01 if step < 12 else 1e38  # noqa: E731
    cr.serialization.register(rate, name=f"rate {path}")
    model = _model(optimizer=cr.SGD(rate), **{"backend": "numpy", **where})
    saver = Checkpoint(path, every_steps=cuts)
    with pytest.raises(cr.DivergenceError):
        _fit(model, 9, saver)
    saved = cr.load(path)
    assert all(np.isfinite(a).all() for a in saved.get_weights())
    assert saved.theta.tobytes() == model.get_weights()[0].tobytes()
    assert standing(model).epoch == 2
    if cuts is None:
        assert standing(saved).epoch == 2


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("members", [None, 2])
def test_the_best_weights_come_back_after_a_divergence(
    members: int | None, name: str
) -> None:
    rate = lambda step: 0.01 if step < 18 else 1e38  # noqa: E731
    model = _model(name, optimizer=cr.SGD(rate), members=members)
    best = cr.callbacks.EarlyStopping("loss", patience=99, mode="max")
    seen: list[Any] = []
    keep = LambdaCallback(on_epoch_end=lambda *_: seen.append(model.get_weights()))
    ended: list[Any] = []
    end = LambdaCallback(on_train_end=ended.append)
    with pytest.raises(cr.DivergenceError):
        _fit(model, 9, best, keep, end)
    assert standing(model).epoch == len(seen) == 3
    assert len(ended) == 1
    epochs = np.broadcast_to(best.best_epoch, (members or 1,))
    assert (epochs < 2).any()  # the loss falls: the first epoch has the highest
    for k, epoch in enumerate(epochs):
        row = slice(None) if members is None else k
        wanted = seen[epoch][0][row]
        assert np.array_equal(model.get_weights()[0][row], wanted)
    # The optimizer starts anew, with its rate and its steps.
    assert standing(model).step == 0
    assert model.learning_rate == 0.01
    _fit(model, 1)


def test_a_validation_loss_that_is_infinite_is_told_once() -> None:
    model = _model()
    y = Y.astype(np.float32)
    y[3] = 3e38
    with pytest.warns(cr.ChainruleWarning, match="val_loss is inf in epoch 1") as told:
        history = _fit(model, 3, validation_data=(X, y))
    assert len(told) == 1
    assert told[0].filename == __file__
    assert history.epochs == standing(model).epoch == 3


# Memory.


def _exhausted(name: str) -> Exception:
    """The library's own error, from an allocation that no machine can make."""
    import importlib

    library = importlib.import_module("jax.numpy" if name == "jax" else name)
    try:
        library.ones(1 << 46)
    except Exception as error:
        return error
    raise AssertionError(name)


@pytest.mark.parametrize("name", BACKENDS)
def test_out_of_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(name)
    _fit(model, 2)
    error = _exhausted(name)
    kind = type(model.backend)
    compiled = kind.compile
    calls: list[int] = []

    def compile_it(self: Any, *given: Any, **options: Any) -> Any:
        run = compiled(self, *given, **options)

        def exhausted(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) > 1:
                raise error
            return run(*arguments)

        return exhausted

    monkeypatch.setattr(kind, "compile", compile_it)
    match = "out of memory on .*batch_size 4: .*Try batch_size=2"
    with pytest.raises(cr.OutOfMemoryError, match=match) as caught:
        _fit(model, 40)  # several calls, even of several epochs
    monkeypatch.undo()
    assert isinstance(caught.value, MemoryError)
    assert caught.value.__cause__ is error
    # Those of the first call count: one epoch, or a stretch.
    assert standing(model).epoch == 2 + model.backend.stretch
    twin = _twin(standing(model).epoch, backend=name)
    assert np.array_equal(model.get_weights()[0], twin.get_weights()[0])
    _fit(model, 1)


def test_out_of_memory_of_a_single_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(self: Any, *given: Any) -> Any:
        raise MemoryError

    model = cr.Model(cr.MLP((4, 2)), backend="numpy").build(3)
    monkeypatch.setattr(type(model.backend), "scan", exhausted)
    with pytest.raises(cr.OutOfMemoryError, match="Use a smaller network"):
        model.fit(X, Y, batch_size=1)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (cr.Dense(10**12), 3),
        (cr.Dense(10**18), 3),
        (cr.Dense(3), 10**12),
        (cr.Dense(3), 10**30),
        (cr.BatchNorm(), 10**18),
        (cr.MLP((4, 10**15, 1)), 3),
    ],
)
@pytest.mark.parametrize("members", [None, 2])
def test_out_of_memory_in_build(
    name: str, layer: Any, shape: int, members: int | None
) -> None:
    model = cr.Model(layer, backend=name, members=members)
    what = r"for the [\d,x ]+ parameters of this model: .*\. Use a smaller network\.$"
    with pytest.raises(cr.OutOfMemoryError, match=rf"^out of memory on .*{what}"):
        model.build(shape)
    assert not model.built


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("members", [None, 2])
def test_out_of_memory_in_inference(
    name: str, members: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = cr.MLP((4, 1), "tanh")
    model = cr.Model(network, backend=name, members=members, metrics=["r2"]).build(3)
    error = _exhausted(name)
    y = X[:, :1]

    def exhausted(*given: Any, **options: Any) -> Any:
        raise error

    calls: list[Any] = [
        lambda: model.predict(X),
        lambda: model.evaluate(X, y),
        lambda: model.jacobian(X),
        lambda: model.vjp(X, y),
        lambda: model.hessian(X),
        lambda: model.fit(X, y, epochs=1, validation_data=(X, y)),
    ]
    if members is None:
        calls += [
            lambda: model.sample_gradients(X, y),
            lambda: model.parameter_jacobian(X),
        ]
    else:
        calls += [
            lambda: model.predict_members(X),
            lambda: model.predict(X, return_std=True),
        ]
    before = model.get_weights()[0]
    monkeypatch.setattr(model, "_direct", None)
    monkeypatch.setattr(chunks, "outputs", exhausted)
    monkeypatch.setattr(evaluation, "evaluate", exhausted)
    for call in calls:
        with pytest.raises(cr.OutOfMemoryError, match=r"^out of memory on ") as caught:
            call()
        assert caught.value.__cause__ is error
        assert " fewer " in str(caught.value)
    monkeypatch.undo()
    assert np.array_equal(model.get_weights()[0], before)
    model.fit(X, y, epochs=1)


@pytest.mark.parametrize("name", BACKENDS)
def test_out_of_memory_for_the_arrays(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cr.Model(cr.MLP((4, 2)), backend=name).build(3)
    other = cr.Model(cr.MLP((4, 2)), backend="numpy").build(3)
    error = _exhausted(name)

    def exhausted(*given: Any) -> Any:
        raise error

    monkeypatch.setattr(type(model.backend), "asarray", exhausted)
    for call in (lambda: model.fit(X, Y), lambda: other.to(name)):
        with pytest.raises(cr.OutOfMemoryError, match=r"^out of memory on "):
            call()


def test_out_of_memory_for_a_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = cr.Model(cr.MLP((4, 2)), backend="numpy").build(3)

    def exhausted(*given: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(model, "_direct", exhausted)
    with pytest.raises(cr.OutOfMemoryError, match="Hand in fewer rows at a time"):
        model.predict(X[:1])


def test_what_is_out_of_memory() -> None:
    assert not backends.get("numpy").is_out_of_memory(ValueError("memory"))
    with pytest.raises(ValueError, match="array is too big") as caught:
        np.zeros(1 << 61)
    for name in BACKENDS:
        assert backends.get(name).is_out_of_memory(caught.value)
    if here("jax"):
        import jax

        jaxs = backends.get("jax")
        text = "RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes."
        assert jaxs.is_out_of_memory(jax.errors.JaxRuntimeError(text))
        assert not jaxs.is_out_of_memory(jax.errors.JaxRuntimeError("INTERNAL"))
        assert not jaxs.is_out_of_memory(RuntimeError("RESOURCE_EXHAUSTED"))
    if here("torch"):
        import torch

        torchs = backends.get("torch")
        assert torchs.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
        with pytest.raises(RuntimeError, match="overflow") as beyond:
            torch.ones(1 << 62)
        assert torchs.is_out_of_memory(beyond.value)
        assert not torchs.is_out_of_memory(RuntimeError("sizes do not match"))


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
    model = _model(metrics=[Flaky(at, error)])
    with contextlib.suppress(error):
        _fit(model, 5, validation_data=(X, Y))
    made = (at - 1) // 2  # two calls an epoch
    assert standing(model).epoch == model.history.epochs == made
    assert {len(column) for column in model.history.values()} <= {made}
    twin = _model(metrics=[Flaky(0, error)])
    if made:
        _fit(twin, made, validation_data=(X, Y))
    else:
        twin.build(3)
    assert np.array_equal(model.get_weights()[0], twin.get_weights()[0])
    assert np.array_equal(model.get_weights()[1], twin.get_weights()[1])
    assert dict(model.history) == dict(twin.history)
    _fit(model, 2)
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
    twins = [_twin(k) if k else _model().build(3) for k in range(9)]
    before = signal.signal(signal.SIGALRM, raise_it)
    hooks = [LambdaCallback()] if listening else []
    begun = time.perf_counter()
    _fit(_model().build(3), 8, *hooks)
    took = time.perf_counter() - begun
    seen = set()
    try:
        for _ in range(150):
            model = _model().build(3)
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.02, 1.1) * took)
                _fit(model, 8, *hooks)
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


def test_an_error_of_a_callback_is_its_own() -> None:
    def throw(epoch: int, logs: Any) -> None:
        msg = "mine"
        raise MemoryError(msg)

    with pytest.raises(MemoryError, match=r"^mine$") as caught:
        _fit(_model(), 2, LambdaCallback(on_epoch_end=throw))
    assert not isinstance(caught.value, cr.ChainruleError)


# Processes.


@pytest.mark.parametrize("name", BACKENDS)
def test_pickled_into_another_process(name: str) -> None:
    model = _model(name)
    _fit(model, 2)
    code = """
        import pickle, sys, numpy as np
        model, x, y = pickle.load(sys.stdin.buffer)
        z = np.asarray(model.predict(x))
        model.fit(x, y, epochs=1, batch_size=4)
        pickle.dump((z, model.get_weights()[0]), sys.stdout.buffer)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=pickle.dumps((model, X, Y)),
        capture_output=True,
        check=True,
    )
    z, theta = pickle.loads(done.stdout)
    assert z.tobytes() == np.asarray(model.predict(X)).tobytes()
    _fit(model, 1)
    assert theta.tobytes() == model.get_weights()[0].tobytes()


@POSIX
def test_a_fork_after_jax_was_used() -> None:
    if not here("jax"):
        pytest.skip("jax is not installed")
    code = """
        import os, sys, warnings, numpy as np, chainrule as cr
        x = np.ones((2, 2))
        model = cr.Model(cr.MLP((2,)), backend="jax").build(2)
        other = cr.Model(cr.MLP((2,)), backend="numpy").build(2)
        model.predict(x)
        warnings.simplefilter("ignore")
        child = os.fork()
        if child == 0:
            warnings.simplefilter("error")
            other.predict(x)
            try:
                model.predict(x)
            except cr.ChainruleWarning as warning:
                print(warning, flush=True)
                os._exit(0)
            os._exit(1)
        warnings.simplefilter("error")
        assert os.waitpid(child, 0)[1] == 0
        model.predict(x)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "forked" in done.stdout
    assert "'spawn' or 'forkserver'" in done.stdout


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shape", [(5, 1), (9, 8, 1), (33, 3)])
def test_cuts_change_no_bit_whatever_a_batch_s_bytes(
    shape: Any, compiled: bool, tmp_path: Path
) -> None:
    """A product's last bits may depend on where in memory its batch begins."""
    if not here("torch"):
        pytest.skip("needs torch")
    if compiled and shape != (5, 1):
        pytest.skip("a compilation takes long")
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(283, n)) for n in (shape[0], shape[-1]))
    found = []
    for n in (None, 3, 5):
        model = cr.Model(
            cr.MLP(shape[1:]),
            optimizer=cr.Adam(0.01),
            backend="torch",
            dtype="float64",
            jit_compile=compiled or None,
        )
        hooks = [] if n is None else [Checkpoint(tmp_path / f"{n}.st", every_steps=n)]
        model.fit(x, y, epochs=2, batch_size=7, callbacks=hooks)
        found.append(model.get_weights()[0].tobytes())
    assert found[0] == found[1] == found[2]
