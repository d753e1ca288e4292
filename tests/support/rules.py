"""What the tests of rules share: cases, and the checks that hold for every rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule.arrays.namespace import Namespace
from chainrule.testing.cases import RULES, RuleCase

from tests.support.libraries import Library, here

Case = RuleCase
NUMPY = Library("numpy", Namespace(np))
MEMBERS = 3
EXTREMES = [
    *(0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 88.0, -88.0, 800.0, -800.0, 1e4, -1e4),
    *(1e-40, -1e-40, 1e-310, -1e-310),
]


def cases(*modules: Any) -> dict[str, Case]:
    """Return the registry's cases of the rules of some files."""
    names = {name for module in modules for name in module.__all__}
    return {name: case for name, case in RULES.items() if case.name in names}


def call(case: Case, lib: Library, items: Any = None) -> Any:
    """(value, pullback) of a case, or of other host arrays in its place."""
    items = (*case.arguments, *case.data) if items is None else items
    arrays = [None if a is None else lib.array(a) for a in items]
    return case.rule(*arrays, **case.options, xp=lib.xp)


def pull(lib: Library, pullback: Any, dz: Any, **options: Any) -> list[Any]:
    """Gradients on the host; None stays None."""
    grads = pullback(lib.array(dz), **options)
    assert isinstance(grads, tuple)
    return [None if g is None else lib.host(g) for g in grads]


def cotangent(z: Any, seed: int = 1, lead: tuple[int, ...] = ()) -> Any:
    """Random numbers of z's shape behind a lead."""
    return np.random.default_rng(seed).normal(size=(*lead, *z.shape))


def close(got: Any, wanted: Any, rtol: float = 1e-10, atol: float = 1e-12) -> None:
    """Assert equality within rounding; shapes too."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol)


def cast(items: Any, dtype: str) -> list[Any]:
    """Floating arrays in another precision; integers as they are."""
    return [
        a if a is None or a.dtype.kind == "i" else np.asarray(a, dtype=dtype)
        for a in items
    ]


def stacked(a: Any) -> Any:
    """A lead of members: other rows and, of floats, other values."""
    grown = [a if a.dtype.kind == "i" else a * (1 + 0.1 * i) for i in range(MEMBERS)]
    return np.stack([np.roll(g, i, axis=0) for i, g in enumerate(grown)])


def finite(dtype: str, *arrays: Any) -> None:
    """Assert that nothing overflowed and that the precision is the argument's."""
    for a in map(np.asarray, arrays):
        assert a.dtype == dtype
        assert np.isfinite(a).all()


DTYPES = st.sampled_from(["float32", "float64"])
# Zero rows, one row, more; with up to two leading axes.
SHAPES = st.tuples(
    st.lists(st.integers(1, 2), max_size=2), st.integers(0, 3), st.integers(1, 4)
).map(lambda s: (*s[0], *s[1:]))


def floats(dtype: str, shape: Any, *, extremes: Any = None, bound: float = 1e4) -> Any:
    """Strategy for arrays in which extremes are common."""
    chosen = EXTREMES if extremes is None else extremes
    chosen = [v for v in np.asarray(chosen, dtype=dtype).tolist() if abs(v) <= bound]
    plain = st.floats(-bound, bound, width=32)
    return hnp.arrays(dtype, shape, elements=st.sampled_from(chosen) | plain)


