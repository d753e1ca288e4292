"""How arrays are joined on JAX: beyond a size, on a CPU, not by XLA's concatenation."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import chainrule
from chainrule import backends

if "jax" not in backends.available():
    pytest.skip("JAX is not installed", allow_module_level=True)
jax = importlib.import_module("jax")
engine = importlib.import_module("chainrule.backends.jax.engine")
BIG = importlib.import_module("chainrule.backends.jax.functions").JOINED


def parts(*shapes: Any, dtypes: Any = ("float32",)) -> list[Any]:
    generator = np.random.default_rng(0)
    kinds = [dtypes[i % len(dtypes)] for i in range(len(shapes))]
    return [
        (100 * generator.normal(size=shape)).astype(kind)
        for shape, kind in zip(shapes, kinds, strict=True)
    ]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize(
    ("shapes", "axis"),
    [
        ([(BIG,), (1,), (0,), (7,)], -1),
        ([(BIG,), (3,)], 0),
        ([(3, BIG), (3, 1), (3, 20)], -1),
        ([(2, 3, BIG), (2, 3, 5)], 2),
        ([(BIG, 2), (5, 2)], 0),
        ([(2, BIG, 2), (2, 5, 2)], -2),
        ([(5,), (6,)], -1),
    ],
)
def test_it_joins_as_numpy_does(shapes: Any, axis: int, compiled: bool) -> None:
    def join(*arrays: Any) -> Any:
        return backends.get("jax").xp.concat(arrays, axis=axis)

    arrays = parts(*shapes)
    before = [a.copy() for a in arrays]
    z = (jax.jit(join) if compiled else join)(*map(jax.numpy.asarray, arrays))
    assert_array_equal(z, np.concatenate(arrays, axis=axis))
    assert z.dtype == np.float32
    for a, b in zip(arrays, before, strict=True):
        assert_array_equal(a, b)


def test_dtypes_are_promoted() -> None:
    arrays = parts((BIG,), (9,), dtypes=("int32", "float32"))
    z = backends.get("jax").xp.concat([jax.numpy.asarray(a) for a in arrays])
    want = jax.numpy.concatenate([jax.numpy.asarray(a) for a in arrays])
    assert z.dtype == want.dtype
    assert_array_equal(z, want)


def test_no_step_of_a_large_network_concatenates(monkeypatch: Any) -> None:
    # Concatenated by XLA, a gradient of this size took ten times the rest of a step.
    texts = []

    def told(build: Any, backend: Any, key: Any, donate: int) -> Any:
        whole = jax.jit(build(backend, *key), donate_argnums=tuple(range(donate)))

        def run(*arguments: Any) -> Any:
            texts.append(whole.lower(*arguments).compile().as_text())
            return whole(*arguments)

        return run

    monkeypatch.setattr(engine, "_compiled", told)
    network = chainrule.MLP((8, 128, 128, 8), activation="relu")
    x = np.random.default_rng(0).normal(size=(64, 8))
    model = chainrule.Model(network, optimizer="adam", backend="jax", seed=0)
    model.fit(x, x, epochs=1, batch_size=16)
    assert model.theta.size > BIG
    joins = re.findall(r"= f32\[([\d,]+)\][^=]* concatenate\(", "\n".join(texts))
    large = [s for s in joins if np.prod([int(n) for n in s.split(",")]) > BIG]
    assert texts
    if backends.get("jax").device.platform == "cpu":
        assert not large


def test_it_can_be_differentiated_and_mapped() -> None:
    a, b = (jax.numpy.asarray(p) for p in parts((3, BIG), (3, 5)))

    def join(a: Any, b: Any) -> Any:
        return backends.get("jax").xp.concat([a, b], axis=-1)

    want = np.concatenate([a, b], axis=-1)
    assert_array_equal(jax.jit(jax.vmap(join))(a, b), want)
    z, dz = jax.jit(lambda *t: jax.jvp(join, t, t))(a, b)
    assert_array_equal(z, want)
    assert_array_equal(dz, want)
    back = jax.jit(lambda a, b, dz: jax.vjp(join, a, b)[1](dz))(a, b, z)
    assert_array_equal(back[0], a)
    assert_array_equal(back[1], b)


def test_float64() -> None:
    arrays = parts((BIG,), (9,), dtypes=("float64",))
    engine = backends.get("jax")
    with engine.scope("float64"):
        z = jax.jit(lambda *a: engine.xp.concat(a))(*map(jax.numpy.asarray, arrays))
    assert z.dtype == np.float64
    assert_array_equal(z, np.concatenate(arrays))
