"""Fits of samples that come chunk by chunk."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import callbacks
from chainrule.data.sources import Rows

from tests.support.libraries import LIBRARIES, backend, here
from tests.support.streams import STORES, store
from tests.support.training import WEIGHT, X, Y, normed

X32, Y32 = X.astype(np.float32), Y.astype(np.float32)
# Chunks of 24 samples, in blocks of 8, of the 70 that there are.
CHUNK = 24 * 6 * 8


def model(name: str = "numpy", **options: Any) -> cr.Model:
    """Return a model of float64, with all that a step can have in it."""
    options = {"dtype": "float64", "seed": 3, **options}
    return cr.Model(
        normed(),
        optimizer=cr.AdamW(1e-2, weight_decay=0.1, clip_norm=1.0),
        **options,
        **backend(name),
    )


def weights(m: cr.Model) -> Any:
    """Return theta and state on the host."""
    return [np.asarray(a) for a in m.get_weights()]


def same(a: cr.Model, b: cr.Model) -> None:
    """Assert that two models have the same bits."""
    for left, right in zip(weights(a), weights(b), strict=True):
        np.testing.assert_array_equal(left, right)


def readers() -> list[str]:
    """Names of the threads that read."""
    names = (t.name for t in threading.enumerate())
    return [n for n in names if n.startswith("chainrule-prefetch")]


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("members", [None, 2])
def test_one_chunk_is_a_fit_of_arrays(
    name: str, members: int | None, tmp_path: Path
) -> None:
    one, two = model(name, members=members), model(name, members=members)
    one.fit(X, Y, epochs=3, batch_size=8, sample_weight=WEIGHT)
    given = [store("memmap", a, tmp_path, n) for a, n in ((X, "x"), (Y, "y"))]
    two.fit(*given, epochs=3, batch_size=8, sample_weight=WEIGHT)
    same(one, two)
    assert one.history["loss"] == two.history["loss"]


@pytest.mark.parametrize("kind", STORES)
def test_stores_train_alike(kind: str, tmp_path: Path) -> None:
    one, two = model(metrics=["r2"]), model(metrics=["r2"])
    how: dict[str, Any] = {"epochs": 2, "batch_size": 8, "chunk_bytes": CHUNK}
    given = [store(kind, a, tmp_path, n) for a, n in ((X, "x"), (Y, "y"))]
    two.fit(*given, **how)
    grain = given[0].grain if isinstance(given[0], Rows) else 1
    if kind in ("memmap", "shards", "table"):  # else blocks are others
        one.fit(X, Y, **how)
        same(one, two)
        assert one.history == two.history
    assert grain >= 1
    assert np.isfinite(two.history["loss"]).all()
    assert not readers()


@pytest.mark.parametrize("name", [n for n in LIBRARIES if n != "numpy"])
@pytest.mark.parametrize("members", [None, 2])
def test_backends_agree(name: str, members: int | None) -> None:
    models = [model(n, members=members) for n in ("numpy", name)]
    for each in models:
        each.fit(X, Y, epochs=4, batch_size=8, sample_weight=WEIGHT, chunk_bytes=CHUNK)
    for a, b in zip(*map(weights, models), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    one, two = (m.history["loss"] for m in models)
    np.testing.assert_allclose(one, two, rtol=1e-9)


def test_without_shuffling_chunks_change_nothing_but_rounding() -> None:
    """The order is then the same, and so are the steps: on NumPy, bit for bit."""
    one, two = model(), model()
    how: dict[str, Any] = {"epochs": 3, "batch_size": 8, "shuffle": False}
    one.fit(X, Y, **how, validation_data=(X[:30], Y[:30]))
    two.fit(X, Y, **how, validation_data=(X[:30], Y[:30]), chunk_bytes=CHUNK)
    same(one, two)
    np.testing.assert_allclose(one.history["loss"], two.history["loss"], rtol=1e-12)
    np.testing.assert_allclose(
        one.history["val_loss"], two.history["val_loss"], rtol=1e-12
    )


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("every", [2, 3, 4])
def test_a_fit_that_is_killed_goes_on_in_the_midst_of_a_chunk(
    name: str, every: int, tmp_path: Path
) -> None:
    """Bit for bit, wherever it was: within a chunk, at its end, at the epoch's."""
    how: dict[str, Any] = {"epochs": 3, "batch_size": 8, "chunk_bytes": CHUNK}
    alone = model(name)
    alone.fit(X, Y, **how, callbacks=[])
    ends = []
    for cuts in (1, 3, 4, 6):
        path = tmp_path / f"{cuts}.safetensors"
        killed = model(name)
        with pytest.raises(RuntimeError, match="killed"):
            killed.fit(
                X,
                Y,
                **how,
                callbacks=[cr.Checkpoint(path, every_steps=every), Kill(cuts)],
            )
        resumed = model(name)
        resumed.fit(X, Y, **how, resume=path)
        same(alone, resumed)
        ends.append(resumed.history["loss"])
    assert all(end == alone.history["loss"] for end in ends)


