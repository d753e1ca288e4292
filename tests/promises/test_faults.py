"""Faults of callbacks, disks, processes: nothing is lost, and an error says what."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import Checkpoint, LambdaCallback

from tests.support.faults import (
    BACKENDS,
    POSIX,
    X,
    Y,
    assert_same,
    fit_model,
    new_model,
    new_twin,
)
from tests.support.libraries import here
from tests.support.models import standing


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fit"
    model = new_model()
    synced = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(epoch: int, logs: Any) -> None:
        if epoch == 2:
            monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(cr.FileError, match=f"{path.name} cannot be written") as caught:
        fit_model(model, 9, Checkpoint(path), LambdaCallback(on_epoch_end=fill))
    monkeypatch.setattr(os, "fsync", synced)
    assert caught.value.errno == errno.ENOSPC
    # The old file is whole, the model has the epoch, and both go on.
    assert [file.name for file in tmp_path.iterdir()] == ["fit"]
    assert_same(model, new_twin(3))
    resumed = new_model()
    fit_model(resumed, 5, Checkpoint(path), resume=path)
    fit_model(model, 2)
    assert_same(resumed, new_twin(5))
    assert model.theta.tobytes() == resumed.theta.tobytes()


def test_a_folder_that_takes_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    hook = LambdaCallback(on_train_begin=begun.append)
    model = new_model()
    missing = tmp_path / "missing" / "fit"
    with pytest.raises(cr.MissingFileError, match="Make the folder first"):
        fit_model(model, 2, hook, Checkpoint(missing))
    with pytest.raises(cr.FileError, match="cannot be written"):
        fit_model(model, 2, hook, Checkpoint(tmp_path))
    # Root writes into read-only folders: what the system says to others is imitated.
    opened = os.open

    def refuse(path: Any, flags: int, *mode: Any, **where: Any) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, flags, *mode, **where)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(cr.FileError, match="fit cannot be written: Permission"):
        fit_model(model, 2, hook, Checkpoint(tmp_path / "fit"))
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


def test_a_callback_that_raises_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "fit"

    def throw(epoch: int, logs: Any) -> None:
        if epoch == 2:
            msg = "mine"
            raise ZeroDivisionError(msg)

    model = new_model()
    ended: list[Any] = []
    hooks = [LambdaCallback(on_epoch_end=throw, on_train_end=ended.append)]
    with pytest.raises(ZeroDivisionError, match=r"^mine$"):
        fit_model(model, 9, *hooks, Checkpoint(path))
    assert not ended
    assert_same(model, new_twin(3))
    resumed = new_model()
    fit_model(resumed, 4, resume=path)
    fit_model(model, 1)
    assert_same(resumed, new_twin(4))
    assert model.theta.tobytes() == resumed.theta.tobytes()


@pytest.mark.parametrize("cuts", [None, 2])
def test_divergence_never_reaches_the_file(
    where: Any, cuts: Any, tmp_path: Path
) -> None:
    path = tmp_path / "fit"
    rate = lambda step: 0.01 if step < 12 else 1e38  # noqa: E731
    cr.serialization.register(rate, name=f"rate {path}")
    model = new_model(optimizer=cr.SGD(rate), **{"backend": "numpy", **where})
    saver = Checkpoint(path, every_steps=cuts)
    with pytest.raises(cr.DivergenceError):
        fit_model(model, 9, saver)
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
    model = new_model(name, optimizer=cr.SGD(rate), members=members)
    best = cr.callbacks.EarlyStopping("loss", patience=99, mode="max")
    seen: list[Any] = []
    keep = LambdaCallback(on_epoch_end=lambda *_: seen.append(model.get_weights()))
    ended: list[Any] = []
    end = LambdaCallback(on_train_end=ended.append)
    with pytest.raises(cr.DivergenceError):
        fit_model(model, 9, best, keep, end)
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
    fit_model(model, 1)


def test_a_validation_loss_that_is_infinite_is_told_once() -> None:
    model = new_model()
    y = Y.astype(np.float32)
    y[3] = 3e38
    with pytest.warns(cr.ChainruleWarning, match="val_loss is inf in epoch 1") as told:
        history = model.fit(X, Y, epochs=3, batch_size=4, validation_data=(X, y))
    assert len(told) == 1
    assert told[0].filename == __file__
    assert history.epochs == standing(model).epoch == 3


def test_an_error_of_a_callback_is_its_own() -> None:
    def throw(epoch: int, logs: Any) -> None:
        msg = "mine"
        raise MemoryError(msg)

    with pytest.raises(MemoryError, match=r"^mine$") as caught:
        fit_model(new_model(), 2, LambdaCallback(on_epoch_end=throw))
    assert not isinstance(caught.value, cr.ChainruleError)


@pytest.mark.parametrize("name", BACKENDS)
def test_pickled_into_another_process(name: str) -> None:
    model = new_model(name)
    fit_model(model, 2)
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
    fit_model(model, 1)
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
