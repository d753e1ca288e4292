"""Streams refuse what arrays are refused for, and say where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.data import sources

from tests.support.libraries import here
from tests.support.streams import store

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 4)).astype(np.float32)
Y = X[:, :1] ** 2
WEIGHT = RNG.uniform(0.5, 1.0, 100)
# Thirty rows of x and y.
CHUNK = 600
BATCHES = [(X[i : i + 10], Y[i : i + 10]) for i in range(0, 100, 10)]


def model(**options: Any) -> cr.Model:
    """Return a small model of NumPy's."""
    return cr.Model(cr.MLP((8, 1)), **{"backend": "numpy", "seed": 1, **options})


def mapped(a: Any, folder: Path, name: str = "x") -> Any:
    """Return an array as a memory map."""
    return store("memmap", np.asarray(a), folder, name)


@pytest.mark.parametrize("share", [0.0, 0.2])
@pytest.mark.parametrize("rows", [95, 120])
def test_lengths_are_compared(rows: int, share: float, tmp_path: Path) -> None:
    x = mapped(X, tmp_path)
    y = mapped(np.resize(Y, (rows, 1)), tmp_path, "y")
    how: dict[str, Any] = {"chunk_bytes": CHUNK, "validation_split": share}
    with pytest.raises(cr.ShapeError, match=f"x and y must .* 100 and {rows}"):
        model().fit(x, y, batch_size=5, **how)
    with pytest.raises(cr.ShapeError, match=f"sample_weight must .* 100 and {rows}"):
        model().fit(x, Y, batch_size=5, sample_weight=np.ones(rows), **how)


def test_masked_entries_are_refused(tmp_path: Path) -> None:
    masked = np.ma.masked_greater(X, 1.0)
    x, out = mapped(X, tmp_path), np.zeros((100, 1), np.float32)
    with pytest.raises(cr.ArgumentError, match=r"^x has masked entries"):
        model().fit(masked, Y, chunk_bytes=CHUNK, batch_size=5)
    with pytest.raises(cr.ArgumentError, match=r"^y has masked entries"):
        model().fit(x, np.ma.masked_greater(Y, 1.0))
    with pytest.raises(cr.ArgumentError, match=r"^x has masked entries"):
        model().build(4).predict(masked, out=out)


