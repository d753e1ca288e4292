"""Threads that predict while another fits: no answer is of half-changed parameters."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

import chainrule as cr


def run(backend: Any, threads: int, predictions: int) -> dict[str, Any]:
    """Let `threads` threads predict `predictions` times each during one fit.

    Every answer must be, bit for bit, that of the parameters with which the fit began
    or of those at the end of one of its epochs.
    """
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(48, 4)), rng.normal(size=(48, 2))
    probe = x[:8]
    network = cr.Sequential(cr.Dense(16), cr.BatchNorm(), cr.Tanh(), cr.Dense(2))
    model = cr.Model(network, backend=backend).build(4)
    consistent = {model.predict(probe).tobytes()}
    answers: list[set[bytes]] = [set() for _ in range(threads)]
    errors: list[BaseException] = []
    left = threads
    lock = threading.Lock()

    def predict(mine: set[bytes]) -> None:
        nonlocal left
        try:
            for _ in range(predictions):
                mine.add(model.predict(probe).tobytes())
        except BaseException as error:
            errors.append(error)
        finally:
            with lock:
                left -= 1

    def record(epoch: int, logs: Any) -> None:
        consistent.add(model.predict(probe).tobytes())
        if epoch == 0:  # everything is compiled: from here on training goes on and on
            for worker in workers:
                worker.start()
        model.stop_training = left == 0

    workers = [threading.Thread(target=predict, args=(mine,)) for mine in answers]
    began = time.monotonic()
    observer = cr.callbacks.LambdaCallback(on_epoch_end=record)
    model.fit(x, y, epochs=10**9, batch_size=8, callbacks=[observer], progress=False)
    for worker in workers:
        worker.join()
    assert not errors, errors
    seen = set().union(*answers)
    assert seen <= consistent, f"{len(seen - consistent)} answers of no parameters"
    return {
        "backend": backend,
        "predictions": threads * predictions,
        "epochs": model.history.epochs,
        "different answers": len(seen),
        "seconds": round(time.monotonic() - began, 1),
    }
