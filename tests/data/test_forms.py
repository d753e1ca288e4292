"""What is taken: arrays of any library, layout and dtype, frames, labels, weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import backends

from tests.support.inputs import (
    BCE,
    CE,
    LABELS,
    WEIGHT,
    Shape,
    Type,
    Value,
    X,
    Y,
    call_method,
    new_model,
    outcome,
    refused,
    snapshot,
    with_value,
)
from tests.support.libraries import LIBRARIES, backend, here, library

FITTED = new_model()


def _mapped(a: Any, folder: Path) -> Any:
    mapped = np.memmap(folder / str(a.shape), a.dtype, "w+", shape=a.shape)
    mapped[...] = a
    return mapped


def _frozen(a: Any) -> Any:
    a = np.array(a)
    a.flags.writeable = False
    return a


def _stored(a: Any, folder: Path) -> Path:
    np.save(folder / f"{a.shape}.npy", a)
    return folder / f"{a.shape}.npy"


def _field(a: Any) -> Any:
    """Every other stride of a structured array."""
    rows = np.zeros(a.shape, [("x", "f8"), ("flag", "i1")])
    rows["x"] = a
    return rows["x"]


def _unaligned(a: Any) -> Any:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    odd = raw[1:].view(a.dtype).reshape(a.shape)
    odd[...] = a
    return odd


FORMS: dict[str, Callable[[Any, Path], Any]] = {
    "lists": lambda a, _: a.tolist(),
    "tuples": lambda a, _: tuple(map(tuple, a.tolist())),
    "list of arrays": lambda a, _: list(a),
    "Fortran": lambda a, _: np.asfortranarray(a),
    "backwards": lambda a, _: np.array(a[::-1, ::-1])[::-1, ::-1],
    "read-only": lambda a, _: _frozen(a),
    "mapped": _mapped,
    "big-endian": lambda a, _: a.astype(">f8"),
    "nothing masked": lambda a, _: np.ma.masked_array(a),
    "matrix": lambda a, _: a.view(np.matrix),
    "memory": lambda a, _: memoryview(np.ascontiguousarray(a)),  # type: ignore[arg-type]
    "mapped read-only": lambda a, f: np.lib.format.open_memmap(_stored(a, f), "r"),
    "record field": lambda a, _: _field(a),
    "unaligned": lambda a, _: _unaligned(a),
    "matrix rows": lambda a, _: np.broadcast_to(a[None], (2, *a.shape))[1],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LIBRARIES)
def test_forms(form: str, name: str, tmp_path: Path) -> None:
    """Layouts and containers change nothing, and x is never written into."""
    model, twin = (new_model(fitted=0, **backend(name)) for _ in range(2))
    x, y = FORMS[form](X, tmp_path), FORMS[form](Y, tmp_path)
    model.fit(x, y, epochs=1)
    twin.fit(X, Y, epochs=1)
    assert snapshot(model) == snapshot(twin)
    assert np.array_equal(np.asarray(x), X)
    assert np.array_equal(np.asarray(y), Y)
    assert model.predict(x).tobytes() == twin.predict(X).tobytes()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(
    kind=st.sampled_from(["?", *np.typecodes["AllInteger"], "e", "f", "d", "g"]),
    order=st.sampled_from("CF"),
    swap=st.booleans(),
    frozen=st.booleans(),
    rows=st.sampled_from([-2, -1, 1, 2, 3]),
    columns=st.sampled_from([-2, -1, 1, 2]),
)
def test_dtypes_and_strides(
    kind: str, order: Any, swap: bool, frozen: bool, rows: int, columns: int
) -> None:
    wanted = X > 1 if kind == "?" else X
    dtype = np.dtype(kind).newbyteorder() if swap else np.dtype(kind)
    shape = wanted.shape[0] * abs(rows), wanted.shape[1] * abs(columns)
    blank: Any = np.zeros(shape, dtype)
    x = np.array(blank, order=order)[::rows, ::columns]
    x[...] = wanted
    x.flags.writeable = not frozen
    plain = wanted.astype("f4")
    assert np.array_equal(FITTED.predict(x), FITTED.predict(plain))
    assert FITTED.evaluate(x, Y) == FITTED.evaluate(plain, Y)


def _contained(a: Any, container: str, folder: Path) -> Any:
    if container == "list":
        return a.tolist()
    if container == "masked":
        return np.ma.masked_array(a)
    if container == "frame":
        return pytest.importorskip("pandas").DataFrame(a)
    if container == "file" and a.ndim and a.size and a.dtype != object:
        return _mapped(a, folder)
    a = np.asfortranarray(a)
    a.flags.writeable = False
    return a


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(
    shape=st.lists(st.integers(0, 4), max_size=4).map(tuple)
    | st.tuples(st.integers(0, 4), st.just(3)),
    kind=st.sampled_from(["?", "i1", ">i8", "u2", "f2", ">f4", "f8", "g"])
    | st.sampled_from(["c8", "O", "U3", "S2", "M8[s]", "m8[D]", "V4"]),
    value=st.sampled_from([None, None, math.nan, math.inf, 1e39]),
    container=st.sampled_from(["array", "list", "masked", "frame", "file"]),
)
def test_any_array_is_taken_or_refused(
    shape: Any, kind: str, value: float | None, container: str, tmp_path: Path
) -> None:
    """What fits is used; all else is an error of the family, and changes nothing."""
    dtype = np.dtype(kind)
    a: Any = np.zeros(shape, dtype)
    finite = True
    if value is not None and a.size and dtype.kind == "f":
        with np.errstate(over="ignore"):
            a.flat[0] = value
        finite = False
    if container == "frame" and (a.ndim != 2 or dtype.kind == "V"):
        container = "array"
    x = _contained(a, container, tmp_path)
    seen = np.asarray(x)  # a list does not keep the dtype, nor an empty one the shape
    good = seen.dtype.kind in "?biuf" and finite and seen.shape[1:] == (3,)
    before = snapshot(FITTED)
    if good:
        assert FITTED.predict(x).shape == (len(seen), 2)
    else:
        with pytest.raises(cr.ChainruleError) as caught:
            FITTED.predict(x)
        assert str(caught.value).startswith("x ")
    with pytest.raises(cr.ChainruleError):  # never so few samples for so many targets
        FITTED.fit(x, Y)
    with pytest.raises(cr.ChainruleError):
        FITTED.evaluate(X, Y, sample_weight=x)
    assert snapshot(FITTED) == before


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.tolist(),
        LABELS.astype(np.uint8),
        LABELS.astype(np.float64),
        LABELS.astype(bool),
        LABELS[:, None],
        LABELS[:, None].astype(np.float32),
    ],
    ids=lambda a: f"{np.asarray(a).dtype}{np.shape(a)}",
)
def test_labels(labels: Any) -> None:
    assert outcome(X, labels, CE) == outcome(X, LABELS, CE)


def test_one_hot_rows() -> None:
    want = outcome(X, LABELS, CE)[0]
    for kind in ("f4", "i8", "?"):
        rows = np.eye(2)[LABELS].astype(kind)
        assert outcome(X, rows, CE)[0] == pytest.approx(want, rel=1e-5)


def test_binary_targets_and_columns() -> None:
    assert outcome(X, Y > 0, BCE) == outcome(X, Y, BCE)
    one, two = (
        cr.Model(cr.MLP((4, 1)), loss=BCE).fit(X, y, epochs=2)["loss"]
        for y in (LABELS.astype(bool), LABELS[:, None])
    )
    assert one == two


@pytest.mark.parametrize("origin", LIBRARIES)
def test_boolean_weights(origin: str) -> None:
    """A mask is a weight of 0 or 1."""
    mask = WEIGHT > 1.0
    got = outcome(X, Y, sample_weight=library(origin).array(mask))
    assert got == outcome(X, Y, sample_weight=mask.astype(float))


@pytest.mark.parametrize("where", ["numpy", "torch"])
def test_tensors_that_torch_cannot_compute_with(where: str) -> None:
    here("torch") or pytest.skip("needs torch")
    import torch

    model = new_model(**backend(where))
    sparse = torch.tensor(X).to_sparse()
    refused(lambda: model.fit(sparse, Y), Type, "^x .*sparse", model)
    wide = torch.tensor(WEIGHT > 1.0).to(torch.uint16)
    want = model.evaluate(X, Y, WEIGHT > 1.0)
    assert model.evaluate(X, Y, wide) == want
    assert outcome(X, torch.tensor(LABELS).to(torch.uint64), CE) == outcome(
        X, LABELS, CE
    )


@pytest.mark.parametrize("where", ["numpy", "torch"])
def test_odd_tensors_of_torch(where: str) -> None:
    here("torch") or pytest.skip("needs torch")
    import torch

    model = new_model(**backend(where))
    want = model.predict(X)
    x = torch.tensor(X)
    negated = torch.complex(torch.zeros(24, 3, dtype=x.dtype), -x).conj().imag
    assert negated.is_neg()  # a view that NumPy refuses to see
    learned = torch.nn.Parameter(x)
    for same in (x.T.clone().T, negated, learned.detach(), x.to(torch.int8)):
        np.testing.assert_array_equal(model.predict(same).numpy(), want)
    with pytest.warns(cr.ChainruleWarning, match=r"^x is part of PyTorch's graph"):
        np.testing.assert_array_equal(model.predict(learned).numpy(), want)
    row = x[0].expand(24, 3)
    np.testing.assert_array_equal(
        model.predict(row).numpy(), model.predict(row.numpy())
    )
    for wrong, error, match in (
        (x.to(torch.complex64), Type, "^x must hold numbers.*complex64"),
        (torch.tensor(1.0), Shape, "^x must have an axis of samples"),
        (torch.tensor(with_value(X, math.nan)).half(), Value, "^x must be finite"),
        (x.float() * 1e38 * 10, Value, "^x must be finite"),
    ):
        refused(functools.partial(model.fit, wrong, Y), error, match, model)


def test_odd_arrays_of_jax() -> None:
    here("jax") or pytest.skip("needs jax")
    import jax
    import jax.numpy as jnp

    model = new_model(backend="jax")
    gone = jnp.asarray(X, dtype=jnp.float32)
    gone.delete()
    for wrong, error, match in (
        (gone, Value, "^x was deleted, or donated"),
        (jax.random.key(0), Type, "^x must hold numbers.*key"),
        (jnp.asarray(X, dtype=jnp.complex64), Type, "^x must hold.*complex64"),
        (jnp.asarray(1.0), Shape, "^x must have an axis of samples"),
        (jnp.asarray(X[:, :2], dtype=jnp.bfloat16), Shape, "^x must have the shape"),
    ):
        refused(functools.partial(model.fit, wrong, Y), error, match, model)
    half = jnp.asarray(X, dtype=jnp.bfloat16)
    np.testing.assert_array_equal(model.predict(half), model.predict(X))


def test_numbers_of_other_types() -> None:
    got = outcome(X, Y, validation_split=np.float64(0.25), callbacks=iter(()))
    assert got == outcome(X, Y, validation_split=0.25)
    model = new_model(fitted=0)
    model.fit(X, Y, epochs=np.int64(2), batch_size=np.uint8(10))  # type: ignore[arg-type]
    twin = new_model()
    assert snapshot(model)[0] == snapshot(twin)[0]


@pytest.mark.parametrize(
    "given", [np.float64, np.dtype("float64"), "float64"], ids=repr
)
def test_dtype_spellings(given: Any) -> None:
    model = cr.Model(cr.MLP((2,)), dtype=given).build(3)
    assert model.dtype == "float64"
    assert model.predict(X).dtype == np.float64


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("origin", LIBRARIES)
def test_array_in_array_out(name: str, origin: str) -> None:
    """What comes out is of the library, and on the device, of what went in."""
    model, lib = new_model(CE, **backend(name)), library(origin)
    x = lib.array(X.astype(np.float32))
    for use in ("predict", "predict_proba", "jacobian"):
        z = call_method(use)(model, x)
        assert type(z) is type(x)
        assert getattr(z, "device", None) == getattr(x, "device", None)
        assert z.dtype == x.dtype
        want = call_method(use)(model, X)
        assert type(want) is np.ndarray
        np.testing.assert_allclose(lib.host(z), want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("origin", LIBRARIES)
def test_training_data_of_any_library(origin: str) -> None:
    """A NumPy model learns the same from any library's arrays."""
    lib = library(origin)
    x, y, w = (lib.array(a.astype(np.float32)) for a in (X, Y, WEIGHT))
    got = outcome(x, y, sample_weight=w, validation_data=(x, y))
    assert got == outcome(
        X, Y, sample_weight=WEIGHT.astype("f4"), validation_data=(X, Y)
    )
    assert outcome(x, Y) == outcome(X, Y)  # NumPy goes with any


@pytest.mark.parametrize("origin", LIBRARIES)
def test_backend_follows_the_first_data(origin: str) -> None:
    model = cr.Model(cr.MLP((2,)))
    x = library(origin).array(X.astype(np.float32))
    model.fit(x, Y, epochs=1)
    assert model.backend == backends.of(x)


def test_tensors_of_autograd() -> None:
    here("torch") or pytest.skip("needs torch")
    import torch

    x = torch.tensor(X, requires_grad=True)
    model = new_model()
    with pytest.warns(cr.ChainruleWarning, match="graph, which ends here"):
        z = model.predict(x)
    assert not z.requires_grad
    np.testing.assert_array_equal(z.numpy(), model.predict(X))


@pytest.mark.parametrize("where", ["numpy", "torch"])
def test_bfloat16_tensors(where: str) -> None:
    here("torch") or pytest.skip("needs torch")
    import torch

    model = new_model(**backend(where))
    half = torch.tensor(X, dtype=torch.bfloat16)
    np.testing.assert_array_equal(model.predict(half).numpy(), model.predict(X))
