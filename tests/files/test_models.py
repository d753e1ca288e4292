"""Model files: what comes back, what is refused, and that a file is whole or as it was."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.files import codec, container, durable
from chainrule.files import registry as registry_
from chainrule.files.models import to_contents
from chainrule.files.registry import _builtin
from chainrule.network import Network

from tests.soak import fuzz_load
from tests.support.libraries import LIBRARIES, backend
from tests.support.models import standing

FILES = Path(__file__).parent
RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 3)).astype(np.float32)
Y = (X[:, :2] ** 2).astype(np.float32)
NETWORK = cr.Sequential(
    cr.Dense(4),
    cr.BatchNorm(),
    cr.Residual(cr.Sequential(cr.Tanh(), cr.Dropout(0.2))),
    cr.Dense(2, bias=False, trainable=False),
)


def _model(name: str = "numpy", **options: Any) -> cr.Model:
    given = {"optimizer": cr.Adam(cr.schedules.StepDecay(0.01, 5)), **options}
    model = cr.Model(NETWORK, metrics=["r2"], seed=7, **backend(name), **given)
    model.fit(X, Y, epochs=2, batch_size=8)
    return model


def _names(folder: Path) -> list[str]:
    return [found.name for found in folder.iterdir()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is registered inside a test is forgotten after it."""
    registry: dict[str, Any] = {}
    monkeypatch.setattr(registry_, "_registered", registry)
    return registry


# What comes back.


@pytest.mark.parametrize("origin", LIBRARIES)
def test_a_model_comes_back_on_every_backend(origin: str, path: Path) -> None:
    model = _model(origin)
    model.save(path)
    want = model.predict(X)
    for name in LIBRARIES:
        back = cr.load(path, **backend(name))
        assert back.backend == cr.backends.get(*backend(name).values())
        got = back.predict(X)
        if name == origin:
            assert got.tobytes() == want.tobytes()
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        for a, b in zip(back.get_weights(), model.get_weights(), strict=True):
            assert a.tobytes() == b.tobytes()
        assert (back.network, back.loss, back.optimizer) == (
            model.network,
            model.loss,
            model.optimizer,
        )
        assert list(back.metrics) == ["r2"]
        assert (back.seed, back.dtype, back.precision) == (7, "float32", "highest")
        assert not back.history


@pytest.mark.parametrize("name", LIBRARIES)
def test_training_goes_on(name: str, path: Path) -> None:
    """With its optimizer a model trains on as if it had never been a file."""
    model = _model(name)
    model.learning_rate = 0.02
    model.save(path, include_optimizer=True)
    back = cr.load(path, **backend(name))
    assert back.learning_rate == model.learning_rate
    for each in (model, back):
        each.fit(X, Y, epochs=2, batch_size=8)
    assert [a.tobytes() for a in back.get_weights()] == [
        a.tobytes() for a in model.get_weights()
    ]


def test_without_its_optimizer_training_starts_anew(path: Path) -> None:
    model = _model()
    model.save(path)
    back = cr.load(path)
    assert (standing(back).step, standing(back).epoch) == (0, 0)
    assert not any(np.any(a) for a in standing(back).slots)
    assert back.learning_rate == 0.01


def test_no_backend_is_numpy(path: Path) -> None:
    _model(LIBRARIES[-1]).save(path)
    assert cr.load(path).backend.name == "numpy"


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = _model()
    files = [tmp_path / name for name in "abcde"]
    model.save(files[0], include_optimizer=True)
    model.save(files[1], include_optimizer=True)
    cr.load(files[0]).save(files[2], include_optimizer=True)
    code = f"import chainrule as cr; cr.load({str(files[0])!r}).save({str(files[3])!r}, include_optimizer=True)"
    subprocess.run([sys.executable, "-c", code], check=True)
    model.to(**backend(LIBRARIES[-1])).save(files[4], include_optimizer=True)
    assert len({file.read_bytes() for file in files}) == 1