def test_columns_are_compared(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["a"] = frame["a"].round().astype("Int64")
    m = model()
    m.fit(frame, Y, epochs=1, chunk_bytes=CHUNK, batch_size=5)
    out = np.zeros((100, 1), np.float32)
    m.predict(frame, out=out)
    np.testing.assert_array_equal(out, m.predict(frame))
    for wrong in (frame[list("bacd")], pa.table(frame[list("bacd")])):
        with pytest.raises(cr.ArgumentError, match="another order"):
            m.predict(wrong, out=out)
        with pytest.raises(cr.ArgumentError, match="another order"):
            m.fit(wrong, Y, epochs=1, chunk_bytes=CHUNK, batch_size=5)
    tables = model()
    tables.fit(pa.table(frame), Y, epochs=1)
    with pytest.raises(cr.ArgumentError, match="another order"):
        tables.predict(frame[list("bacd")])


@pytest.mark.parametrize("scale", [1e-300, 1e-60, 3e37, 1e300])
@pytest.mark.parametrize("stored", [False, True])
def test_only_ratios_of_weights_matter(
    scale: float, stored: bool, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"epochs": 2, "batch_size": 5, "chunk_bytes": CHUNK}
    weight: Any = WEIGHT * scale
    if stored:
        weight = mapped(weight, tmp_path, "w")
    plain, scaled = model(), model()
    plain.fit(X, Y, sample_weight=WEIGHT, **how)
    if scale == 1e300 and not stored:
        with pytest.raises(cr.ArgumentError, match="too large for float32"):
            scaled.fit(X, Y, sample_weight=weight, **how)
        return
    if scale == 1e300:
        with pytest.raises(cr.ArgumentError, match="too large for float32"):
            scaled.fit(X, Y, sample_weight=weight, **how)
        return
    scaled.fit(X, Y, sample_weight=weight, **how)
    np.testing.assert_allclose(scaled.history["loss"], plain.history["loss"], rtol=1e-5)
    found = scaled.evaluate(X, Y, weight, chunk_bytes=CHUNK)
    np.testing.assert_allclose(
        found["loss"], scaled.evaluate(X, Y, WEIGHT)["loss"], rtol=1e-5
    )


def _weighted(number: int) -> list[Any]:
    """Return batches of which one has weights, or has none."""
    ones = np.ones(10)
    if number:
        return [*BATCHES[:number], (*BATCHES[number], ones), *BATCHES[number + 1 :]]
    return [(*BATCHES[0], ones), *BATCHES[1:]]


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "weights later": (_weighted(3), cr.ShapeError, "batch 4 of epoch 1 differs"),
    "weights first": (_weighted(0), cr.ShapeError, "batch 2 of epoch 1 differs"),
    "tiny weights": (
        [(*b, np.full(10, 1e-60)) for b in BATCHES],
        cr.ArgumentError,
        "positive values that are 0 in float32",
    ),
    "no batches": ([], cr.SourceError, "ended after 0 batches of epoch 1"),
    "raises at once": (
        (1 // 0 for _ in "a"),
        cr.SourceError,
        "failed to give batch 1 of epoch 1: ZeroDivisionError",
    ),
    "a function that raises": (
        lambda epoch: 1 // 0,
        cr.SourceError,
        "failed to begin epoch 1: ZeroDivisionError",
    ),
    "a function of nothing": (lambda: BATCHES, cr.SourceError, "takes the epoch"),
    "a function of None": (lambda epoch: None, cr.SourceError, "failed to begin"),
    "masked": (
        [(np.ma.masked_greater(x, 0.0), y) for x, y in BATCHES],
        cr.ArgumentError,
        "masked entries",
    ),
    "smaller later": (
        lambda epoch: [(a[: 10 - 5 * epoch], b[: 10 - 5 * epoch]) for a, b in BATCHES],
        cr.ShapeError,
        "one size, 10 samples as the first.*batch 1 of epoch 2",
    ),
}


@pytest.mark.parametrize("chunk_bytes", [None, 1])
@pytest.mark.parametrize("case", BAD)
def test_bad_batches(case: str, chunk_bytes: int | None) -> None:
    given, error, match = BAD[case]
    if hasattr(given, "__next__"):
        given, epochs = (1 // 0 for _ in "a"), 1
    else:
        epochs = 2
    with pytest.raises(error, match=match):
        model().fit(given, epochs=epochs, chunk_bytes=chunk_bytes)


OPTIONS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "shuffle": ({"shuffle": True}, cr.ArgumentError, "shuffle=True is for arrays"),
    "too many steps": (
        {"steps_per_epoch": 11},
        cr.ArgumentError,
        "steps_per_epoch is 11, and x has 10 batches",
    ),
    "weights": (
        {"sample_weight": WEIGHT},
        cr.ArgumentError,
        "sample_weight is for fit",
    ),
    "share": ({"validation_split": 0.1}, cr.ArgumentError, "validation_split is for"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_batches_do_not_have(case: str) -> None:
    options, error, match = OPTIONS[case]
    with pytest.raises(error, match=match):
        model().fit(BATCHES, epochs=1, **options)


def test_steps_that_leave_batches_out_are_told() -> None:
    with pytest.warns(cr.ChainruleWarning, match="of the 10 batches"):
        model().fit(BATCHES, epochs=2, steps_per_epoch=3)
    with pytest.raises(cr.ArgumentError, match="sample_weight is for evaluate"):
        model().build(4).evaluate(BATCHES, sample_weight=WEIGHT)


def test_a_refused_fit_takes_nothing_from_an_iterator() -> None:
    given = iter(BATCHES)
    with pytest.raises(cr.ArgumentError, match="metrics are of the whole"):
        model(metrics=["r2"]).fit(given, epochs=1)
    with pytest.raises(cr.ArgumentError, match="gives its batches once"):
        model().fit(given, epochs=2)
    assert len(list(given)) == 10


def test_a_source_is_begun_once_an_epoch() -> None:
    begun: list[int] = []

    def batches(epoch: int) -> Iterator[Any]:
        begun.append(epoch)
        return iter(BATCHES)

    model().fit(batches, epochs=3)
    assert begun == [0, 1, 2]


def test_validation_takes_batches() -> None:
    one, two = model(), model()
    one.fit(X, Y, epochs=2, validation_data=(X[:20], Y[:20]))
    two.fit(X, Y, epochs=2, validation_data=lambda epoch: BATCHES[:2])
    np.testing.assert_allclose(
        one.history["val_loss"], two.history["val_loss"], rtol=1e-6
    )


def test_validation_is_named(tmp_path: Path) -> None:
    with pytest.raises(cr.MissingFileError, match=r"^validation x: there is no file"):
        model().fit(X, Y, validation_data=(["none.npy"], Y))
    text = mapped(np.asarray(["a"] * 100), tmp_path, "y")
    with pytest.raises(cr.ArgumentTypeError, match=r"^validation y must hold numbers"):
        model().fit(X, Y, validation_data=(X, text))


USES: dict[str, Callable[[Any], Any]] = {
    "fit": lambda x: model().fit(x, Y),
    "validation": lambda x: model().fit(X, Y, validation_data=(x, Y)),
    "predict": lambda x: model().build(4).predict(x),
    "jacobian": lambda x: model().build(4).jacobian(x),
    "out": lambda x: model().build(4).predict(X, out=x),
}


@pytest.mark.parametrize("use", USES)
def test_a_closed_file_is_told(use: str, tmp_path: Path) -> None:
    x = store("hdf5", X, tmp_path, "x")
    x.file.close()
    with pytest.raises(cr.SourceError, match="could not be opened"):
        USES[use](x)


OUT: dict[str, tuple[Any, type[Exception], str]] = {
    "integers": (np.zeros((100, 1), int), cr.ArgumentTypeError, "floating array"),
    "a list": ([0.0] * 100, cr.ArgumentTypeError, "floating array"),
    "a shape": (np.zeros((5, 3)), cr.ShapeError, r"\(100, 1\); got \(5, 3\)"),
}


@pytest.mark.parametrize("case", OUT)
def test_what_does_not_take_results(case: str) -> None:
    out, error, match = OUT[case]
    with pytest.raises(error, match=match):
        model().build(4).predict(X, out=out)


@pytest.mark.parametrize("given", [0, -1, "8", 2.5])
def test_chunk_bytes_are_checked_everywhere(given: Any, tmp_path: Path) -> None:
    m, x = model().build(4), mapped(X, tmp_path)
    uses: list[Callable[[], Any]] = [
        lambda: m.predict(x, chunk_bytes=given),
        lambda: m.predict(X, chunk_bytes=given),
        lambda: m.predict(X, out=np.zeros((100, 1)), chunk_bytes=given),
        lambda: m.evaluate(x, Y, chunk_bytes=given),
        lambda: m.evaluate(BATCHES, chunk_bytes=given),
        lambda: m.fit(x, Y, chunk_bytes=given),
        lambda: m.fit(BATCHES, chunk_bytes=given),
    ]
    for use in uses:
        with pytest.raises(cr.ChainruleError, match=r"^chunk_bytes must be"):
            use()


def test_what_is_read_only_takes_no_results(tmp_path: Path) -> None:
    with pytest.raises(cr.ArgumentError, match="out is read-only"):
        model().build(4).predict(X, out=mapped(np.zeros((100, 1)), tmp_path))


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_results_are_not_written_to_other_libraries(name: Any) -> None:
    here(name) or pytest.skip(f"needs {name}")
    out = cr.backends.get(name).asarray(np.zeros((100, 1), np.float32))
    with pytest.raises(cr.ArgumentTypeError, match="takes NumPy's rows"):
        model().build(4).predict(X, out=out)


def test_arrays_of_other_libraries_are_cut_too() -> None:
    here("torch") or pytest.skip("needs torch")
    import torch

    x, y = torch.tensor(X), torch.tensor(Y)
    one, two = (cr.Model(cr.MLP((8, 1)), seed=1) for _ in "ab")
    one.fit(X, Y, epochs=2, batch_size=5, chunk_bytes=CHUNK)
    two.fit(x, y, epochs=2, batch_size=5, chunk_bytes=CHUNK)
    assert (one.backend.name, two.backend.name) == ("numpy", "torch")
    np.testing.assert_allclose(one.history["loss"], two.history["loss"], rtol=1e-4)
    with pytest.raises(cr.ArgumentError, match="fewer than a batch"):
        model().fit(X.tolist(), Y.tolist(), chunk_bytes=1)
    assert isinstance(two.predict(x, chunk_bytes=200), torch.Tensor)
    three = cr.Model(cr.MLP((8, 1)), seed=1)
    three.fit([(x[:10], y[:10])], epochs=1)
    assert three.backend.name == "torch"


def test_other_uses_read_all_rows(tmp_path: Path) -> None:
    m = model(members=2).build(4)
    x = store("shards", X, tmp_path, "x")
    np.testing.assert_array_equal(m.predict_members(x), m.predict_members(X))
    np.testing.assert_array_equal(model().build(4).jacobian(x[:1]).shape, (34, 1, 4))


def test_rows_that_are_not_finite_are_named(tmp_path: Path) -> None:
    x = X.copy()
    x[77, 1] = np.nan
    given = mapped(x, tmp_path)
    with pytest.raises(cr.ArgumentError, match=r"finite.*In rows 60 to 89 of x"):
        model().build(4).predict(given, chunk_bytes=CHUNK)
    pa = pytest.importorskip("pyarrow")
    y: list[Any] = Y[:, 0].tolist()
    y[77] = None
    table = pa.table({"n": y})
    with pytest.raises(cr.ArgumentError, match=r"^y, rows .*'n' has missing.*chunk"):
        model().fit(X, table, batch_size=5, chunk_bytes=CHUNK)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ((5,), cr.ArgumentTypeError),
        (("t.parquet", 5), cr.ArgumentTypeError),
        (("t.parquet", []), cr.ArgumentTypeError),
        (("t.parquet", ["a", "a"]), cr.ArgumentError),
    ],
)
def test_parquet_refuses(given: Any, error: type[Exception]) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(error, match=r"^(path|columns)"):
        sources.parquet(*given)


def test_an_empty_data_set_is_refused() -> None:
    here("torch") or pytest.skip("needs torch")
    import torch
    from torch.utils import data

    empty = data.TensorDataset(torch.zeros((0, 4)), torch.zeros((0, 1)))
    with pytest.raises(cr.ArgumentError, match="data set without samples"):
        model().fit(empty, epochs=1)
