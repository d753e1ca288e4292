"""Steps on several devices are those on one, to rounding, and exchange little."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import chainrule as cr

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402

from chainrule.arrays.share import WHOLE  # noqa: E402
from chainrule.backends.jax import engine as engine_  # noqa: E402

from tests.support.meshes import (  # noqa: E402
    LABELS,
    W,
    X,
    Y,
    difference,
    first,
    mixed,
    new_model,
    smooth,
)

pytestmark = pytest.mark.skipif(
    len(jax.devices("cpu")) < 8, reason="needs 8 CPU devices"
)

CLOSE = 1e-12
WEIGHTED = cr.losses.CrossEntropy(class_weight=(1.0, 2.0, 0.5), label_smoothing=0.1)
RATES = [0.002 * (k + 1) for k in range(8)]

# Model options, then what fit is given.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adam": ({}, {}),
    "nesterov": (
        {"optimizer": cr.SGD(0.05, momentum=0.9, nesterov=True)},
        {"batch_size": 30, "sample_weight": W},
    ),
    "clipped": (
        {
            "optimizer": cr.AdamW(
                0.01, weight_decay=0.1, clip_norm=0.05, clip_value=0.02
            )
        },
        {"batch_size": 29, "sample_weight": W},
    ),
    "classes": (
        {
            "network": mixed(3),
            "loss": WEIGHTED,
            "optimizer": cr.Adam(0.01, epsilon=0.0),
        },
        {"y": LABELS, "batch_size": 7, "epochs": 4},
    ),
    "slopes": (
        {"network": smooth(1)},
        {"y": Y[:, :1], "slopes": np.cos(X), "batch_size": 30, "sample_weight": W},
    ),
    "members": (
        {"members": 8, "optimizer": cr.Adam(RATES, clip_norm=0.1)},
        {"bootstrap": True, "sample_weight": W, "epochs": 4},
    ),
    "odd members": (
        {"members": 5, "optimizer": cr.Adam(RATES[:5], clip_norm=0.1, clip_value=0.05)},
        {"bootstrap": True, "batch_size": 30, "epochs": 4},
    ),
    "validated": ({}, {"validation_split": 0.2, "batch_size": 100, "epochs": 30}),
}


def fitted(device: Any, options: dict[str, Any], given: dict[str, Any]) -> Any:
    model = new_model(device, **options)
    given = {"y": Y, "epochs": 15, **given}
    return model, model.fit(X, **given)


@pytest.fixture(scope="module")
def alone() -> Any:
    return {name: fitted("cpu:0", *case) for name, case in CASES.items()}


# Each case where nothing divides, and where all does; two of them everywhere.
PAIRS = [(name, n) for name in CASES for n in (3, 8)]
PAIRS += [(name, n) for name in ("nesterov", "clipped") for n in (2, 4)]


@pytest.mark.parametrize(("name", "n"), PAIRS)
def test_training_is_that_of_one_device(name: str, n: int, alone: Any) -> None:
    one, history = alone[name]
    many, other = fitted(first(n), *CASES[name])
    assert difference(one.get_weights(), many.get_weights()) < CLOSE
    assert set(history) == set(other)
    for column in history:
        assert difference(history[column], other[column]) < CLOSE
    assert difference([one.predict(X)], [many.predict(X)]) < CLOSE


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_fewer_rows_than_devices(size: int) -> None:
    # One row of a batch has no variance; two have one sign: without BatchNorm.
    models = [new_model(device, smooth()) for device in ("cpu:0", first(8))]
    for model in models:
        model.fit(X[:11], Y[:11], epochs=3, batch_size=size, sample_weight=W[:11])
    assert difference(models[0].get_weights(), models[1].get_weights()) < CLOSE


def test_a_last_row_alone_leaves_batch_norm_alone() -> None:
    models = [new_model(device) for device in ("cpu:0", first(4))]
    for model in models:
        model.fit(X[:33], Y[:33], epochs=3, batch_size=32)
    a, b = (model.get_weights() for model in models)
    assert difference(a, b) < CLOSE


def test_sequences_and_indices() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4, 3))
    y = x.sum(axis=2, keepdims=True)
    network = cr.Sequential(cr.Dense(6), cr.BatchNorm(), cr.Tanh(), cr.Dense(1))
    models = [new_model(device, network) for device in ("cpu:0", first(3))]
    for model in models:
        model.fit(x, y, epochs=4, batch_size=16, sample_weight=W[:50])
    assert difference(models[0].get_weights(), models[1].get_weights()) < CLOSE


def test_a_great_gradient_is_clipped_all_the_same() -> None:
    # Its square overflows float32, the loss does not.
    options: dict[str, Any] = {
        "dtype": "float32",
        "loss": "absolute_error",
        "optimizer": cr.SGD(0.1, clip_norm=1.0),
    }
    network = cr.Sequential(cr.Dense(2))
    models = [new_model(device, network, **options) for device in ("cpu:0", first(4))]
    for model in models:
        model.fit(X * 1e25, Y, epochs=2)
    a, b = (model.get_weights() for model in models)
    assert difference(a, b) < 1e-5
    assert not (a[0] == new_model("cpu:0", network, **options).build(5).theta).all()


@pytest.mark.parametrize(("dtype", "scale"), [("float32", 1e-25), ("float64", 1e-170)])
def test_a_tiny_gradient_is_clipped_where_a_part_is_frozen(
    dtype: str, scale: float
) -> None:
    network = cr.Sequential(
        cr.Dense(16, trainable=False),
        cr.Tanh(),
        cr.Dense(2, kernel_initializer="zeros"),
    )
    optimizer = cr.SGD(1.0, clip_norm=1e-2 * scale)
    models = [
        new_model(device, network, optimizer=optimizer, dtype=dtype)
        for device in ("cpu:0", first(8))
    ]
    for model in models:
        model.fit(X, Y * scale, epochs=1)
    a, b = (np.asarray(model.parameters["2.weight"]) / scale for model in models)
    assert np.abs(a).max() < 0.1
    np.testing.assert_allclose(b, a, rtol=1e-4)


def test_what_is_frozen_or_fills_up_keeps_its_bits() -> None:
    model = new_model(first(8), optimizer=cr.AdamW(0.01, weight_decay=0.1, epsilon=0.0))
    before = model.build(5).parameters
    model.fit(X, Y, epochs=2)
    after = model.parameters
    frozen = {k for k in before if (before[k] == after[k]).all()}
    assert frozen == {
        "0.bias",
        "6.weight",
        "6.bias",
        "7.gain",
        "7.shift",
    }  # the first is absorbed
    theta = model.training.theta
    assert theta.shape[-1] % 8 == 0
    assert not np.asarray(theta)[model.bound.size :].any()


@pytest.mark.parametrize("shape", [(8,), (2, 4), (4, 2)])
@pytest.mark.parametrize("options", [{}, {"sample_weight": W[:200], "batch_size": 30}])
def test_samples_that_lie_divided(shape: Any, options: Any) -> None:
    names = ("hosts", "local")[-len(shape) :]
    mesh = Mesh(np.array(first(8)).reshape(shape), names)
    one, many = new_model("cpu:0"), new_model(mesh)
    one.fit(X[:200], Y[:200], epochs=3, **options)
    rows = NamedSharding(mesh, PartitionSpec(names))
    with jax.enable_x64(True):
        x, y = jax.device_put(X[:200], rows), jax.device_put(Y[:200], rows)
    many.fit(x, y, epochs=3, **options)
    assert difference(one.get_weights(), many.get_weights()) < CLOSE


def test_the_bits_of_rows_are_those_of_the_whole() -> None:
    from chainrule.arrays import random

    key = np.array([1, 2], dtype=np.int32)
    whole = random.bits(key, 12, 5, xp=np)
    for start in (3, np.int32(3), jnp.int32(3)):
        part = random.bits(key, 4, 5, first=start, xp=np)
        np.testing.assert_array_equal(np.asarray(part), whole[3:7])


def test_the_whole_batch_exchanges_nothing() -> None:
    a = np.ones(3)
    assert WHOLE.total(a) is a
    assert WHOLE.only(a) is a
    assert WHOLE.gathered(a) is a
    assert WHOLE.weight(None, a) is None
    assert WHOLE.fraction(a) == (None, a)
    assert WHOLE.rows(3) == 3


# What is exchanged, in the compiled program.


class Programs:
    """What was compiled, as text, and what memory it takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[Any] = []
        call = engine_._Kept.__call__

        def listening(kept: Any, *arguments: Any) -> Any:
            self.seen.append(kept._run.lower(*arguments).compile())
            return call(kept, *arguments)

        monkeypatch.setattr(engine_._Kept, "__call__", listening)

    def counted(self, options: dict[str, Any], **given: Any) -> dict[str, int]:
        """Return how often an epoch's program has each collective."""
        self.seen.clear()
        model = new_model(first(8), options.pop("network", smooth()), **options)
        model.fit(X[:192], Y[:192], epochs=1, **given)
        text = self.seen[0].as_text()
        names = (
            "all-gather",
            "reduce-scatter",
            "all-reduce",
            "all-to-all",
            "collective-permute",
        )
        return {n: len(re.findall(rf" {n}(?:-start)?\(", text)) for n in names}


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(monkeypatch)