def test_safetensors_reads_the_parameters_by_name(path: Path) -> None:
    from safetensors import safe_open

    model = _model()
    model.save(path, include_optimizer=True)
    with safe_open(path, framework="np") as file:
        assert list(file.metadata()) == ["chainrule"]
        about = json.loads(file.metadata()["chainrule"])
        for name, a in model.parameters.items():
            assert np.array_equal(file.get_tensor(name), a)
        assert {"state/1.mean", "state/1.var", "optimizer/m", "optimizer/v"} == set(
            file.keys()
        ) - set(model.parameters)
    assert (about["format"], about["version"]) == (1, cr.__version__)
    assert about["model"]["input_shape"] == [3]


def test_special_values_survive(path: Path) -> None:
    model = cr.Model(cr.MLP((3,)), dtype="float64", backend="numpy").build(2)
    theta, state = model.get_weights()
    theta[:] = [np.nan, np.inf, -np.inf, -0.0, 5e-324, 1e308, 0.1, 1 / 3, 2**-1074]
    model.set_weights
    model.training = standing(model)._replace(theta=theta, state=state)
    model.save(path)
    assert cr.load(path).get_weights()[0].tobytes() == theta.tobytes()


def test_every_array_layout_is_written_as_it_is(path: Path) -> None:
    a = np.arange(24.0).reshape(4, 6)
    tensors = {
        "transposed": a.T,
        "backwards": a[::-1, ::-2],
        "broadcast": np.broadcast_to(a[0], (3, 6)),
        "big-endian": a.astype(">f8"),
        "0-d": np.array(3.0),
        "empty": np.zeros((0, 3), np.float32),
        "bool": a > 3,
        "int": a.astype(np.int16),
    }
    container.write_file(path, {}, tensors)
    config, back = container.read_file(path)
    assert config["version"] == cr.__version__
    assert set(back) == set(tensors)
    for name, want in tensors.items():
        assert back[name].shape == want.shape
        assert back[name].dtype == want.dtype.newbyteorder("=")
        assert np.array_equal(back[name], want)
    with pytest.raises(cr.SerializationError, match=r"a cannot be saved.*complex128"):
        container.write_file(path, {}, {"a": a + 1j})


NEEDED: dict[str, tuple[Any, ...]] = {
    "Dense": (3,),
    "Dropout": (0.5,),
    "Residual": (cr.Tanh(),),
    "Sequential": (cr.Tanh(), cr.Sequential(cr.Dense(2))),
    "schedules.Constant": (0.1,),
    "ExponentialDecay": (0.1, 5, 0.5),
    "CosineDecay": (0.1, 5),
    "StepDecay": (0.1, 5),
    "InverseTimeDecay": (0.1, 5),
    "Metric": ("r2",),
}


@pytest.mark.parametrize("name", sorted(_builtin()))
def test_every_public_class_comes_back(name: str) -> None:
    import inspect

    thing = _builtin()[name]
    if not isinstance(thing, type):
        made = thing
    else:
        arguments = NEEDED.get(name, NEEDED.get(name.partition(".")[2], ()))
        try:
            inspect.signature(thing).bind(*arguments)
        except (TypeError, ValueError):
            if vars(thing).get("__init__") is not None:
                pytest.fail(f"say in NEEDED how to make {name}")
        made = thing(*arguments)
    text = json.dumps(codec.encode(made, "it"), allow_nan=False)
    assert codec.decode(json.loads(text), "it") == made


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        2**200,
        0.1,
        -0.0,
        float("inf"),
        -float("inf"),
        "text",
        [1, [2.5]],
        (1, (2, [3])),
        {"a": (1, None), "b": {"c": float("inf")}},
    ],
)
def test_plain_values_come_back(value: Any) -> None:
    text = json.dumps(codec.encode(value, "it"), allow_nan=False)
    back = codec.decode(json.loads(text), "it")
    assert repr(back) == repr(value)


def test_arrays_are_stored_beside() -> None:
    tensors: dict[str, Any] = {}
    a, b = np.ones(3), np.zeros((2, 2))
    coded = json.loads(json.dumps(codec.encode({"a": (a, 1), "b": [b]}, "s", tensors)))
    assert set(tensors) == {"s/a/0", "s/b/0"}
    back = codec.decode(coded, "s", tensors)
    assert back["a"][0] is a
    assert back["a"][1] == 1
    assert back["b"][0] is b
    assert not tensors


