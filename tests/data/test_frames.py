"""What comes with names, or is no single array: frames, text, lists, streams."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.files import models

from tests.support.libraries import LIBRARIES, backend, here

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3))
Y = X @ np.asarray([[1.0], [-2.0], [0.5]])


def _frame(library: str, columns: str = "abc", x: Any = X) -> Any:
    lib = pytest.importorskip(library)
    return lib.DataFrame({c: x[:, "abc".index(c)] for c in columns})


def _model(**options: Any) -> cr.Model:
    return cr.Model(cr.MLP((4, 1)), **{"backend": "numpy", **options})


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("name", LIBRARIES)
def test_columns_are_those_of_the_first_fit(name: str, library: str) -> None:
    model, frame = _model(**backend(name)), _frame(library)
    model.fit(frame, Y, epochs=2)
    want = np.asarray(model.predict(X))
    np.testing.assert_array_equal(np.asarray(model.predict(frame)), want)
    other = _frame(library, "cab")
    match = (
        r"^x must have the columns of the first fit; .*order: x = x\[\['a', 'b', 'c'"
    )
    for call in (
        lambda: model.predict(other),
        lambda: model.evaluate(other, Y),
        lambda: model.jacobian(other),
        lambda: model.fit(other, Y, epochs=1),
    ):
        with pytest.raises(cr.ArgumentError, match=match):
            call()
    with pytest.raises(cr.ArgumentError, match=r"^validation x must have the columns"):
        model.fit(frame, Y, epochs=1, validation_data=(other, Y))
    back = other[["a", "b", "c"]]  # as the error says
    np.testing.assert_array_equal(np.asarray(model.predict(back)), want)


def test_other_columns_are_named() -> None:
    model, frame = _model(), _frame("pandas")
    model.fit(frame, Y, epochs=1)
    renamed = frame.rename(columns={"a": "z"})
    with pytest.raises(
        cr.ArgumentError, match="lacks column 'a' and the fit had no column 'z'"
    ):
        model.predict(renamed)
    with pytest.raises(cr.ArgumentError, match="lacks column 'c'"):
        model.predict(frame[["a", "b"]])


def test_names_survive_and_what_has_none_passes() -> None:
    model, frame = _model(), _frame("pandas")
    model.fit(frame, Y, epochs=1)
    other = frame[["b", "a", "c"]]
    for same in (pickle.loads(pickle.dumps(model)), model.to("numpy")):
        with pytest.raises(cr.ArgumentError, match="another order"):
            same.predict(other)
    model.fit(X, Y, epochs=1)
    numbered = frame.set_axis(range(3), axis=1)
    np.testing.assert_array_equal(model.predict(numbered), model.predict(X))
    plain = _model()
    plain.fit(X, Y, epochs=1)
    plain.predict(other)
    plain.fit(frame, Y, epochs=1)  # the first frame
    with pytest.raises(cr.ArgumentError, match="another order"):
        plain.predict(other)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_validation_of_the_first_fit_has_its_columns(library: str) -> None:
    """There, no fit before has said which they are."""
    model, frame = _model(), _frame(library)
    other = frame[["b", "a", "c"]]
    with pytest.raises(cr.ArgumentError, match=r"^validation x must have the columns"):
        model.fit(frame, Y, epochs=1, validation_data=(other, Y))
    assert not model.built
    model.fit(frame, Y, epochs=1, validation_data=(frame, Y))
    model.fit(frame, Y, epochs=1, validation_data=(X, Y))


def test_a_file_has_the_columns(tmp_path: Any) -> None:
    model, frame = _model(), _frame("pandas")
    model.fit(frame, Y, epochs=1)
    model.save(tmp_path / "it.safetensors")
    loaded = cr.load(tmp_path / "it.safetensors")
    with pytest.raises(cr.ArgumentError, match="another order"):
        loaded.predict(frame[["b", "a", "c"]])
    np.testing.assert_array_equal(loaded.predict(frame), model.predict(frame))
    model = _model()
    model.fit(X, Y, epochs=1)
    model.save(tmp_path / "it.safetensors")
    assert cr.load(tmp_path / "it.safetensors").snapshot().columns is None


@pytest.mark.parametrize("columns", [["a", "b"], ["a", "b", 3], "abc", {"a": 1}, None])
def test_columns_of_a_file_that_are_none(columns: Any) -> None:
    model = _model()
    model.fit(_frame("pandas"), Y, epochs=1)
    contents = models.to_contents(model.snapshot())
    contents.config["columns"] = columns
    with pytest.raises(cr.SerializationError, match="columns"):
        models.from_contents(contents)


def test_a_refused_fit_leaves_no_names() -> None:
    model, frame = _model(), _frame("pandas")
    with pytest.raises(cr.ShapeError):
        model.fit(frame, Y[:3], epochs=1)
    model.fit(frame[["b", "a", "c"]], Y, epochs=1)


@pytest.mark.parametrize("name", LIBRARIES)
def test_text(name: str) -> None:
    pandas = pytest.importorskip("pandas")
    names = np.array(["Adelie", "Gentoo"])
    labels = names[RNG.integers(0, 2, 24)]
    model = cr.Model(cr.MLP((4, 2)), loss="cross_entropy", **backend(name))
    for given in (
        labels,
        labels.astype(object),
        labels.tolist(),
        pandas.Series(labels),
    ):
        with pytest.raises(cr.ArgumentTypeError, match=r"^y .*numpy.unique") as caught:
            model.fit(X, given, epochs=1)
        assert "astype(float)" not in str(caught.value)
        assert "MLPClassifier" in str(caught.value)
    with pytest.raises(cr.ArgumentTypeError, match=r"^y .*numpy.unique"):
        model.fit(X, pandas.Series(labels, dtype="category"), epochs=1)
    found, numbers = np.unique(labels, return_inverse=True)  # as the error says
    model.fit(X, numbers, epochs=1)
    assert list(found) == list(names)


def test_the_column_of_text_is_named() -> None:
    frame = _frame("pandas").assign(species="Adelie", island="Dream")
    with pytest.raises(
        cr.ArgumentTypeError,
        match=r"^x .*in columns 'species', 'island'\. .*get_dummies",
    ):
        _model().fit(frame, Y)
    polars = pytest.importorskip("polars")
    frame = _frame("polars").with_columns(species=polars.lit("Adelie"))
    with pytest.raises(
        cr.ArgumentTypeError, match=r"^x .*in column 'species'.*get_dum"
    ):
        _model().fit(frame, Y)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_column_of_a_missing_value_is_named(library: str) -> None:
    x = X.copy()
    x[3, 1] = np.nan
    with pytest.raises(
        cr.ArgumentError, match=r"^x must be finite.* nan, in column 'b'"
    ):
        _model().fit(_frame(library, x=x), Y)


@pytest.mark.parametrize("name", LIBRARIES)
def test_lists_of_several_inputs(name: str) -> None:
    model = _model(**backend(name))
    for parts in ([X, X], (X, X[:, :1]), [X, X, X]):
        with pytest.raises(
            cr.ShapeError, match=rf"^x is a list of {len(parts)} arrays"
        ):
            model.fit(parts, Y)
    model.fit(np.concatenate([X, X], axis=1), Y, epochs=1)  # as the error says
    with pytest.raises(cr.ShapeError, match=r"^x is a list of 2 arrays"):
        model.predict([X, X])
    with pytest.raises(cr.ShapeError, match=r"^x is a list of 2 arrays"):
        model.evaluate([X, X], Y)


def test_lists_of_samples_are_taken() -> None:
    model = _model()
    model.fit(list(X), Y, epochs=1)
    np.testing.assert_array_equal(model.predict(list(X)), model.predict(X))
    images = cr.Model(cr.Sequential(cr.Flatten(), cr.Dense(1)), backend="numpy")
    pair = [X, X]  # two samples of shape (24, 3)
    images.fit(pair, Y[:2], epochs=1)
    assert images.predict(pair).shape == (2, 1)


def test_batches_with_targets_are_told_the_way() -> None:
    model = _model()
    for stream in (((X, Y) for _ in range(2)), iter([X]), map(np.asarray, X)):
        with pytest.raises(cr.ArgumentTypeError, match=r"^x must be an array.*batches"):
            model.fit(stream, Y)
    with pytest.raises(cr.ArgumentTypeError, match=r"got dict.*column_stack"):
        model.fit({"a": X[:, 0], "b": X[:, 1]}, Y)
    model.fit(iter([(X, Y)]), epochs=1)  # as the error says
    assert len(model.history["loss"]) == 1


def test_data_sets_of_torch_with_targets_are_told_the_way() -> None:
    here("torch") or pytest.skip("needs torch")
    import torch
    from torch.utils import data

    pairs = data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    for given in (pairs, data.DataLoader(pairs, batch_size=8)):
        with pytest.raises(cr.ArgumentTypeError, match=r"^x must be an array.*batches"):
            _model().fit(given, Y)
        _model().fit(given, epochs=1)


SMALL = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "e"]


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize(
    "loss", ["squared_error", "absolute_error", "poisson", "huber"]
)
@pytest.mark.parametrize("name", LIBRARIES)
def test_small_types_are_the_numbers_that_they_hold(
    name: str, loss: str, kind: str
) -> None:
    """Nothing wraps or overflows: values are cast before they are computed with."""
    high = 1 if kind == "?" else 3 if kind == "e" else np.iinfo(kind).max % 251
    x = np.asarray([[0, 1], [high, 0], [1, high], [0, 0]])
    y = np.asarray([[high], [0], [1], [0]])
    w = np.asarray([1, 0, high, 1])
    one, two = (_model(loss=loss, **backend(name)) for _ in range(2))
    one.fit(*(a.astype(kind) for a in (x, y)), epochs=2, sample_weight=w.astype(kind))
    two.fit(*(a.astype("f8") for a in (x, y)), epochs=2, sample_weight=w.astype("f8"))
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    small, plain = x.astype(kind), x.astype("f8")
    np.testing.assert_array_equal(one.predict(small), two.predict(plain))
    assert one.evaluate(small, y.astype(kind)) == two.evaluate(plain, y.astype("f8"))


@pytest.mark.parametrize("name", LIBRARIES)
def test_many_classes_in_one_byte(name: str) -> None:
    """Labels up to 255 in uint8, and one-hot rows of int8, are what they say."""
    labels = np.asarray([0, 200, 255, 3])
    outcomes = []
    for y in (labels.astype("u1"), labels, np.eye(256, dtype="i1")[labels]):
        model = cr.Model(cr.MLP((256,)), loss="cross_entropy", **backend(name))
        outcomes.append(model.fit(X[:4], y, epochs=2)["loss"])
    assert outcomes[0] == outcomes[1]
    assert outcomes[2] == pytest.approx(outcomes[1], rel=1e-5)


def test_whole_numbers_beyond_a_float_are_rounded() -> None:
    large = np.full((4, 3), 2**60 + 1)
    model = _model(dtype="float64").build(3)
    want = model.predict(large.astype(np.float64))
    np.testing.assert_array_equal(model.predict(large), want)
