"""Damaged and hostile files: each is refused, with a short word on why."""

from __future__ import annotations

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
from chainrule.files import container
from chainrule.files.models import to_contents
from chainrule.files.registry import _builtin

from tests.soak import fuzz_load
from tests.support.files import X, new_model


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


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_damage_of_any_kind(data: Any, tmp_path: Path, raw: bytes) -> None:
    low = data.draw(st.integers(0, len(raw)))
    high = data.draw(st.integers(low, min(len(raw), low + 50)))
    new = data.draw(st.binary(max_size=50))
    broken = raw[:low] + new + raw[high:]
    if broken != raw:
        _refused(tmp_path / "f", broken)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(sorted(_builtin())),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["$class", "$float", "$array"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
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
        (
            lambda c: c["model"]["loss"].update({"$class": "os.system"}),
            "'os.system' is not known",
        ),
        (
            lambda c: c["model"]["loss"].update({"$class": "metrics.r2"}),
            "is not a class",
        ),
        (lambda c: c["model"]["loss"].update(x=1), "has no argument 'x'"),
        (
            lambda c: c["model"]["network"]["layers"][0].update(units=0),
            "refuses its arguments",
        ),
        (
            lambda c: c["model"]["network"]["layers"][0].update(units=10**12),
            "must have the shape .1000000000000, 3",
        ),
        (lambda c: c["model"]["network"].update(layers=3), "layers must be a list"),
        (
            lambda c: c["model"].update(
                metrics=[{"$class": "initializers.Constant", "value": 1.0}]
            ),
            "metrics/0 must be one of chainrule's metrics",
        ),
        (
            lambda c: c["model"]["optimizer"].update(
                learning_rate={"$function": "metrics.r2"}
            ),
            "must be one of chainrule's schedules",
        ),
        (
            lambda c: c["model"]["network"]["layers"][0].update(
                kernel_initializer={
                    "$class": "schedules.Constant",
                    "learning_rate": 1.0,
                }
            ),
            "must be one of chainrule's initializers",
        ),
    ],
)
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
    model = new_model()
    config, tensors = to_contents(model.snapshot())
    tensors["more"] = np.zeros(3)
    container.write_file(path, {"kind": "model", "model": config}, tensors)
    with pytest.raises(cr.SerializationError, match="an array 'more' too many"):
        cr.load(path)