def test_loading_draws_no_weights(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _model().save(path)

    def never(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(Network, "initial", never)
    assert cr.load(path).built


def test_files_of_old_formats(tmp_path: Path) -> None:
    """One file of every format there ever was."""
    formats = sorted(int(file.stem[1:]) for file in FILES.glob("v*.safetensors"))
    assert formats == list(range(1, container.FORMAT + 1))
    for number in formats:
        want = json.loads((FILES / f"v{number}.json").read_text())
        model = cr.load(FILES / f"v{number}.safetensors")
        got = model.predict(np.array(want["x"], np.float32))
        np.testing.assert_allclose(got, want["prediction"], rtol=1e-5, atol=1e-6)
        assert standing(model).step == want["step"]
        model.fit(X, Y, epochs=1)


# One's own classes and functions.


class Scale(cr.Layer):
    """z = factor x."""

    factor: float

    def __init__(self, factor: float, *, trainable: bool = True) -> None:
        self._configure(trainable, factor=factor)

    def forward(self, params: Any, x: Any, context: Any) -> Any:
        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> Any:
            return dz * self.factor, ()

        return x * self.factor, pullback


class Forgetful(Scale):
    """Keeps its argument under another name."""

    def __init__(self, amount: float) -> None:
        super().__init__(amount)


class Changing(Scale):
    """Changes its argument."""

    def __init__(self, factor: float) -> None:
        super().__init__(factor + 1)


def double(y_true: Any, y_pred: Any) -> float:
    """Return a metric."""
    return 2.0


def _own(layer: cr.Layer | None = None, **options: Any) -> cr.Model:
    network = cr.Sequential(cr.Dense(2), layer or Scale(2.0))
    return cr.Model(network, backend="numpy", **options).build(3)


def test_ones_own_layer(path: Path, known: dict[str, Any]) -> None:
    model = _own()
    match = (
        r"model.safetensors: network/layers/1 cannot be saved.*Scale.*register\(Scale\)"
    )
    with pytest.raises(cr.SerializationError, match=match):
        model.save(path)
    assert not path.exists()
    assert registry_.register(Scale) is Scale
    model.save(path)
    assert cr.load(path).predict(X).tobytes() == model.predict(X).tobytes()
    known.clear()
    match = r"model.safetensors: network/layers/1: 'Scale' is not known.*register"
    with pytest.raises(cr.SerializationError, match=match):
        cr.load(path)


def test_registering(known: dict[str, Any]) -> None:
    register = registry_.register
    assert register(name="lab.Scale")(Scale) is Scale
    assert set(known) == {"lab.Scale"}
    register(Scale, name="lab.Scale")  # again, as a notebook does
    for name in ("lab.Scale", "layers.Dense"):
        with pytest.raises(cr.ArgumentError, match=f"'{name}' is taken"):
            register(double, name=name)
    with pytest.raises(cr.ArgumentError, match="give name="):
        register(lambda: 0)
    with pytest.raises(cr.ArgumentTypeError, match="a class must be a subclass"):
        register(dict)
    with pytest.raises(cr.ArgumentTypeError, match="must be a class or a function"):
        register(3)


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (lambda: _own(cr.Dense(2, kernel_initializer=lambda s, g: g.normal(size=s))),
         "network/layers/1/kernel_initializer cannot be saved.*lambda.*register"),
        (lambda: _own(cr.Tanh(), metrics=[double]),
         "metrics/0 cannot be saved.*double.*register"),
        (lambda: _own(cr.Tanh(), optimizer=cr.Adam(lambda step: 0.1)),
         "optimizer/learning_rate cannot be saved.*lambda.*register"),
    ],
)  # fmt: skip
def test_functions_that_no_file_knows(
    model: Callable[[], cr.Model], match: str, path: Path
) -> None:
    path.write_text("old")
    with pytest.raises(cr.SerializationError, match=match) as caught:
        model().save(path)
    assert str(caught.value).startswith(str(path))
    assert path.read_text() == "old"