# Beside those of the steps there is one all-reduce an epoch: of the losses.
STEPS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "adam": ({}, {}, 0),
    "decay": ({"optimizer": cr.AdamW(weight_decay=0.1)}, {}, 0),
    "clipped": ({"optimizer": cr.SGD(clip_norm=1.0)}, {}, 1),
    "weights": ({}, {"sample_weight": W[:192]}, 1),
    "both": ({"optimizer": cr.Adam(clip_norm=1.0)}, {"sample_weight": W[:192]}, 2),
    "padded": ({}, {"batch_size": 12}, 0),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_gathers_once_and_scatters_once(name: str, programs: Programs) -> None:
    options, given, reduces = STEPS[name]
    found = programs.counted(dict(options), **given)
    assert found["all-gather"] == found["reduce-scatter"] == 1
    assert found["all-to-all"] == found["collective-permute"] == 0
    alone = programs.counted({}, batch_size=32)["all-reduce"]
    assert found["all-reduce"] == reduces + alone


def test_members_exchange_nothing(programs: Programs) -> None:
    options = {"members": 8, "optimizer": cr.Adam(clip_norm=1.0)}
    found = programs.counted(options, sample_weight=W[:192])
    # Of an epoch: its losses, and whether it is finite.
    assert found.pop("all-reduce") + found.pop("all-gather") <= 3
    assert not any(found.values())


