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
from chainrule import backends

from tests.support import cupy_stand_in
from tests.support.cupy_stand_in import LAUNCHES

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


OPTIMIZERS: dict[str, Any] = {
    "sgd": cr.SGD(0.05),
    "momentum": cr.SGD(0.05, 0.9, rate_in_velocity=True),
    "nesterov": cr.SGD(0.05, 0.9, nesterov=True),
    "adam": cr.Adam(0.01),
    "adamw": cr.AdamW(0.01),
    "nadam": cr.NAdam(0.01),
    "rmsprop": cr.RMSprop(0.01),
    "adagrad": cr.Adagrad(0.05),
    "lion": cr.Lion(0.01),
}
LAYERS: dict[str, Any] = {
    "plain": [cr.Dense(8), cr.Tanh(), cr.Dense(2)],
    "frozen": [
        cr.Dense(5),
        cr.Tanh(),
        cr.Dense(4, trainable=False),
        cr.Tanh(),
        cr.Dense(2),
    ],
}


def steps_of(fit: Callable[[int], Any]) -> Any:
    """Return the launches of one epoch: those of three without those of two."""
    counts = []
    for epochs in (2, 3):
        LAUNCHES.clear()
        fit(epochs)
        counts.append(LAUNCHES.copy())
    return counts[1] - counts[0]


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fused_updates_are_numpys(
    cupy: Any, name: str, layers: str, members: int | None
) -> None:
    optimizer = OPTIMIZERS[name].replace(
        weight_decay=0.1, clip_norm=0.5, clip_value=0.1
    )
    if members:
        rates = tuple(optimizer.learning_rate * k for k in (1, 2, 3))
        optimizer = optimizer.replace(learning_rate=rates)
    fitted = []
    for backend in ("cupy", "numpy"):
        model = cr.Model(
            cr.Sequential(*LAYERS[layers]),
            optimizer=optimizer,
            dtype="float64",
            backend=backend,
            members=members,
        )
        model.fit(X, Y, epochs=2, batch_size=8)
        fitted.append(model.get_weights()[0])
    # Lion's steps are signs: a rounding may turn one, of numbers that are zero.
    np.testing.assert_allclose(fitted[0], fitted[1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_is_one_launch_whatever_the_depth(
    cupy: Any, name: str, decay: float
) -> None:
    optimizer = OPTIMIZERS[name].replace(weight_decay=decay)
    kernel = f"chainrule_{type(optimizer).__name__}"

    def launched(depth: int) -> Any:
        network = cr.MLP((8,) * depth + (2,), activation="tanh")

        def fit(epochs: int) -> None:
            model = cr.Model(network, optimizer=optimizer, backend="cupy")
            # Of such batches each begins where an array might: they are gathered at
            # once.
            model.fit(x, y, epochs=epochs, batch_size=16)

        return steps_of(fit)

    x, y = np.tile(X, (3, 1)), np.tile(Y, (3, 1))
    shallow, deep = launched(1), launched(4)
    for counted in (shallow, deep):
        assert counted[kernel] == counted["chainrule_join"] == 5  # the last of 2
        # x and y, once for the whole batches and once for the rest.
        assert counted["take"] == 4
    # A hidden layer's own: three products, a bias and its gradient, tanh, its
    # pullback's three. The optimizer adds nothing to them.
    assert (deep - shallow).total() == 5 * 3 * 9


def test_clipping_is_in_the_kernel_of_the_update(cupy: Any) -> None:
    LAUNCHES.clear()
    optimizer = cr.Adam(0.01, weight_decay=0.1, clip_norm=0.5, clip_value=0.1)
    model = cr.Model(cr.MLP((5, 2)), optimizer=optimizer, backend="cupy")
    model.fit(X, Y, epochs=2, batch_size=11)
    assert LAUNCHES["chainrule_Adam"] == 2 * -(-len(X) // 11)


def test_launches_of_a_step(cupy: Any) -> None:
    """The smallest of the benchmarks' networks: what the documentation says of it."""
    x = RNG.normal(size=(384, 1))

    def launched(samples: int) -> Any:
        def fit(epochs: int) -> None:
            model = cr.Model(cr.MLP((32, 32, 1), activation="tanh"), backend="cupy")
            model.fit(x[:samples], x[:samples] ** 2, epochs=epochs, batch_size=16)

        return steps_of(fit)

    # Twelve steps more in an epoch, whose own launches are the same.
    assert (launched(384) - launched(192)).total() == 12 * 31
    assert launched(192).total() == 12 * 31 + 18


def test_new_numbers_are_no_new_kernels(cupy: Any) -> None:
    from chainrule.backends.cupy import kernels

    def fit(rate: Any, decay: float, seed: int) -> None:
        optimizer = cr.Adam(
            rate, beta_1=0.8 + 0.01 * seed, weight_decay=decay, clip_value=decay
        )
        model = cr.Model(cr.MLP((7, 2)), optimizer=optimizer, backend="cupy", seed=seed)
        model.fit(X, Y, epochs=2, batch_size=8)

    fit(1e-3, 0.1, 0)
    before = kernels.fused.cache_info().misses
    fit(1e-2, 0.2, 1)
    fit(cr.schedules.CosineDecay(1e-2, 6), 0.3, 2)  # type: ignore[arg-type]
    assert kernels.fused.cache_info().misses == before


def test_a_fused_function_is_traced_once(cupy: Any) -> None:
    """The stand-in's fusion makes constants of what CuPy's makes constants of."""
    outer = [1.0]

    def f(a: Any, s: Any) -> None:
        a *= s
        a += outer[0]

    fused = cupy.fuse(kernel_name="f")(f)
    a = cupy.asarray([1.0, 2.0])
    fused(a, 2.0)
    np.testing.assert_array_equal(a.get(), [3.0, 5.0])
    outer[0] = 100.0
    fused(a, 3.0)
    np.testing.assert_array_equal(a.get(), [10.0, 16.0])
    assert len(fused.traces) == 1
    refused: list[Callable[..., Any]] = [
        lambda a, s: a.__setitem__(0, s),
        lambda a, s: cupy.add(a, cupy.asarray([1.0])),
        lambda a, s: cupy.sum(a),
        lambda a, s: a + 1.0 if s > 0 else a,
    ]
    for function in refused:
        with pytest.raises((TypeError, ValueError)):
            cupy.fuse(kernel_name="g")(function)(a, 2.0)
    np.testing.assert_array_equal(a.get(), [10.0, 16.0])


class Normalised(cr.SGD):
    """Somebody's own optimizer, which is not elementwise: it cannot be fused."""

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        """Steps of a length that the largest entry decides."""
        theta = theta - s.rate * g / (1.0 + xp.max(xp.abs(g)))
        return theta, *slots


class Rebinding(cr.SGD):
    """One that makes new arrays: it is fused all the same."""

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        """Plain descent."""
        return (theta - s.rate * xp.tanh(g),)


@pytest.mark.parametrize(("kind", "fuses"), [(Normalised, False), (Rebinding, True)])
def test_an_optimizer_of_ones_own(cupy: Any, kind: Any, fuses: bool) -> None:
    fitted = []
    LAUNCHES.clear()
    for backend in ("cupy", "numpy"):
        model = cr.Model(cr.MLP((5, 2)), optimizer=kind(0.1), backend=backend)
        model.fit(X, Y, epochs=2, batch_size=11)
        fitted.append(model.get_weights()[0])
    np.testing.assert_allclose(fitted[0], fitted[1], rtol=1e-5, atol=1e-6)
    assert LAUNCHES[f"chainrule_{kind.__name__}"] == (4 if fuses else 0)


def test_more_pieces_than_a_kernel_takes(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chainrule.backends.cupy import kernels

    monkeypatch.setattr(kernels, "JOIN", 3)
    LAUNCHES.clear()
    model = cr.Model(cr.MLP((5, 2)), backend="cupy", dtype="float64")
    model.fit(X, Y, epochs=1, batch_size=11)
    other = cr.Model(cr.MLP((5, 2)), backend="numpy", dtype="float64")
    other.fit(X, Y, epochs=1, batch_size=11)
    np.testing.assert_allclose(model.get_weights()[0], other.get_weights()[0])
    assert LAUNCHES["chainrule_join"] == 0
    assert LAUNCHES["concatenate"] >= 2 * 4


def test_large_data_are_gathered_batch_by_batch(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = backends.get("cupy")
    fitted = []

    def fit(epochs: int) -> None:
        model = cr.Model(cr.MLP((5, 2)), backend="cupy", dtype="float64")
        model.fit(X, Y, epochs=epochs, batch_size=8, sample_weight=np.arange(1.0, 23.0))
        fitted.append(model.get_weights()[0])

    together = steps_of(fit)
    monkeypatch.setattr(type(engine), "gather", 0)
    apart = steps_of(fit)
    assert (together["take"], apart["take"]) == (6, 9)
    np.testing.assert_array_equal(fitted[0], fitted[2])
    np.testing.assert_array_equal(fitted[1], fitted[3])