def test_registered_functions(path: Path, known: dict[str, Any]) -> None:
    rate, start = (lambda step: 0.1 / (1 + step)), (lambda s, g: g.normal(size=s))
    model = _own(
        cr.Dense(2, kernel_initializer=start),
        metrics=[double],
        optimizer=cr.SGD(rate),
    )
    registry_.register(double)
    registry_.register(rate, name="rate")
    registry_.register(start, name="start")
    model.save(path)
    back = cr.load(path)
    assert back.optimizer.learning_rate is rate
    assert back.network == model.network
    assert list(back.metrics) == ["double"]


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (Forgetful(2.0), "the constructor of Forgetful has an argument 'amount'"),
        (Changing(2.0), "network cannot be saved.*would come back as"),
        (Scale(object()), "network/layers/1/factor cannot be saved: no file knows"),  # type: ignore[arg-type]
        (Scale(2**300), "factor cannot be saved.*256 bits"),
    ],
)
def test_layers_that_cannot_come_back(
    layer: cr.Layer, match: str, path: Path, known: dict[str, Any]
) -> None:
    registry_.register(type(layer))
    with pytest.raises(cr.SerializationError, match=match):
        _own(layer).save(path)
    assert not path.exists()


def test_nesting_has_a_limit(path: Path) -> None:
    layer: cr.Layer = cr.Dense(3)
    for _ in range(60):
        layer = cr.Sequential(layer)
    with pytest.raises(cr.SerializationError, match="nested more than 100 deep"):
        cr.Model(layer, backend="numpy").build(3).save(path)


# Damage and hostility.


@pytest.fixture(scope="module")
def raw() -> bytes:
    return fuzz_load.models(0)[1]


def _refused(path: Path, contents: bytes, match: str | None = None) -> None:
    path.write_bytes(contents)
    with pytest.raises(cr.SerializationError, match=match) as caught:
        cr.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert isinstance(caught.value, ValueError)


def test_every_flipped_byte_is_found(path: Path, raw: bytes) -> None:
    for at in {*range(40), *range(0, len(raw), 5), len(raw) - 1}:
        broken = bytearray(raw)
        broken[at] ^= 1 << (at % 8)
        _refused(path, bytes(broken))


def test_every_cut_is_found(path: Path, raw: bytes) -> None:
    for length in {*range(20), *range(0, len(raw), 37), len(raw) - 1}:
        _refused(path, raw[:length])
    _refused(path, raw + b"\0", "damaged")


@settings(max_examples=150, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(data=st.data())
def test_damage_of_any_kind(data: Any, tmp_path: Path, raw: bytes) -> None:
    low = data.draw(st.integers(0, len(raw)))
    high = data.draw(st.integers(low, min(len(raw), low + 50)))
    new = data.draw(st.binary(max_size=50))
    broken = raw[:low] + new + raw[high:]
    if broken != raw:
        _refused(tmp_path / "f", broken)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20) | st.sampled_from(sorted(_builtin())),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8) | st.sampled_from(["$class", "$float", "$array"]), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=150, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(data=st.data(), value=JSON)
def test_any_json_in_any_place(
    data: Any, value: Any, tmp_path: Path, raw: bytes
) -> None:
    """With a right checksum: loaded, or refused in the library's words."""
    config, entries, rest = fuzz_load.take_apart(raw)
    node, key = data.draw(st.sampled_from(fuzz_load._places(config)))
    node[key] = value
    path = tmp_path / "f"
    path.write_bytes(fuzz_load.forge(config, entries, rest))
    try:
        assert cr.load(path).built
    except cr.SerializationError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017 - either will do


def test_thousands_of_mutated_files(tmp_path: Path) -> None:
    """A twentieth of the soak."""
    done = fuzz_load.fuzz(5000, 1, tmp_path)
    assert done.files == 5000
    assert done.refused["SerializationError"] > 4000
    assert done.loaded > 50  # or nothing but the checksum was tested