class Kill(callbacks.Callback):
    """End the fit by an error after so many cuts."""

    every_steps = 1

    def __init__(self, cuts: int) -> None:
        self.left = cuts

    saves = True

    def on_cut(self, cut: callbacks.Cut) -> None:
        self.left -= 1
        if self.left <= 0:
            msg = "killed"
            raise RuntimeError(msg)


def batches_of(
    x: Any, y: Any, size: int, weight: Any = None
) -> Callable[[int], Iterator[Any]]:
    """Return a function of the epoch that gives batches."""

    def batches(epoch: int) -> Iterator[Any]:
        del epoch
        for low in range(0, len(x), size):
            rows = slice(low, low + size)
            yield (x[rows], y[rows], *(() if weight is None else (weight[rows],)))

    return batches


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("chunk_bytes", [None, 8 * 6 * 8 * 3, 1])
def test_batches_are_a_fit_in_their_order(name: str, chunk_bytes: int | None) -> None:
    one, two = model(name), model(name)
    one.fit(X, Y, epochs=3, batch_size=8, shuffle=False)
    batches = batches_of(X, Y, 8)
    history = two.fit(batches, epochs=3, chunk_bytes=chunk_bytes)
    for a, b in zip(weights(one), weights(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(one.history["loss"], history["loss"], rtol=1e-12)


def test_batches_have_metrics_weights_and_validation() -> None:
    one, two = (model(metrics=["r2"]) for _ in "ab")
    held = X[:20], Y[:20]
    one.fit(
        X,
        Y,
        sample_weight=WEIGHT,
        epochs=2,
        batch_size=10,
        shuffle=False,
        validation_data=held,
    )
    two.fit(batches_of(X, Y, 10, WEIGHT), epochs=2, validation_data=held)
    for key in ("loss", "r2", "val_loss", "val_r2"):
        np.testing.assert_allclose(one.history[key], two.history[key], rtol=1e-10)


def test_iterators_train_one_epoch_or_go_on_with_steps() -> None:
    one, two = model(), model()
    one.fit(X[:64], Y[:64], epochs=1, batch_size=8, shuffle=False)
    two.fit(iter(list(batches_of(X[:64], Y[:64], 8)(0))), epochs=1)
    same(one, two)
    endless = itertools.cycle(batches_of(X[:64], Y[:64], 8)(0))
    three, four = model(), model()
    three.fit(endless, epochs=4, steps_per_epoch=4)  # twice all of them
    four.fit(X[:64], Y[:64], epochs=2, batch_size=8, shuffle=False)
    same(three, four)
    assert len(three.history["loss"]) == 4
    with pytest.raises(cr.ArgumentError, match=r"gives its batches once.*epochs is 2"):
        model().fit(batches_of(X, Y, 8)(0), epochs=2)


@pytest.mark.parametrize("workers", [0])
def test_data_loaders_and_data_sets_of_torch(workers: int) -> None:
    here("torch") or pytest.skip("needs torch")
    import torch
    from torch.utils import data

    pairs = data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    one, two, three, four = (model() for _ in range(4))
    one.fit(X, Y, epochs=2, batch_size=8, shuffle=False)
    two.fit(data.DataLoader(pairs, batch_size=8, num_workers=workers), epochs=2)
    same(one, two)
    three.fit(X, Y, epochs=2, batch_size=8)
    four.fit(pairs, epochs=2, batch_size=8)  # shuffled as arrays are
    same(three, four)


class Endless:
    """Batches that end too early in the second epoch, or are wrong there."""

    def __init__(self, wrong: Any) -> None:
        self.wrong = wrong

    def __call__(self, epoch: int) -> Iterator[Any]:
        for number, batch in enumerate(batches_of(X, Y, 10)(epoch)):
            if epoch == 1 and number == 4:
                found = self.wrong(*batch)
                if found is None:
                    return
                yield found
            else:
                yield batch


def _raise(*_: Any) -> Any:
    msg = "of the disk"
    raise OSError(msg)


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "raises": (_raise, cr.SourceError, "batch 5 of epoch 2: OSError: of the disk"),
    "ends": (
        lambda x, y: None,
        cr.SourceError,
        "ended after 4 batches of epoch 2, and steps_per_epoch is 7",
    ),
    "nan": (
        lambda x, y: (np.where(x > 1, np.nan, x), y),
        cr.ArgumentError,
        r"must be finite.*In batch 5 of epoch 2",
    ),
    "shape": (lambda x, y: (x[:, :3], y), cr.ShapeError, r"got \(10, 3\).*batch 5"),
    "size": (
        lambda x, y: (np.concatenate([x, x]), np.concatenate([y, y])),
        cr.ShapeError,
        r"of one size, 10 samples.*batch 5",
    ),
    "kind": (lambda x, y: x, cr.ArgumentTypeError, r"batch 5 is a ndarray"),
    "strings": (
        lambda x, y: (x.astype(str), y),
        cr.ArgumentTypeError,
        "must hold numbers.*batch 5",
    ),
}


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("kind", BAD)
def test_bad_batches_leave_the_last_whole_epoch(name: str, kind: str) -> None:
    wrong, error, match = BAD[kind]
    one, two = model(name), model(name)
    one.fit(batches_of(X, Y, 10), epochs=1, chunk_bytes=CHUNK)
    with pytest.raises(error, match=f"(?s){match}"):
        two.fit(Endless(wrong), epochs=3, steps_per_epoch=7, chunk_bytes=CHUNK)
    same(one, two)
    assert two.history == one.history
    assert not readers()
    two.fit(X, Y, epochs=1)


@pytest.mark.parametrize("kind", ["memmap", "hdf5"])
def test_bad_rows_are_named(kind: str, tmp_path: Path) -> None:
    x = X.copy()
    x[53, 2] = np.inf
    given = [store(kind, a, tmp_path, n) for a, n in ((x, "x"), (Y, "y"))]
    m = model(metrics=["r2"])
    m.build(4)
    before = weights(m)
    with pytest.raises(cr.ArgumentError, match=r"the first 53, chunk [1-3] of epoch 1"):
        m.fit(*given, epochs=2, batch_size=8, chunk_bytes=CHUNK)
    for a, b in zip(before, weights(m), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not readers()


MEMORY = """
import threading, time, numpy as np, chainrule as cr

def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024

x = np.load("x.npy", mmap_mode="r")
y = np.load("y.npy", mmap_mode="r")
model = cr.Model(cr.MLP((4, 1)), backend="numpy", seed=0)
model.fit(x[:512], y[:512], epochs=1)
before, peak, over = anonymous(), [0.0], threading.Event()

def watch():
    while not over.wait(0.002):
        peak[0] = max(peak[0], anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
model.fit(x, y, epochs=2, batch_size=512, chunk_bytes=2**23)
out = np.lib.format.open_memmap("z.npy", "w+", "float32", (len(x), 1))
model.predict(x, out=out, chunk_bytes=2**23)
over.set()
watcher.join()
print(peak[0] - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_is_two_chunks(tmp_path: Path) -> None:
    """Of 64 MB, 8 at a time: two chunks, a tenth more, and batches gathered at once."""
    np.save(tmp_path / "x.npy", np.ones((1 << 16, 256), np.float32))
    np.save(tmp_path / "y.npy", np.ones((1 << 16, 1), np.float32))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert float(done.stdout) < 8 * 2 * 1.1 + 6


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "slopes": ({"slopes": np.zeros((70, 2, 4))}, "^slopes needs all samples"),
    "bootstrap": ({"bootstrap": True}, "^bootstrap=True needs all samples"),
    "steps": ({"steps_per_epoch": 3}, "is for fit"),
    "small": ({"chunk_bytes": 100}, "fewer than a batch: at least 384"),
    "zero": ({"chunk_bytes": 0}, "chunk_bytes must be"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_had_in_chunks_is_refused(kind: str) -> None:
    options, match = REFUSED[kind]
    given = {"batch_size": 8, "chunk_bytes": CHUNK, **options}
    m = model()
    with pytest.raises(cr.ArgumentError, match=match):
        m.fit(X, Y, **given)
    assert not m.built


@pytest.mark.parametrize("optimizer", ["lbfgs", "levenberg_marquardt"])
def test_optimizers_of_the_whole_problem_need_it_in_memory(optimizer: Any) -> None:
    m = cr.Model(cr.MLP((3, 2)), optimizer=optimizer, backend="numpy")
    with pytest.raises(cr.ArgumentError, match=r"needs all samples in memory"):
        m.fit(X, Y, chunk_bytes=CHUNK)
    assert not m.built


@pytest.mark.parametrize("name", LIBRARIES)
def test_predictions_and_evaluations_stream(name: str, tmp_path: Path) -> None:
    m = model(name, metrics=["r2"]).build(4)
    plain, logs = m.predict(X), m.evaluate(X, Y, WEIGHT)
    x, y = (store("hdf5", a, tmp_path, n) for a, n in ((X, "x"), (Y, "y")))
    given = (x, y, WEIGHT)
    np.testing.assert_array_equal(m.predict(x), plain)
    close: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(m.predict(x, chunk_bytes=500), plain, **close)
    out = np.lib.format.open_memmap(tmp_path / "z.npy", "w+", np.float64, (70, 2))
    assert m.predict(x, out=out, chunk_bytes=500) is out
    np.testing.assert_allclose(out, plain, **close)
    out[:] = 0
    assert m.predict(X[:3], out=out[:3]) is not None
    np.testing.assert_allclose(out[:3], plain[:3], **close)
    with pytest.raises(cr.ShapeError, match=r"out must have shape \(70, 2\); got \(3,"):
        m.predict(X, out=np.zeros((3, 2)))
    for found in (
        m.evaluate(*given),
        m.evaluate(*given, chunk_bytes=500),
        m.evaluate(batches_of(X, Y, 16, WEIGHT)),
    ):
        for key, value in logs.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-12)


def test_ensembles_stream_their_spread(tmp_path: Path) -> None:
    m = model(members=3).build(4)
    mean, std = m.predict(X, return_std=True)
    x = store("memmap", X, tmp_path, "x")
    for a, b in zip(
        m.predict(x, return_std=True, chunk_bytes=500), (mean, std), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    out = np.zeros((70, 2)), np.zeros((70, 2))
    m.predict(X, return_std=True, out=out, chunk_bytes=500)
    np.testing.assert_allclose(out[1], std, rtol=1e-12)


def test_validation_split_and_labels_of_stored_rows(tmp_path: Path) -> None:
    labels = (X[:, 0] > 0).astype(np.int64)
    net = cr.MLP((8, 2))
    one, two = (
        cr.Model(net, loss="cross_entropy", metrics=["accuracy"], backend="numpy")
        for _ in "ab"
    )
    how: dict[str, Any] = {"epochs": 2, "batch_size": 8, "shuffle": False}
    one.fit(X, labels, **how, validation_split=0.2)
    given = [store("memmap", a, tmp_path, n) for a, n in ((X, "x"), (labels, "y"))]
    two.fit(*given, **how, validation_split=0.2, chunk_bytes=24 * 5 * 4)
    same(one, two)
    for key, column in one.history.items():
        np.testing.assert_allclose(two.history[key], column, rtol=1e-5)


def test_resuming_batches_says_what_is_not_exact(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    one, two = model(), model()
    one.fit(batches_of(X, Y, 8), epochs=3)
    two.fit(batches_of(X, Y, 8), epochs=2, callbacks=[cr.Checkpoint(path)])
    with pytest.warns(cr.ChainruleWarning, match="batches cannot be compared"):
        two.fit(batches_of(X, Y, 8), epochs=3, resume=path)
    same(one, two)
    with pytest.raises(cr.ResumeError, match="x"):
        model().fit(X, Y, epochs=3, batch_size=8, resume=path)


@pytest.mark.parametrize("chunk_bytes", [None, 2 * CHUNK])
def test_another_cut_into_chunks_is_another_fit(
    chunk_bytes: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "c.safetensors"
    how: dict[str, Any] = {"epochs": 2, "batch_size": 8}
    model().fit(X, Y, **how, chunk_bytes=CHUNK, callbacks=[cr.Checkpoint(path)])
    with pytest.raises(cr.ResumeError, match="chunks was 24 samples in blocks of 8"):
        model().fit(X, Y, **how, resume=path, chunk_bytes=chunk_bytes)


class KillAt(callbacks.Callback):
    """End the fit by an error once a checkpoint of so many steps is there."""

    saves = True

    def __init__(self, path: Path, steps: int) -> None:
        self.path, self.every_steps = path, steps

    def on_cut(self, cut: callbacks.Cut) -> None:
        if cut.steps == self.every_steps and self.path.exists():
            msg = "killed"
            raise RuntimeError(msg)


@pytest.mark.parametrize("chunk_bytes", [None, 1, 4 * 8 * 6 * 8])
@pytest.mark.parametrize("steps", [4, 8])
def test_batches_whose_number_nobody_knows_go_on_from_any_cut(
    steps: int, chunk_bytes: int | None, tmp_path: Path
) -> None:
    """At the end of an epoch, too: that it is the end is seen only then."""
    path, batches = tmp_path / "c.safetensors", batches_of(X[:64], Y[:64], 8)
    how: dict[str, Any] = {"epochs": 2, "chunk_bytes": chunk_bytes}
    alone, killed, resumed = (model() for _ in range(3))
    alone.fit(batches, **how)
    saver = cr.Checkpoint(path, every=100, every_steps=steps)
    with pytest.raises(RuntimeError, match="killed"):
        killed.fit(batches, **how, callbacks=[saver, KillAt(path, steps)])
    with pytest.warns(cr.ChainruleWarning, match="batches cannot be compared"):
        resumed.fit(batches, **how, resume=path)
    same(alone, resumed)
    assert resumed.history["loss"] == alone.history["loss"]
