"""The CuPy engine's own code on a stand-in for CuPy. Nothing here ran on CuPy.

Where a GPU is, `test_backends` and the matrix run on CuPy itself (marker `gpu`).
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import cupy_stand_in
from chainrule import backends

RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 3))
Y = np.stack([X[:, 0] * X[:, 1], X[:, 2]], axis=1)
NETWORK = cr.Sequential(
    cr.Dense(8), cr.GELU(), cr.BatchNorm(), cr.Dropout(0.2), cr.Dense(2)
)


@pytest.fixture
def cupy() -> Iterator[Any]:
    with cupy_stand_in.installed() as module:
        yield module


def test_it_says_what_it_is(cupy: Any) -> None:
    assert "stand-in" in backends.available()["cupy"]
    assert "not CuPy" in cupy.__version__


def test_it_leaves_no_trace() -> None:
    before = set(sys.modules), str(backends.available())
    with cupy_stand_in.installed():
        assert backends.get("cupy").name == "cupy"
    assert not any(n.startswith("cupy.") for n in set(sys.modules) - before[0])
    assert str(backends.available()) == before[1]


def test_it_refuses_what_cupy_refuses(cupy: Any) -> None:
    a, host = cupy.asarray([1.0, 2.0]), np.ones(2)
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy array"):
        np.asarray(a)
    with pytest.raises(BufferError):
        np.from_dlpack(a)
    mixtures: list[Callable[[], Any]] = [
        lambda: a + host,
        lambda: host + a,
        lambda: np.add(host, a),
        lambda: cupy.add(a, host),
        lambda: cupy.concatenate([a, host]),
        lambda: a[np.array([0])],
    ]
    for mixed in mixtures:
        with pytest.raises(TypeError):
            mixed()
    with cupy.cuda.Device(1):
        b = cupy.asarray([1.0, 2.0])
        with pytest.raises(ValueError, match="device must be same as the current"):
            a + b
        assert (b + b).device.id == 1
        assert cupy.asarray(a).device.id == 1
    with pytest.raises(ValueError, match="array device = 1 while current = 0"):
        cupy.exp(b)
    with pytest.raises(TypeError, match="unhashable"):
        hash(cupy.cuda.Device())


@pytest.mark.parametrize("device", [None, "cuda:1"])
@pytest.mark.parametrize(
    "optimizer", [cr.AdamW(0.01, clip_norm=1.0), cr.SGD(0.05, 0.9, nesterov=True)]
)
def test_trains_as_numpy_does(cupy: Any, device: Any, optimizer: Any) -> None:
    histories, models = [], []
    for kind in ({"backend": "cupy", "device": device}, {"backend": "numpy"}):
        model = cr.Model(NETWORK, optimizer=optimizer, dtype="float64", **kind)
        given: dict[str, Any] = {"epochs": 4, "batch_size": 8, "validation_split": 0.2}
        histories.append(model.fit(X, Y, **given))
        models.append(model)
    ours, numpys = models
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=1e-12)
    for a, b in zip(ours.get_weights(), numpys.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    for result in ("predict", "jacobian"):
        out = getattr(ours, result)(X)
        assert isinstance(out, np.ndarray)  # the caller's kind
        np.testing.assert_allclose(out, getattr(numpys, result)(X), rtol=1e-10)
    assert ours.theta.device == cupy.cuda.Device(int(device is not None))
    assert ours.to("numpy").predict(X) == pytest.approx(numpys.predict(X), rel=1e-10)


@pytest.mark.parametrize("number", [0, 1])
def test_arrays_in_arrays_out(cupy: Any, number: int) -> None:
    """Data on the current device stay there: the model follows, results lie there."""
    with cupy.cuda.Device(number):
        x, y = cupy.asarray(X, dtype="float32"), cupy.asarray(Y, dtype="float32")
        model = cr.Model(NETWORK)
        model.fit(x, y, epochs=1, batch_size=11)
        assert model.backend == backends.get("cupy", cupy.cuda.Device(number))
        out = model.predict(x)
        assert type(out) is type(x)
        assert out.device.id == number
        assert out.dtype == np.float32
        other = cr.Model(NETWORK, backend="numpy")
        other.fit(x, y, epochs=1, batch_size=11)
        same = other.predict(x)
    assert type(same) is type(x)
    np.testing.assert_allclose(out.get(), same.get(), rtol=1e-4, atol=1e-5)


def test_the_engine_itself(cupy: Any) -> None:
    engine = backends.get("cupy", "cuda:1")
    assert engine == backends.get("cupy", cupy.cuda.Device(1)) != backends.get("cupy")
    assert pickle.loads(pickle.dumps(engine)) == engine
    a = engine.asarray(X, "float32")
    assert engine.owns(a)
    assert not backends.get("cupy").owns(a)
    assert not engine.owns(X)
    assert backends.of(a) == engine
    copy = engine.copy(a)
    with engine.device:
        copy[0, 0] = 9.0
    assert float(engine.to_numpy(a)[0, 0]) == np.float32(X[0, 0])
    with engine.scope("float32"):
        assert cupy.cuda.Device().id == 1
    assert cupy.cuda.Device().id == 0


@pytest.mark.parametrize("device", ["cpu", "cuda:2", "cuda:x", "gpu:-1"])
def test_no_such_device(cupy: Any, device: str) -> None:
    with pytest.raises(cr.DeviceError, match=r"'cuda:0' ... 'cuda:1'.*got"):
        backends.get("cupy", device)


def test_no_gpu(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cupy.cuda, "is_available", lambda: False)
    with pytest.raises(cr.BackendError, match=r"needs a GPU.*finds none"):
        backends.get("cupy")
    assert "cupy" in backends.available().missing