def _forged(raw: bytes, change: Callable[[Any], None], entries: bool = False) -> bytes:
    config, outer, data = fuzz_load.take_apart(raw)
    change(outer if entries else config)
    return fuzz_load.forge(config, outer, data)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.update(format=2), "format 2, written by chainrule.*newer"),
        (lambda c: c.update(format=True), "does not say its format"),
        (lambda c: c.pop("format"), "configuration does not say its format"),
        (lambda c: c.pop("model"), "must have 'model', a JSON object"),
        (lambda c: c["model"].pop("network"), "must have 'network'"),
        (lambda c: c["model"].update(loss=c["model"]["network"]), "loss is not what"),
        (lambda c: c["model"].update(dtype="float16"), "dtype must be one of"),
        (lambda c: c["model"].update(dtype="float32"), "the dtype float32; it has"),
        (lambda c: c["model"].update(seed=-1), "seed must be"),
        (lambda c: c["model"].update(precision="low"), "precision must be"),
        (lambda c: c["model"].update(input_shape=[4]), "must have the shape"),
        (lambda c: c["model"].update(input_shape=[0]), "input_shape must be"),
        (lambda c: c["model"].update(input_shape=[1] * 40), "40 axes"),
        (lambda c: c["model"].update(input_shape=[]), "Dense: x must have"),
        (lambda c: c["model"].update(metrics=["no"]), "metrics must be one of"),
        (lambda c: c["model"].update(training=3), "training must be"),
        (lambda c: c["model"]["loss"].update({"$class": "os.system"}), "'os.system' is not known"),
        (lambda c: c["model"]["loss"].update({"$class": "metrics.r2"}), "is not a class"),
        (lambda c: c["model"]["loss"].update(x=1), "has no argument 'x'"),
        (lambda c: c["model"]["network"]["layers"][0].update(units=0), "refuses its arguments"),
        (lambda c: c["model"]["network"]["layers"][0].update(units=10**12), "must have the shape .1000000000000, 3"),
        (lambda c: c["model"]["network"].update(layers=3), "layers must be a list"),
        (lambda c: c["model"].update(metrics=[{"$class": "initializers.Constant", "value": 1.0}]), "metrics/0 must be one of chainrule's metrics"),
        (lambda c: c["model"]["optimizer"].update(learning_rate={"$function": "metrics.r2"}), "must be one of chainrule's schedules"),
        (lambda c: c["model"]["network"]["layers"][0].update(kernel_initializer={"$class": "schedules.Constant", "learning_rate": 1.0}), "must be one of chainrule's initializers"),
    ],
)  # fmt: skip
def test_hostile_configurations(
    change: Callable[[Any], None], match: str, path: Path, raw: bytes
) -> None:
    _refused(path, _forged(raw, change), match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda e: e.pop("0.bias"), "'0.bias' is missing|not a valid"),
        (lambda e: e.update(more=dict(e["0.bias"])), "not a valid safetensors file"),
        (lambda e: e["0.bias"].update(dtype="F32"), "not a valid safetensors"),
        (lambda e: e["0.bias"].update(dtype="I64"), "the dtype float64; it has"),
        (lambda e: e["0.bias"].update(shape=[1, 2]), "must have the shape"),
        (lambda e: e["0.bias"].update(shape=[2**62, 2**62]), "not a valid"),
        (lambda e: e["0.bias"].update(data_offsets=[0, 2**62]), "speaks of"),
        (lambda e: e["0.bias"].pop("data_offsets"), "entry without offsets"),
        (lambda e: e.update(bad=3), "an entry without offsets"),
    ],
)
def test_hostile_headers(
    change: Callable[[Any], None], match: str, path: Path, raw: bytes
) -> None:
    _refused(path, _forged(raw, change, entries=True), match)


def test_members_that_no_array_counts(path: Path) -> None:
    """A network without parameters has no array of so many rows."""
    cr.Model(cr.Tanh(), members=2, backend="numpy").build(3).save(path)
    assert cr.load(path).members == 2
    raw = path.read_bytes()
    for members in (10**9, 2**62, 2**200):

        def claim(config: Any, members: int = members) -> None:
            config["model"]["members"] = members

        _refused(path, _forged(raw, claim), "members must be at most 65536")


@pytest.mark.parametrize("slots", [{"$tuple": [1]}, {"m": 1}, [], "", 0])
def test_slots_of_an_optimizer_that_has_none(slots: Any, path: Path) -> None:
    model = cr.Model(cr.MLP((2,)), optimizer=cr.SGD(), backend="numpy").build(3)
    model.save(path, include_optimizer=True)
    assert cr.load(path).built
    forged = _forged(
        path.read_bytes(), lambda c: c["model"]["training"].update(slots=slots)
    )
    _refused(path, forged, "slots must be none")


