"""SIGKILL at random moments: each resumed fit ends as the fit left alone.

A trajectory is one fit, in as many processes as it takes: each is killed at a random
moment after the first checkpoint is there, and the next one resumes, until one gets to
the end. Its parameters, state, slots, history and log are then those, bit for bit, of
the fit that had no checkpoint at all and was left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr

from tests.support.libraries import here
from tests.support.models import host_slots, standing

_PRELOAD = ("numpy", "chainrule", "torch", "jax")
# Beside a fit's folder, for the process that is killed to say that it trains.
BEGUN, RESULT, LOG, FILE = "begun", "result.json", "log.csv", "fit.safetensors"


def train(
    backend: Any, folder: str, epochs: int, alone: bool, chunk_bytes: int | None
) -> None:
    """Train to the end; what a child process does."""
    where = Path(folder)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(46, 5))
    y = np.sin(x[:, :2]) + 0.1 * rng.normal(size=(46, 2))
    network = cr.Sequential(
        cr.Dense(16), cr.BatchNorm(), cr.GELU(), cr.Dropout(0.2), cr.Dense(2)
    )
    model = cr.Model(network, optimizer=cr.Adam(0.01), backend=backend, metrics=["r2"])
    callbacks: list[Any] = [
        cr.callbacks.ReduceLROnPlateau(patience=5, factor=0.7),
        cr.EarlyStopping(patience=10_000),
        cr.callbacks.CSVLogger(where / LOG),
        cr.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: (where / BEGUN).touch()
        ),
    ]
    options: dict[str, Any] = {}
    if not alone:
        path = where / FILE
        # Cut at random places, which must not matter.
        cuts = random.choice([None, 1, 2, 3, 4])
        checkpoint = cr.Checkpoint(path, every=2, every_steps=cuts, keep=2)
        callbacks.insert(random.randrange(5), checkpoint)
        options["resume"] = path
    history = model.fit(
        x,
        y,
        epochs=epochs,
        batch_size=4,
        sample_weight=rng.uniform(0.5, 1.0, 46),
        validation_split=0.1,
        callbacks=callbacks,
        progress=False,
        chunk_bytes=chunk_bytes,
        **options,
    )
    vectors = (*model.get_weights(), *host_slots(model))
    result = {
        "vectors": [
            hashlib.sha256(np.ascontiguousarray(a).data).hexdigest() for a in vectors
        ],
        "history": [dict(history), dict(model.history)],
        "step": [
            standing(model).step,
            standing(model).epoch,
            standing(model).rate,
            standing(model).rate_scale,
        ],
        "log": (where / LOG).read_text(encoding="utf-8"),
    }
    (where / RESULT).write_text(json.dumps(result), encoding="utf-8")


def _start(backend: str, folder: Path, *how: Any) -> Any:
    context = multiprocessing.get_context("forkserver")
    # What is slow to import, imported once; nothing of it is used before the fork.
    context.set_forkserver_preload([name for name in _PRELOAD if here(name)])
    process = context.Process(
        target=train, args=(backend, str(folder), *how), daemon=True
    )
    process.start()
    return process


def _wait(condition: Any, process: Any, seconds: float = 120.0) -> bool:
    """Wait until the condition holds; False if the process ended before."""
    end = time.monotonic() + seconds
    while not condition():
        if not process.is_alive():
            return False
        assert time.monotonic() < end, "the child process hangs"
        time.sleep(0.0005)
    return True


def check_folder(folder: Path) -> int:
    """Assert that every checkpoint can be loaded and nothing that is half written.

    Returns how many temporary files the kills left behind.
    """
    left = 0
    for file in sorted(folder.iterdir()):
        if file.name.endswith(".tmp"):
            left += 1
            # A copy: the next write sweeps the temporary file itself.
            copy = folder.parent / "temporary.safetensors"
            shutil.copyfile(file, copy)
            with contextlib.suppress(cr.SerializationError):
                cr.load(copy)  # whole, and only not yet in its place
        elif file.suffix == ".safetensors":
            cr.load(file)
    return left


def run(
    backend: str,
    kills: int,
    folder: Path,
    *,
    epochs: int,
    span: float,
    seed: int = 0,
    chunk_bytes: int | None = None,
) -> dict[str, Any]:
    """Kill `kills` times, at most `span` seconds into training; return what happened.

    With `chunk_bytes` the samples come in chunks, and kills fall in their midst.
    Raises AssertionError where a fit does not end as the fit left alone.
    """
    rng = random.Random(seed)
    began = time.monotonic()
    alone = folder / f"{backend}-alone"
    alone.mkdir()
    process = _start(backend, alone, epochs, True, chunk_bytes)
    process.join()
    wanted = json.loads((alone / RESULT).read_text(encoding="utf-8"))
    done = ended = left = 0
    while True:
        where = folder / f"{backend}-{ended}"
        where.mkdir()
        while True:
            (where / BEGUN).unlink(missing_ok=True)
            process = _start(backend, where, epochs, False, chunk_bytes)
            if done < kills:
                ready = _wait((where / BEGUN).exists, process)
                if ready and _wait((where / FILE).exists, process):
                    time.sleep(rng.uniform(0.0, span))
                    process.kill()
            process.join()
            left += check_folder(where)
            if process.exitcode == 0:
                break
            assert process.exitcode == -9, f"the child failed: {process.exitcode}"
            done += 1
        got = json.loads((where / RESULT).read_text(encoding="utf-8"))
        for name, value in wanted.items():
            assert got[name] == value, f"{backend}: {name} differs after resuming"
        ended += 1
        shutil.rmtree(where)
        if done >= kills:
            break
    return {
        "backend": backend,
        "kills": done,
        "fits": ended,
        "temporary files left": left,
        "seconds": round(time.monotonic() - began, 1),
    }
