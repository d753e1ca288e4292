"""Several processes that train together on this machine, each a run of this file."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]


class Ended:
    """How a process ended: its code, and what it printed."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text

    def values(self, name: str) -> list[str]:
        """Return what it printed after this name."""
        lines = [line.split(" ", 1) for line in self.text.splitlines()]
        return [line[1] for line in lines if line[0] == f"{name}:"]


def launch(number: int, tasks: str, folder: Path, devices: int = 1) -> list[Ended]:
    """Run tasks below in so many processes, each of so many CPU devices."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
    }
    running = [
        subprocess.Popen(
            [sys.executable, __file__, str(k), str(number), str(port), tasks, folder],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for k in range(number)
    ]
    try:
        return [
            Ended(text_of.returncode, text)
            for text_of, text in [(p, p.communicate(timeout=240)[0]) for p in running]
        ]
    finally:
        for process in running:
            process.kill()


def tell(name: str, value: Any) -> None:
    """Print a value, for `Ended.values`."""
    print(f"{name}: {value}", flush=True)


def both(*network: Any, **options: Any) -> Any:
    """Return a model on the devices of all processes, and one on a device here."""
    import jax

    from tests.support.meshes import new_model

    here = jax.local_devices()[0]
    return [new_model(d, *network, **options) for d in ("cpu:*", here)]


def same(process: int, number: int, folder: Path) -> None:
    """Train together and alone, and print the differences."""
    from tests.support.meshes import X, Y, difference

    many, one = both()
    histories = [
        m.fit(X, Y, epochs=4, batch_size=30, validation_split=0.2) for m in (many, one)
    ]
    tell("difference", difference(many.get_weights(), one.get_weights()))
    losses = ([h["loss"], h["val_loss"]] for h in histories)
    tell("difference", difference(*losses))
    tell("difference", difference([many.predict(X)], [one.predict(X)]))
    tell("difference", difference([many.theta], [one.theta]))
    a, b = (m.evaluate(X, Y)["loss"] for m in (many, one))
    tell("difference", abs(a - b))


def ensemble(process: int, number: int, folder: Path) -> None:
    """As `same`, of members."""
    from tests.support.meshes import X, Y, difference, smooth

    many, one = both(smooth(), members=4)
    for m in (many, one):
        m.fit(X, Y, epochs=2, bootstrap=True)
    tell("difference", difference(many.get_weights(), one.get_weights()))
    a, b = (m.predict(X, return_std=True) for m in (many, one))
    tell("difference", difference(a, b))
    tell("difference", difference([many.jacobian(X)], [one.jacobian(X)]))


def parts(process: int, number: int, folder: Path) -> None:
    """As `same`, where each has but its own part of the samples."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    from tests.support.meshes import X, Y, difference

    many, one = both()
    mesh, part = many.backend.device, 200 // number
    rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    mine = slice(process * part, (process + 1) * part)
    with jax.enable_x64(True):
        x, y = (
            jax.make_array_from_process_local_data(rows, a[:200][mine]) for a in (X, Y)
        )
    many.fit(x, y, epochs=2, batch_size=30)
    one.fit(X[:200], Y[:200], epochs=2, batch_size=30)
    tell("difference", difference(many.get_weights(), one.get_weights()))


def source(process: int, number: int, folder: Path) -> None:
    """As `same`, where all read the same source."""
    from tests.support.meshes import X, Y, difference

    many, one = both()
    if process == 0:
        np.save(folder / "part.npy", X)
        (folder / "part.npy").rename(folder / "x.npy")
    many.backend.any(True)  # until it is there
    x = np.load(folder / "x.npy", mmap_mode="r")
    for m in (many, one):
        m.fit(x, Y, epochs=2, batch_size=30, chunk_bytes=4000)
    tell("difference", difference(many.get_weights(), one.get_weights()))