@pytest.mark.parametrize(
    ("given", "include"),
    [
        ({"members": 3}, True),
        ({"members": 3, "optimizer": cr.AdamW(cr.schedules.StepDecay(0.01, 3))}, True),
        ({"optimizer": cr.LBFGS()}, True),
        ({"optimizer": cr.LevenbergMarquardt()}, True),
        ({"optimizer": cr.SGD(cr.schedules.CosineDecay(0.01, 9, warmup_steps=2))}, True),
        ({"members": 3}, False),
    ],
    ids=repr,
)  # fmt: skip
def test_every_kind_of_training_goes_on(
    given: dict[str, Any], include: bool, path: Path
) -> None:
    model = cr.Model(cr.MLP((4, 2)), backend="numpy", seed=3, **given)
    model.fit(X, Y, epochs=2)
    model.save(path, include_optimizer=include)
    back = cr.load(path)
    assert back.predict(X).tobytes() == model.predict(X).tobytes()
    assert (back.members, back.optimizer) == (model.members, model.optimizer)
    if include:
        for each in (model, back):
            each.fit(X, Y, epochs=2)
        assert [a.tobytes() for a in back.get_weights()] == [
            a.tobytes() for a in model.get_weights()
        ]


def test_headers_that_lie(path: Path, raw: bytes) -> None:
    _refused(path, b"", "not a safetensors file")
    _refused(path, b"PK\3\4 a zip of something else", "not a safetensors file")
    _refused(path, (2**62).to_bytes(8, "little") + raw[8:], "not a safetensors file")
    big = 9 * 2**20
    _refused(path, big.to_bytes(8, "little") + bytes(big), "at most 8,388,608")
    wide = raw[8 : 8 + int.from_bytes(raw[:8], "little")].decode().encode("utf-16")
    _refused(path, len(wide).to_bytes(8, "little") + wide, "not valid JSON")
    config, entries, data = fuzz_load.take_apart(raw)
    _refused(path, fuzz_load.forge(0, entries, data), "must be a JSON object")
    for text, match in {
        "[" * 10**6: "not valid JSON",
        '{"a":' * 10**4 + "1" + "}" * 10**4: "nested over 256 deep",
        '{"a":' * 257 + "1" + "}" * 257: "nested over 256 deep",
        '{"a":"' + "[" * 300 + '\\\\"}': "does not say its format",
        '{"a":1,"a":2}': "has a name twice",
        '{"a":NaN}': "the number NaN",
        f'{{"a":{"9" * 5000}}}': "not valid JSON",
    }.items():
        _refused(path, fuzz_load.forge(config, entries, data, text), match)
    from safetensors.numpy import save_file

    save_file({"a": X}, path)
    _refused(path, path.read_bytes(), "not written by chainrule")


def test_sizes_that_are_claimed_are_not_allocated(path: Path, raw: bytes) -> None:
    def change(config: Any) -> None:
        config["model"]["network"]["layers"][0]["units"] = 10**12

    broken = _forged(raw, change)
    _refused(path, broken)
    tracemalloc.start()
    try:
        _refused(path, broken)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_long_names_are_not_copied_for_each_entry(path: Path, raw: bytes) -> None:
    """Where something stands is bounded text: else this takes minutes."""
    config, entries, data = fuzz_load.take_apart(raw)
    config["model"]["metrics"] = [{"k" * 10**6: [0] * 10**6}]
    broken = fuzz_load.forge(config, entries, data)
    start = time.process_time()
    _refused(path, broken, "metrics")
    assert time.process_time() - start < 15.0


def test_records_are_counted(path: Path, raw: bytes) -> None:
    def many(config: Any) -> None:
        config["model"]["network"]["layers"] = [{"$class": "layers.Tanh"}] * 11_000

    _refused(path, _forged(raw, many), "more than 10000 records")


def test_an_array_too_many(path: Path) -> None:
    model = _model()
    config, tensors = to_contents(model.snapshot())
    tensors["more"] = np.zeros(3)
    container.write_file(path, {"kind": "model", "model": config}, tensors)
    with pytest.raises(cr.SerializationError, match="an array 'more' too many"):
        cr.load(path)