class RuleChecks:
    """What holds for every rule; a test file gives `case` and the two oracles."""

    def jax_oracle(self, name: str) -> Callable[..., Any]:
        """An independent forward in JAX, of arguments, data and options."""
        raise NotImplementedError

    def torch_oracle(self, name: str) -> Callable[..., Any] | None:
        """PyTorch's own function, of arguments, data and options."""
        raise NotImplementedError

    def test_central_differences(self, case: Case, lib: Library) -> None:
        z, pullback = call(case, lib)
        dz = cotangent(z)
        grads = pull(lib, pullback, dz)
        rng = np.random.default_rng(2)
        for k, (a, g) in enumerate(zip(case.arguments, grads, strict=True)):
            assert g.shape == a.shape
            items = [*case.arguments, *case.data]
            for _ in range(2):
                v = rng.normal(size=a.shape)
                ends = []
                for step in (1e-6, -1e-6):
                    items[k] = a + step * v
                    ends.append(lib.host(call(case, lib, items)[0]))
                slope = np.sum(dz * (ends[0] - ends[1])) / 2e-6
                assert np.sum(g * v) == pytest.approx(slope, rel=1e-6, abs=1e-8)

    def test_writes_nothing_and_repeats_itself(self, case: Case, lib: Library) -> None:
        items = (*case.arguments, *case.data)
        given = [None if a is None else lib.array(a) for a in items]
        z, pullback = case.rule(*given, **case.options, xp=lib.xp)
        before = lib.host(z).copy()
        dz = cotangent(z)
        first, second = pull(lib, pullback, dz), pull(lib, pullback, dz)
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(lib.host(z), before)
        for a, b in zip(given, items, strict=True):
            if b is not None:
                np.testing.assert_array_equal(lib.host(a), b)

    def test_leads_are_a_loop_and_are_never_summed(
        self, case: Case, lib: Library
    ) -> None:
        items = (*case.arguments, *case.data)
        grown: list[Any] = [None if a is None else stacked(a) for a in items]
        there = [k for k, a in enumerate(items) if a is not None]
        few = lib.name == "numpy" or len(there) < 3
        sizes = range(1, len(there) + 1) if few else (1, len(there))
        for size in sizes:
            for which in itertools.combinations(there, size):
                mixed = [grown[k] if k in which else a for k, a in enumerate(items)]
                z, pullback = call(case, lib, mixed)
                z = lib.host(z)
                dz = cotangent(z, 3, (2,))
                grads = pull(lib, pullback, dz)
                for i in range(MEMBERS):
                    one = [
                        grown[k][i] if k in which else a for k, a in enumerate(items)
                    ]
                    alone, back = call(case, NUMPY, one)
                    close(z[i], alone)
                    for j in range(2):
                        for g, w in zip(
                            grads, pull(NUMPY, back, dz[j, i]), strict=True
                        ):
                            assert g.shape == (2, MEMBERS, *w.shape)
                            close(g[j, i], w)

    def test_a_lead_on_the_cotangent_is_a_loop(self, case: Case, lib: Library) -> None:
        z, pullback = call(case, lib)
        dz = cotangent(z, 4, (2, 3))
        grads = pull(lib, pullback, dz)
        for i, j in np.ndindex(2, 3):
            for g, w in zip(grads, pull(lib, pullback, dz[i, j]), strict=True):
                close(g[i, j], w)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_keeps_the_precision(self, case: Case, lib: Library, dtype: str) -> None:
        z, pullback = call(case, lib, cast((*case.arguments, *case.data), dtype))
        dz = cotangent(z).astype(dtype)
        finite(dtype, lib.host(z), *pull(lib, pullback, dz))

    @pytest.mark.skipif(not here("jax"), reason="needs JAX")
    def test_jax_vjp_and_jit(self, case: Case) -> None:
        import jax

        with jax.enable_x64(True):
            n = len(case.arguments)
            items = [
                None if a is None else jax.numpy.asarray(a)
                for a in (*case.arguments, *case.data)
            ]
            z, pullback = case.rule(*items, **case.options)
            dz = jax.numpy.asarray(cotangent(z))
            grads = pullback(dz)

            def rule(items: Any, dz: Any) -> Any:
                z, pullback = case.rule(*items, **case.options)
                return z, pullback(dz)

            def oracle(items: Any, dz: Any) -> Any:
                forward = self.jax_oracle(case.name)

                def function(*arguments: Any) -> Any:
                    return forward(*arguments, *items[n:], **case.options)

                z, vjp = jax.vjp(function, *items[:n])
                return z, vjp(dz)

            for wanted, rtol in (
                (jax.jit(rule)(items, dz), 1e-12),
                (jax.jit(oracle)(items, dz), 1e-9),
            ):
                close(z, wanted[0], rtol)
                for g, w in zip(grads, wanted[1], strict=True):
                    close(g, w, rtol)

    @pytest.mark.skipif(not here("torch"), reason="needs PyTorch")
    def test_torch_autograd(self, case: Case) -> None:
        import torch

        function = self.torch_oracle(case.name)
        if function is None:
            pytest.skip("PyTorch has no such function")
        tensors: list[Any] = [
            None if a is None else torch.from_numpy(np.array(a))
            for a in (*case.arguments, *case.data)
        ]
        given = [a.requires_grad_() for a in tensors[: len(case.arguments)]]
        z = function(*given, *tensors[len(given) :], **case.options)
        dz = cotangent(z)
        wanted = torch.autograd.grad(z, given, torch.tensor(dz))
        ours, pullback = call(case, NUMPY)
        # PyTorch keeps some functions' constants in float32.
        rtol = 1e-7 if case.name in {"hard_sigmoid", "celu"} else 1e-9
        close(ours, z.detach().numpy())
        for g, w in zip(pullback(dz), wanted, strict=True):
            close(g, w.numpy(), rtol)


class WrtChecks(RuleChecks):
    """What also holds for rules of several arguments."""

    def test_wrt(self, case: Case, lib: Library) -> None:
        n = len(case.arguments)
        z, pullback = call(case, lib)
        dz = cotangent(z)
        every = pull(lib, pullback, dz)
        for size in range(n + 1):
            for wrt in itertools.combinations(range(n), size):
                some = pull(lib, pullback, dz, wrt=wrt)
                assert tuple(k for k, g in enumerate(some) if g is not None) == wrt
                for k in wrt:
                    np.testing.assert_array_equal(some[k], every[k])

    def test_what_nobody_wants_is_not_computed(self, case: Case) -> None:
        xp = Namespace(np)
        _, pullback = case.rule(*case.inputs, **case.options, xp=xp)
        dz = cotangent(case.rule(*case.inputs, **case.options)[0])

        def refuse(*_: Any, **__: Any) -> Any:
            msg = "computed for nobody"
            raise AssertionError(msg)

        vars(xp).update(sum=refuse, mean=refuse, matmul=refuse)
        assert all(g is None for g in pullback(dz, wrt=()))
        assert all(g is None for g in pullback(dz, wrt=(9,)))
        if case.name == "batch_norm_inference":
            assert pullback(dz, wrt=(0,))[0].shape == dz.shape