@pytest.mark.parametrize("n", [2, 4, 8])
def test_each_device_holds_its_part(n: int, programs: Programs) -> None:
    model = new_model(first(n), cr.MLP((256, 256, 2)), dtype="float32")
    model.fit(X, Y, epochs=2)
    slots, size = 2, model.bound.size
    arrays = (model.training.theta, *model.training.slots)
    held = sum(a.addressable_shards[0].data.size for a in arrays)
    assert held <= (1 + slots) * size / n + (1 + slots)
    # The program's arguments: these, the last finite theta, and the samples.
    samples = 8 * 2 * X.size
    taken = programs.seen[0].memory_analysis().argument_size_in_bytes / 4
    assert taken <= (2 + slots) * size / n + samples


@pytest.mark.parametrize("members", [None, 4, 6])
def test_a_second_fit_compiles_nothing(
    members: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    model = new_model(first(4), smooth(), members=members)
    model.fit(X, Y, epochs=1)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        model.fit(X, Y, epochs=1)
    assert "jit(group)" not in caplog.text
    assert "jit(epoch)" not in caplog.text


def test_a_second_epoch_and_a_second_model_compile_nothing() -> None:
    def sizes() -> int:
        kept = new_model(first(4))
        kept.fit(X, Y, epochs=3, batch_size=64, validation_data=(X, Y))
        info = engine_._compiled.cache_info()
        return int(info.misses)

    before = sizes()
    assert sizes() == before