def saved(process: int, number: int, folder: Path) -> None:
    """Write checkpoints and a log; go on from a checkpoint, together and alone."""
    import jax

    import chainrule as cr

    from tests.support.meshes import X, Y, difference, new_model

    class Told(cr.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            tell("epoch", epoch)

    path = folder / "fit.ckpt"
    model = new_model("cpu:*")
    model.fit(
        X,
        Y,
        epochs=4,
        batch_size=30,
        callbacks=[
            cr.callbacks.Checkpoint(path, every_steps=3, keep=None),
            cr.callbacks.CSVLogger(folder / "log.csv"),
            Told(),
        ],
    )
    for device in ("cpu:*", jax.local_devices()[0]):
        other = new_model(device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other.fit(X, Y, epochs=4, batch_size=30, resume=folder / "fit-2-3.ckpt")
        tell("resumed", difference(model.get_weights(), other.get_weights()))


def differ(process: int, number: int, folder: Path) -> None:
    """Begin fits that differ from process to process, and print the errors."""
    import jax

    import chainrule as cr

    from tests.support.meshes import X, Y, new_model

    bad = X.copy()
    bad[3, 1] = np.nan
    rows = slice(0, 200 - process)
    fits = {
        "shape": lambda m: m.fit(X[rows], Y[rows]),
        "content": lambda m: m.fit(X + process, Y),
        "finite": lambda m: m.fit(bad if process else X, Y),
        "epochs": lambda m: m.fit(X, Y, epochs=3 + process),
    }
    for name, fit in fits.items():
        model = new_model("cpu:*")
        try:
            fit(model)
        except cr.ChainruleError as error:
            tell(name, f"{type(error).__name__} {error}")
        tell("built", model.built)
    for seed in (process,):
        with contextlib.suppress(cr.ChainruleError):
            new_model("cpu:*", seed=seed).fit(X, Y)
            tell("seed", "no error")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        new_model(jax.local_devices()[0]).fit(X, Y, epochs=1)
    tell("alone", caught[0].message)


def one_sided(process: int, number: int, folder: Path) -> None:
    """Let one process fail, or be given something else; print what both hear."""
    import chainrule as cr

    from tests.support.meshes import X, Y, new_model, smooth

    class Fails(cr.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            if process and epoch == 1:
                raise ZeroDivisionError

    def batches(epoch: int) -> Any:
        for i in range(5):
            if process and i == 3:
                raise OSError
            yield X[i * 20 : i * 20 + 20], Y[i * 20 : i * 20 + 20]

    def fewer(epoch: int) -> Any:
        for i in range(5 - process):
            yield X[i * 20 : i * 20 + 20], Y[i * 20 : i * 20 + 20]

    def new(**options: Any) -> Any:
        return new_model("cpu:*", smooth(), **options)

    model = new()
    model.fit(X, Y, epochs=1)
    log, only = cr.callbacks.CSVLogger(folder / "a.csv"), cr.EarlyStopping("loss")
    rate = cr.Adam(0.1 + process)
    tasks: dict[str, Any] = {
        "logger": lambda: new().fit(X, Y, epochs=20, callbacks=[log]),
        "callback": lambda: new().fit(X, Y, epochs=4, callbacks=[Fails()]),
        "text": lambda: new().fit("text" if process else X, Y),
        "rate": lambda: new(optimizer=rate).fit(X, Y),
        "hooks": lambda: new().fit(X, Y, callbacks=[only] if process else []),
        "metrics": lambda: new(metrics=["r2"] if process else []).fit(X, Y),
        "predict": lambda: model.predict(X + process),
        "rows": lambda: model.predict(X[: 100 + process]),
        "evaluate": lambda: model.evaluate(X + process, Y),
        "source": lambda: new().fit(batches, epochs=2, chunk_bytes=2000),
        "fewer": lambda: new().fit(fewer, epochs=2, chunk_bytes=2000),
        "bar": lambda: new(members=2).fit(X, Y, epochs=300, progress=not process),
        "device": lambda: new_model("cpu:0", smooth()),
        "again": lambda: model.fit(X, Y, epochs=1),
    }
    for name, task in tasks.items():
        try:
            task()
            tell(name, "ok")
        except (cr.ChainruleError, ZeroDivisionError) as error:
            tell(name, f"{type(error).__name__} {error}")


def signalled(process: int, folder: Path, number: int) -> None:
    """Train; the last process gets a signal in its third epoch."""
    import chainrule as cr

    from tests.support.meshes import X, Y, new_model

    class Last(cr.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            tell("epoch", epoch)
            if process and epoch == 2:
                os.kill(os.getpid(), number)

    path = folder / "fit.ckpt"
    model = new_model("cpu:*")
    try:
        model.fit(
            X,
            Y,
            epochs=6,
            batch_size=30,
            resume=path,
            callbacks=[cr.callbacks.Checkpoint(path), Last()],
        )
    except cr.errors.PeerError as error:
        tell("peer", error)
        raise
    tell("weights", float(model.get_weights()[0].sum()))


def killed(process: int, number: int, folder: Path) -> None:
    """Let one process be killed."""
    signalled(process, folder, signal.SIGKILL)


def terminated(process: int, number: int, folder: Path) -> None:
    """Let one process be asked to end."""
    signalled(process, folder, signal.SIGTERM)


def again(process: int, number: int, folder: Path) -> None:
    """Go on from what a fit before has left, and compare with a fit left alone."""
    from tests.support.meshes import X, Y, difference, new_model

    model, left = new_model("cpu:*"), new_model("cpu:*")
    model.fit(X, Y, epochs=6, batch_size=30, resume=folder / "fit.ckpt")
    left.fit(X, Y, epochs=6, batch_size=30)
    tell("difference", difference(model.get_weights(), left.get_weights()))


if __name__ == "__main__":
    import jax

    process, number, port = map(int, sys.argv[1:4])
    jax.distributed.initialize(
        f"127.0.0.1:{port}", number, process, heartbeat_timeout_seconds=10
    )
    for task in sys.argv[4].split(","):
        globals()[task](process, number, Path(sys.argv[5]))
