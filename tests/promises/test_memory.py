"""Out of memory: what is told, and what the model keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.network import chunks, evaluation

from tests.support.faults import (
    BACKENDS,
    X,
    Y,
    fit_model,
    new_model,
    new_twin,
)
from tests.support.libraries import here
from tests.support.models import standing


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
    model = new_model(name)
    fit_model(model, 2)
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
        fit_model(model, 40)  # several calls, even of several epochs
    monkeypatch.undo()
    assert isinstance(caught.value, MemoryError)
    assert caught.value.__cause__ is error
    # Those of the first call count: one epoch, or a group.
    assert standing(model).epoch == 2 + model.backend.group
    twin = new_twin(standing(model).epoch, backend=name)
    assert np.array_equal(model.get_weights()[0], twin.get_weights()[0])
    fit_model(model, 1)


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
    name: Any, layer: Any, shape: int, members: int | None
) -> None:
    model = cr.Model(layer, backend=name, members=members)
    what = r"for the [\d,x ]+ parameters of this model: .*\. Use a smaller network\.$"
    with pytest.raises(cr.OutOfMemoryError, match=rf"^out of memory on .*{what}"):
        model.build(shape)
    assert not model.built


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("members", [None, 2])
def test_out_of_memory_in_inference(
    name: Any, members: int | None, monkeypatch: pytest.MonkeyPatch
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
    name: Any, monkeypatch: pytest.MonkeyPatch
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
    name: Any
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
