"""Forged checkpoints: `fit(resume=)` takes them, or says what is wrong with which file.

    python -m tests.soak.fuzz_resume 10000

Their checksum is right, and their entry about the fit is hostile. Each must either be
gone on from, or end in an error of the family; one that is refused leaves the model and
the callbacks as they were. No other file of the folder may change.
"""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import callbacks

from tests.soak.fuzz_load import _mutate, forge, take_apart

X = np.random.default_rng(0).normal(size=(22, 3))
Y = np.sin(X[:, :2])
EPOCHS = 3
FILE, LOG, PRECIOUS = "fit.safetensors", "log.csv", "fit-precious.safetensors"


class _Stop(Exception):
    """What stands for a crash."""


def _fit(folder: Path, *more: Any, epochs: int = EPOCHS, **how: Any) -> cr.Model:
    network = cr.Sequential(cr.Dense(4), cr.BatchNorm(), cr.Dropout(0.1), cr.Dense(2))
    model = cr.Model(network, backend="numpy", metrics=["r2"], **how)
    hooks = [
        cr.EarlyStopping(patience=5, restore_best_weights=True),
        callbacks.ReduceLROnPlateau(patience=1),
        callbacks.CSVLogger(folder / LOG),
        cr.Checkpoint(folder / FILE, keep=2, every_steps=2),
        *more,
    ]
    before = [repr(hook.state()) for hook in hooks[:4]]
    try:
        model.fit(
            X,
            Y,
            epochs=epochs,
            batch_size=4,
            callbacks=hooks,
            validation_data=(X[:5], Y[:5]),
            progress=False,
            resume=folder / FILE,
        )
    except (cr.SerializationError, cr.ResumeError):
        assert not model.built, "a model of a refused file was changed"
        assert model.history.epochs == 0
        after = [repr(hook.state()) for hook in hooks[:4]]
        changed = [pair for pair in zip(before, after, strict=True) if len({*pair}) > 1]
        assert not changed, f"a callback of a refused file was changed: {changed}"
        raise
    return model


def checkpoints(folder: Path) -> list[bytes]:
    """Return real checkpoints: at the end of an epoch, and within one."""
    path = folder / FILE
    _fit(folder, epochs=2)
    files = [path.read_bytes()]
    path.unlink()

    def crash(epoch: int, logs: Any) -> None:
        if epoch == 1:
            raise _Stop

    try:
        _fit(folder, callbacks.LambdaCallback(on_epoch_end=crash))
    except _Stop:
        files.append(path.read_bytes())
    for file in folder.iterdir():
        file.unlink()
    return files


def fuzz(count: int, seed: int, folder: Path) -> Counter[str]:
    """Resume `count` forged checkpoints; raise AssertionError at misbehaviour."""
    rng = random.Random(seed)
    good = checkpoints(folder)
    found: Counter[str] = Counter()
    for number in range(count):
        config, entries, data = take_apart(rng.choice(good))
        _mutate(config["fit"], rng)
        try:
            raw = forge(config, entries, data)
        except (RecursionError, ValueError):
            continue
        (folder / FILE).write_bytes(raw)
        (folder / PRECIOUS).write_text("precious")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", cr.ChainruleWarning)
                _fit(folder)
            found["went on"] += 1
        except cr.ChainruleError as error:
            found[type(error).__name__] += 1
        except Exception as error:
            msg = f"forged checkpoint {number} of seed {seed}: {error!r}"
            raise AssertionError(msg) from error
        assert (folder / PRECIOUS).read_text() == "precious"
        for file in folder.iterdir():
            file.unlink()
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(fuzz(int((sys.argv[1:] or ["1000"])[0]), 0, Path(name)))