# Paths and the operating system.


@pytest.mark.parametrize("use", [cr.load, lambda p: _own(cr.Tanh()).save(p)])
def test_paths(use: Callable[[Any], Any], tmp_path: Path) -> None:
    for wrong in (3, None, b"bytes", ["x"]):
        with pytest.raises(cr.ArgumentTypeError, match=r"^path must be a string"):
            use(wrong)
    for name in ("", "a\0b", "a\ud800b"):
        with pytest.raises(cr.ArgumentError, match=r"^path must be the name"):
            use(name)
    with pytest.raises(cr.FileError, match=r"cannot be .*[Dd]irectory") as caught:
        use(tmp_path)
    assert caught.value.errno == errno.EISDIR
    assert isinstance(caught.value, OSError)
    with pytest.raises(cr.FileError, match="/dev/null cannot be"):
        use("/dev/null")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(cr.MissingFileError, match="cannot be") as missing:
        use(tmp_path / "no" / "such")
    assert isinstance(missing.value, FileNotFoundError)
    (tmp_path / "file").write_text("")
    with pytest.raises(cr.FileError, match="Not a directory"):
        use(tmp_path / "file" / "model")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(cr.FileError, match="pipe cannot be read"):
        cr.load(tmp_path / "pipe")


def test_a_device_without_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("/dev/zero", tmp_path / "link"):
        with pytest.raises(cr.FileError, match="/dev/zero cannot be read"):
            cr.load(name)


