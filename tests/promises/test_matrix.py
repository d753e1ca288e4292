"""Everything public on every backend: the numbers, the precision and the place.

The registry `chainrule.testing.cases` says what there is; NumPy in float64 says
what comes out, having been compared with differences, `jax.vjp` and torch's autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chainrule.arrays import random
from chainrule.layers.context import Context
from chainrule.network import Network
from chainrule.testing import cases

from tests.support.libraries import (
    LIBRARIES,
    MATRIX,
    STRICT_DEVICE,
    Library,
    entered,
    here,
    library,
)

pytestmark = pytest.mark.no_sync

NUMPY = library("numpy")
TOLERANCE = {"float64": 1e-11, "float32": 2e-5}
everywhere = pytest.mark.parametrize("lib", MATRIX, indirect=True)
# Layers call the rules: jitted they cost one compilation, eagerly dozens.
compiled = pytest.mark.parametrize(
    "lib", [name for name in MATRIX if name not in ("jax", "jax-x32")], indirect=True
)


def _mapped(f: Callable[[Any], Any], tree: Any) -> Any:
    if tree is None:
        return None
    if isinstance(tree, (tuple, list)):
        return tuple(_mapped(f, branch) for branch in tree)
    return f(tree)


def _leaves(tree: Any) -> list[Any]:
    found: list[Any] = []
    _mapped(found.append, tree)
    return found


def _cast(a: Any, dtype: str) -> Any:
    a = np.asarray(a)
    return a if a.dtype.kind == "i" else a.astype(dtype)


def _device(a: Any) -> str:
    devices = getattr(a, "devices", None)  # JAX's
    return str(devices() if devices else getattr(a, "device", None))


def _random(tree: Any) -> Any:
    rng = np.random.default_rng(4)
    return _mapped(lambda a: rng.normal(size=a.shape), tree)


def agrees(lib: Library, function: Callable[..., Any], *inputs: Any) -> None:
    """Assert that `function(xp, *inputs)` gives on `lib` what it gives on NumPy.

    Floats in the inputs' precision, on their device; the inputs as they were.
    """
    wanted = function(NUMPY.xp, *_mapped(NUMPY.array, inputs))
    given = _mapped(lambda a: lib.array(_cast(a, lib.dtype)), inputs)
    got = lib.run(lambda *arrays: function(lib.xp, *arrays), *given)
    place = _device(_leaves(given)[0])
    for g, w in zip(_leaves(got), _leaves(wanted), strict=True):
        assert tuple(g.shape) == np.shape(w)
        assert str(g.dtype).endswith(lib.dtype)
        assert _device(g) == place
        if lib.values:
            bound = TOLERANCE[lib.dtype] * max(1.0, np.max(np.abs(w), initial=0.0))
            np.testing.assert_allclose(lib.host(g), w, rtol=0, atol=bound)
    if lib.values:
        for a, before in zip(_leaves(given), _leaves(inputs), strict=True):
            np.testing.assert_array_equal(lib.host(a), _cast(before, lib.dtype))


@everywhere
@pytest.mark.parametrize("name", cases.RULES)
def test_rule(name: str, lib: Library) -> None:
    case = cases.RULES[name]
    value, _ = case.rule(*case.inputs, **case.options)

    def both(xp: Any, inputs: Any, dz: Any) -> Any:
        z, pullback = case.rule(*inputs, **case.options)  # follows its arrays
        return z, pullback(dz)

    agrees(lib, both, case.inputs, _random(value))


@compiled
@pytest.mark.parametrize("name", cases.LAYERS)
def test_layer(name: str, lib: Library) -> None:
    case = cases.LAYERS[name]
    network = Network(case.layer, case.sample_shape)
    theta, state = network.initial(0)
    theta = _random(theta) + 0.5
    keys = random.step_keys(3, 0, 1, max(1, network.draws))[0]

    def through(xp: Any, theta: Any, state: Any, key: Any, x: Any, dz: Any) -> Any:
        pieces = network.unflatten_state(state, xp) if network.state_size else ()
        context = Context(xp, train=case.train, state=pieces, key=key)
        z, pullback = network.forward(network.unflatten(theta, xp), x, context)
        dx, dparams = pullback(dz)
        return z, dx, network.pieces(dparams), context.kept

    z = np.empty((len(case.x), *network.output_shape))
    agrees(lib, through, theta, state, keys, case.x, _random(z))


@everywhere
@pytest.mark.parametrize("name", cases.LOSSES)
def test_loss(name: str, lib: Library) -> None:
    case = cases.LOSSES[name]
    shape = case.z.shape[1:]

    def both(xp: Any, z: Any, t: Any, weight: Any) -> Any:
        value, pullback = case.loss(z, t, weight, shape, xp=xp)
        return value, pullback(), case.loss.mass(t, weight, z.dtype, xp=xp)

    agrees(lib, both, case.z, case.t, case.weight)


@everywhere
@pytest.mark.parametrize(
    "name", [n for n, o in cases.OPTIMIZERS.items() if hasattr(o, "update")]
)
def test_optimizer(name: str, lib: Library) -> None:
    optimizer: Any = cases.OPTIMIZERS[name]
    steps = 3
    scalars = optimizer.scalars(0, optimizer.rates(0, steps), 0.0)
    rows = [
        {k: float(np.broadcast_to(v, steps)[i]) for k, v in scalars.items()}
        for i in range(steps)
    ]
    rng = np.random.default_rng(5)
    theta, gradients = rng.normal(size=7), rng.normal(size=(steps, 7))
    decay = (np.arange(7) % 2).astype(float) if optimizer.weight_decay else None

    def run(xp: Any, theta: Any, gradients: Any, decay: Any) -> Any:
        theta = theta + 0.0  # a copy: an update may write
        slots = [xp.zeros_like(theta) for _ in optimizer.slots]
        for i, row in enumerate(rows):
            s = SimpleNamespace(**row)
            g = gradients[i, :]
            theta, *slots = optimizer.update(xp, s, g, decay, theta, *slots)
        return theta, slots

    agrees(lib, run, theta, gradients, decay)


@pytest.mark.parametrize("kind", ["rules", "layers", "losses", "optimizers"])
def test_everything_public_is_listed(kind: str) -> None:
    assert not cases.unlisted()[kind]


def test_the_matrix_has_every_backend_at_its_strictest() -> None:
    wanted = {
        "numpy": {"numpy", "writable", "cupy-stand-in"},
        "strict": {"strict"},
        "jax": {"jax", "jax-x32", "jax-jit", "jax-jit-x32"},
        "torch": {"torch", "torch-meta"},
    }
    assert set(MATRIX) - {"cupy"} == set().union(*(wanted[n] for n in LIBRARIES))


@pytest.mark.parametrize("name", cases.RULES)
def test_no_case_is_zero(name: str) -> None:
    """So that zeros in place of a value or a gradient agree with no oracle."""
    case = cases.RULES[name]
    z, pullback = case.rule(*case.inputs, **case.options)
    for part in (z, *pullback(_random(z))):
        assert np.any(part)


# The matrix itself has to notice what it is there for.


def test_a_wrong_number_is_noticed() -> None:
    with entered("numpy") as lib, pytest.raises(AssertionError):
        agrees(lib, lambda xp, x: x * (1.0 if xp is NUMPY.xp else 1.001), np.ones(3))


def test_a_written_input_is_noticed() -> None:
    def writes(xp: Any, x: Any) -> Any:
        if xp is not NUMPY.xp:
            x[0] = 2.0
        return np.ones(3)

    with entered("numpy") as lib, pytest.raises(ValueError, match="read-only"):
        agrees(lib, writes, np.ones(3))
    with entered("writable") as lib, pytest.raises(AssertionError):
        agrees(lib, writes, np.ones(3))


HIDDEN: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "int": int,
    "bool": bool,
    "index": lambda x: [0, 1, 2][x],
    "numpy": np.asarray,
}


@pytest.mark.parametrize("name", [n for n in MATRIX if n in ("strict", "torch-meta")])
@pytest.mark.parametrize("how", HIDDEN)
def test_a_hidden_sync_is_noticed(name: str, how: str) -> None:
    dtype = "int32" if how == "index" else "float64"
    with entered(name) as lib:
        x = lib.array(np.ones((), dtype=dtype))
        with pytest.raises((AssertionError, RuntimeError, TypeError)):
            HIDDEN[how](x)


def test_syncs_work_again_afterwards() -> None:
    import array_api_strict as strict

    one = strict.ones((), device=STRICT_DEVICE)
    for _ in range(2):
        assert float(one) == 1.0
        with entered("strict"), pytest.raises(AssertionError, match="on the host"):
            float(one)


def test_boolean_masks_are_noticed() -> None:
    with entered("strict") as lib:
        x = lib.array(np.ones(3))
        with pytest.raises(RuntimeError):
            x[x > 0.0]


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_jax_x32_has_no_float64() -> None:
    for name, dtype in (("jax", "float64"), ("jax-x32", "float32")):
        with entered(name) as lib:
            assert lib.dtype == dtype
            assert lib.array(_cast(np.ones(2), lib.dtype)).dtype == dtype
