"""What a user calls a device of JAX, or several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends

jax = pytest.importorskip("jax")

from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402

from chainrule.backends.jax import devices  # noqa: E402

EVERY = jax.devices("cpu")
ROWS = np.array(EVERY[:4]).reshape(2, 2)

pytestmark = pytest.mark.skipif(len(EVERY) < 8, reason="needs 8 CPU devices")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("cpu:*", EVERY),
        (EVERY, EVERY),
        (tuple(EVERY[:3]), EVERY[:3]),
        (["cpu:2", EVERY[0]], [EVERY[2], EVERY[0]]),
        ("cpu:1,cpu:0", [EVERY[1], EVERY[0]]),
        (Mesh(np.array(EVERY[:2]), ("data",)), EVERY[:2]),
        (Mesh(ROWS, ("hosts", "local")), ROWS),
        ("cpu:0,cpu:1/cpu:2,cpu:3", ROWS),
    ],
)
def test_several_are_a_mesh(given: Any, wanted: Any) -> None:
    found = devices.locate(given)
    assert isinstance(found, Mesh)
    assert (found.devices == np.array(wanted)).all()
    assert found.devices.shape == np.shape(wanted)


@pytest.mark.parametrize(
    "given", ["cpu:1", EVERY[1], [EVERY[1]], ["cpu:1"], Mesh(ROWS[:1, 1:], ("a", "b"))]
)
def test_a_single_one_is_a_device(given: Any) -> None:
    assert devices.locate(given) == EVERY[1]


@pytest.mark.parametrize("given", ["cpu:*", "cpu:3,cpu:1", "cpu:0,cpu:1/cpu:2,cpu:3"])
def test_an_engine_is_found_by_its_name(given: str) -> None:
    engine = backends.get("jax", given)
    assert backends.get("jax", engine.device_name) is engine
    assert str(engine.device_name) in repr(engine)
    assert engine != backends.get("jax", "cpu:0")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "no device"),
        (["cpu:0", EVERY[0]], "cpu:0 comes twice"),
        (["cpu:0", 3], "got 3"),
        ("cpu:0,cpu:99", "here are cpu:0"),
        ("mars:*", "'mars:\\*' is not to be had"),
        ("cpu:0,cpu:1/cpu:2", "rows of equal length"),
        (Mesh(np.array(EVERY).reshape(2, 2, 2), ("a", "b", "c")), "3 axes"),
        (3, "got 3 \\(int\\)"),
        (b"cpu", "bytes"),
    ],
)
def test_what_is_no_device_is_refused(given: Any, says: str) -> None:
    with pytest.raises(cr.errors.DeviceError, match=says):
        cr.Model(cr.MLP((2, 1)), backend="jax", device=given)


class _Other:
    """Stands for a device of another platform; there is none to be had here."""

    platform, id, process_index = "tpu", 0, 0


def test_devices_of_two_platforms_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_named", lambda _: _Other())
    with pytest.raises(cr.errors.DeviceError, match=r"one platform; got .* cpu, tpu"):
        devices.locate([EVERY[0], "tpu:0"])


def test_an_array_tells_where_it_lies() -> None:
    mesh = devices.locate("cpu:2,cpu:0")
    rows = jax.device_put(
        np.ones((4, 3)), NamedSharding(mesh, PartitionSpec("devices"))
    )
    assert backends.of(rows) == backends.get("jax", mesh)
    assert backends.of(jax.device_put(np.ones(3), EVERY[3])).device == EVERY[3]
    assert devices.home(jax.device_put(rows, EVERY[1])) == EVERY[1]