def test_a_file_larger_than_the_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _model().save(path)

    def full(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(container, "_check_digest", full)
    with pytest.raises(cr.FileError, match=r"cannot be read: .*memory") as caught:
        cr.load(path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOMEM, str(path))


def test_not_built(path: Path) -> None:
    with pytest.raises(cr.NotBuiltError):
        cr.Model(cr.MLP((2,))).save(path)
    with pytest.raises(cr.ArgumentTypeError, match=r"^include_optimizer must be"):
        _own(cr.Tanh()).save(path, include_optimizer=1)  # type: ignore[arg-type]
    assert not path.exists()


def test_a_backend_that_cannot_be_had(path: Path) -> None:
    _model().save(path)
    with pytest.raises(cr.ArgumentError, match=r"^backend must be one of"):
        cr.load(path, backend="nunpy")


def test_links_and_permissions(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    model = _own(cr.Tanh())
    model.save(target)
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask
    target.chmod(0o640)
    link.symlink_to(target)
    model.save(link)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert cr.load(link).built


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_the_disk_fails(
    call: str, code: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model()
    model.save(path)
    before = path.read_bytes()
    model.fit(X, Y, epochs=1)

    def fail(*_: Any) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(cr.FileError, match="is as it was") as caught:
        model.save(path)
    assert os.strerror(code) in str(caught.value)
    assert (caught.value.errno, caught.value.filename) == (code, str(path))
    assert path.read_bytes() == before
    assert _names(path.parent) == [path.name]


def _script(path: Path, before: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import os, signal, resource, chainrule as cr\n"
        f"model = cr.Model(cr.MLP((500, 500))).build(3)\n{before}\n"
        f"model.save({str(path)!r})"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_killed_while_writing(call: str, path: Path) -> None:
    model = _model()
    model.save(path)
    before = path.read_bytes()
    die = f"os.{call} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    assert _script(path, die).returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    (stale,) = (name for name in _names(path.parent) if name != path.name)
    assert re.fullmatch(rf"\.{re.escape(path.name)}\.[0-9a-f]{{12}}\.tmp", stale)
    assert cr.load(path).predict(X).tobytes() == model.predict(X).tobytes()
    assert set(_names(path.parent)) == {path.name, stale}  # to load removes nothing
    model.save(path)
    assert _names(path.parent) == [path.name]


def test_a_full_disk(path: Path) -> None:
    """The system itself refuses the second half of a file."""
    path.write_text("old")
    limit = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    )
    done = _script(path, limit)
    assert "chainrule.errors.FileError" in done.stderr
    assert "is as it was" in done.stderr
    assert path.read_text() == "old"
    assert _names(path.parent) == [path.name]


def test_stale_files_are_swept_and_others_are_not(path: Path) -> None:
    model = _own(cr.Tanh())
    folder = path.parent
    stale = [file.name for file in durable._slots(path)]
    others = [f".{path.name}.{k}.tmp" for k in ("my-notes", "abc", "0123456789ab")]
    others += [f".{path.name}.abc", "x.tmp", ".other.abc.tmp", f"{path.name}.1.tmp"]
    for name in (*stale, *others):
        (folder / name).write_text("")
    model.save(path)
    assert set(_names(folder)) == {path.name, *others}
    (folder / stale[0]).write_text("")
    assert cr.load(path).built
    assert (folder / stale[0]).exists()


def test_no_folder_is_listed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have hundreds of thousands of files."""

    def refuse(*_: Any) -> Any:
        raise AssertionError

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, refuse)
    model = _own(cr.Tanh())
    model.save(path)
    model.save(path)
    assert cr.load(path).built


@pytest.mark.parametrize("bytes_", [200, 237, 238, 250, 255])
@pytest.mark.parametrize("letter", ["a", "ä"])
def test_names_as_long_as_the_system_takes(
    bytes_: int, letter: str, tmp_path: Path
) -> None:
    name = letter * ((bytes_ - 3) // len(letter.encode())) + ".st"
    path = tmp_path / name
    model = _own(cr.Tanh())
    model.save(path)
    model.save(path)
    assert cr.load(path).predict(X).tobytes() == model.predict(X).tobytes()
    model.fit(X, Y, epochs=1, callbacks=[cr.Checkpoint(path)])
    assert _names(tmp_path) == [name]


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    model = _own(cr.Tanh())
    before = model.get_weights()[0].tobytes()
    with pytest.raises(cr.FileError, match="cannot be written: File name too long"):
        model.fit(X, Y, epochs=1, callbacks=[cr.Checkpoint(tmp_path / ("a" * 256))])
    assert model.get_weights()[0].tobytes() == before
    assert _names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fchmod"), reason="a system without modes")
@pytest.mark.parametrize("calls", [("fchmod",), ("fchmod", "chmod")])
def test_mounts_that_take_no_modes(
    calls: tuple[str, ...], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    model = _own(cr.Tanh())
    model.save(path)
    path.chmod(0o600)
    for call in calls:
        monkeypatch.setattr(os, call, refuse)
    model.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # never more than before
    model.fit(X, Y, epochs=3, callbacks=[cr.Checkpoint(path, keep=2)])
    assert cr.load(path).built


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_mounts_that_cannot_flush_or_link(
    code: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(os, "link", refuse)
    model = _own(cr.Tanh())
    model.fit(X, Y, epochs=3, callbacks=[cr.Checkpoint(path, keep=2)])
    older = path.with_name(f"{path.stem}-2{path.suffix}")
    assert set(_names(path.parent)) == {path.name, older.name}
    assert cr.load(older).built


def test_the_current_folder_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _own(cr.Tanh())
    gone, there = tmp_path / "gone", tmp_path / "there.st"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    model.save(there)
    assert cr.load(there).built
    for call in (
        lambda: model.save("model.st"),
        lambda: cr.load("model.st"),
        lambda: cr.Checkpoint("model.st"),
    ):
        with pytest.raises(cr.MissingFileError, match="current folder was deleted"):
            call()


def test_what_is_being_written_is_not_swept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _own(cr.Tanh())
    fsync, seen = os.fsync, []

    def sweeping(descriptor: int) -> None:
        durable.sweep(path)
        seen.append(len(_names(path.parent)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sweeping)
    model.save(path)
    assert seen[0] == 1
    assert cr.load(path).built


def test_many_threads_save_and_load_one_path(path: Path) -> None:
    models = [
        cr.Model(cr.MLP((2,)), seed=k, backend="numpy").build(3) for k in range(4)
    ]
    wanted = {model.get_weights()[0].tobytes() for model in models}
    models[0].save(path)
    wrong: list[Any] = []

    def work(model: cr.Model) -> None:
        try:
            for _ in range(15):
                model.save(path)
                if cr.load(path).get_weights()[0].tobytes() not in wanted:
                    wrong.append("half a file")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert _names(path.parent) == [path.name]
