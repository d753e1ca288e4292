"""The engines: which are here, and how they are found."""

from __future__ import annotations

import builtins
import pickle
from typing import Any

import array_api_strict
import numpy as np
import pytest

import chainrule as cr
from chainrule import backends

from tests.support.engines import X
from tests.support.libraries import LIBRARIES, PROMISED, STRICT_DEVICE, backend, here

REAL: list[Any] = [name for name in LIBRARIES if name != "strict"]


def test_available_says_what_is_here_and_why_the_rest_is_not() -> None:
    found = backends.available()
    assert set(found) >= PROMISED
    assert set(found) | set(found.missing) == {"numpy", "jax", "torch", "cupy"}
    assert np.__version__ in found["numpy"]
    for name, why in found.missing.items():
        assert name in why
        assert "pip install" in why or "GPU" in why
        assert f"{name}: not available" in str(found)


def test_a_missing_library_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def blocked(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "cupy":
            msg = "No module named 'cupy'"
            raise ModuleNotFoundError(msg)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(cr.BackendError, match=r"pip install cupy-cuda12x") as e:
        cr.Model(cr.MLP((1,)), backend="cupy")
    assert "numpy" in str(e.value)


@pytest.mark.parametrize("name", REAL)
def test_get(name: Any) -> None:
    engine = backends.get(name)
    assert engine.name == name
    assert backends.get(engine) is engine
    assert backends.get(name) == engine
    assert pickle.loads(pickle.dumps(engine)) == engine
    assert backends.of(engine.asarray(X, "float32")) == engine


def test_get_takes_a_namespace_module() -> None:
    engine = backends.get(array_api_strict, STRICT_DEVICE)
    assert engine.device == STRICT_DEVICE
    assert engine.asarray(X).device == STRICT_DEVICE
    assert pickle.loads(pickle.dumps(engine)) == engine
    assert backends.get(np).name == "numpy"
    assert backends.get(array_api_strict) != engine


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_what_was_asked_for(name: Any, dtype: Any) -> None:
    model = cr.Model(cr.MLP((4, 1)), dtype=dtype, **backend(name))
    model.fit(X, X[:, :1], epochs=1)
    assert dtype in str(model.theta.dtype)
    assert model.predict(X).dtype == dtype
    assert model.jacobian(X).dtype == dtype


@pytest.mark.parametrize("name", LIBRARIES)
def test_array_type_in_array_type_out(name: str) -> None:
    """Whatever the model runs on, results are of the caller's kind and place."""
    given = backends.get(**_arguments(name)).asarray(X, "float32")
    for runs_on in [*LIBRARIES, None]:
        where = {} if runs_on is None else backend(runs_on)
        model = cr.Model(cr.MLP((4, 2)), **where)
        model.fit(given, given[:, :2], epochs=1)
        for out in (model.predict(given), model.jacobian(given)):
            assert type(out) is type(given)
            assert getattr(out, "device", None) == getattr(given, "device", None)
        if runs_on is None:  # follows the data
            assert model.backend == backends.of(given)


def _arguments(name: str) -> dict[str, Any]:
    return {k: v for k, v in backend(name).items() if v is not None}


@pytest.mark.parametrize("name", LIBRARIES)
def test_copies_are_real(name: str) -> None:
    engine = backends.get(**_arguments(name))
    # Aligned to 64 bytes: JAX would alias such memory.
    raw = np.zeros(1024 + 16, dtype=np.float32)
    start = (-raw.ctypes.data % 64) // 4
    host = raw[start : start + 1024]
    a = engine.copy(engine.asarray(host))
    host[:] = 1.0
    assert engine.to_numpy(a).sum() == 0.0


@pytest.mark.skipif(not (here("jax") and here("torch")), reason="needs both")
def test_backends_live_beside_each_other() -> None:
    models = {n: cr.Model(cr.MLP((4, 1)), backend=n, dtype="float64") for n in REAL}
    for _ in range(2):
        for model in models.values():
            model.fit(X, X[:, :1], epochs=1)
    thetas = [model.get_weights()[0] for model in models.values()]
    for theta in thetas[1:]:
        np.testing.assert_allclose(theta, thetas[0], rtol=1e-12)
    import jax.numpy as jnp
    import torch

    # Nothing global was switched.
    assert jnp.asarray([1.0]).dtype == "float32"
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
