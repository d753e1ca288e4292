"""What a pullback must hold, check by check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from chainrule.backends import Backend
from chainrule.errors import ArgumentError, GradientError
from chainrule.testing.arrays import index_of, near, same, size_of
from chainrule.testing.differences import Slope, slope
from chainrule.testing.leads import check_leads
from chainrule.testing.reports import ArgumentReport, GradientReport
from chainrule.testing.subjects import Subject

__all__ = ["CHECKS", "Check", "build"]

CHECKS = ("purity", "shape", "wrt", "differences", "leads", "dtype", "compiled")
_MOST_REDRAWS = 10
# Slopes below this, relative to the value itself, are rounding.
_FLAT = 1e-9
# Entries that are looked at one by one to find the worst of a wrong gradient.
_MOST_ENTRIES = 2048


class Check:
    """The checks of one subject on one backend.

    Each raises a `GradientError`, or returns why it was not made.
    """

    what: Subject
    backend: Backend
    directions: int
    rtol: float
    rng: np.random.Generator
    found: dict[int, ArgumentReport]

    def __init__(
        self, what: Subject, backend: Backend, seed: int, directions: int, rtol: float
    ) -> None:
        self.what, self.backend = what, backend
        self.directions, self.rtol = directions, rtol
        self.rng = np.random.default_rng([seed, 2])
        self.found: dict[int, ArgumentReport] = {}

    def report(self, skip: tuple[str, ...]) -> GradientReport:
        """Make all checks but those to `skip`."""
        what, checks = self.what, {}
        with self.backend.scope("float64"):
            for name in ("purity", "shape", "wrt", "differences", "leads"):
                checks[name] = self._one(name, skip)
        with self.backend.scope("float32"):
            checks["dtype"] = self._one("dtype", skip)
        with self.backend.scope("float64"):
            checks["compiled"] = self._one("compiled", skip)
        arguments = tuple(
            self.found.get(k)
            or ArgumentReport(what.names[k], what.inputs[k].shape, 0, np.nan, 0, True)
            for k in what.active
        )
        passive = (k for k in range(len(what.names)) if k not in what.active)
        names = tuple(what.names[k] for k in passive if what.inputs[k] is not None)
        return GradientReport(what.name, self.backend.name, arguments, names, checks)

    def _one(self, name: str, skip: tuple[str, ...]) -> str:
        if name in skip:
            return "skipped"
        return getattr(self, f"_{name}")() or "ok"

    # Running the subject.

    def run(self, items: Sequence[Any], dtype: str = "float64") -> Any:
        """Run on host arrays: ``(value, pull)``, both with host arrays outside."""
        backend = self.backend
        arrays = [self.put(a, dtype) for a in items]
        value, pull = self._guarded(self.what.run, backend, arrays, dtype)
        host = backend.to_numpy(value)

        def pulled(dz: Any, wrt: Any = None) -> list[Any]:
            there = self.put(dz, dtype)
            grads = self._guarded(pull, there, wrt)
            return [
                None if g is None else np.array(backend.to_numpy(self._array(k, g)))
                for k, g in enumerate(grads)
            ]

        return np.array(host), pulled

    def _array(self, k: int, g: Any) -> Any:
        if not hasattr(g, "shape"):
            self.fail("shape", k, f"is a {type(g).__name__}, not an array")
        return g

    def put(self, a: Any, dtype: str = "float64") -> Any:
        """Put a host array on the backend: memory of its own, read-only if NumPy's."""
        if a is None:
            return None
        a = np.asarray(a, dtype=dtype if a.dtype.kind == "f" else None)
        there = self.backend.copy(self.backend.asarray(a))
        if isinstance(there, np.ndarray):
            there.flags.writeable = False
        return there

    def _guarded(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except ValueError as error:
            if "read-only" not in str(error) or isinstance(error, ArgumentError):
                raise
            msg = (
                f"{self.what.name}: writes into an array that it was given: its inputs "
                f"and the cotangent belong to the caller ({error})."
            )
            raise GradientError(msg, check="purity") from error

    def fail(self, check: str, k: int | None, text: str, **more: Any) -> NoReturn:
        """Raise a `GradientError` about the value, or about argument k's gradient."""
        what = self.what
        argument = None if k is None else what.names[k]
        about = "" if k is None else f"the gradient of {what.label(k)} "
        msg = f"{what.name}: {about}{text}"
        raise GradientError(msg, check=check, argument=argument, **more)

    def cotangent(self, value: Any, *lead: int) -> Any:
        """Draw a cotangent of a value, with axes before its own."""
        return np.asarray(self.rng.normal(size=(*lead, *value.shape)))

    # The checks.

    def _shape(self) -> None:
        value, pull = self.run(self.what.inputs)
        if not np.isfinite(value).all():
            msg = f"{self.what.name}: the value is not finite at these inputs."
            raise ArgumentError(msg)
        self._dtypes(value, pull(self.cotangent(value)), "float64")

    def _dtype(self) -> None:
        value, pull = self.run(self.what.inputs, "float32")
        self._dtypes(value, pull(self.cotangent(value)), "float32")

    def _dtypes(self, value: Any, grads: Any, dtype: str) -> None:
        what = self.what
        if value.dtype != dtype:
            text = f"inputs of {dtype} must give a value of {dtype}; got {value.dtype}."
            self.fail("dtype", None, text)
        for k in what.active:
            g, shape = grads[k], what.inputs[k].shape
            if g is None:
                self.fail("shape", k, "is None though every gradient was asked for.")
            if g.shape != shape:
                text = f"must have the argument's shape {shape}; got {g.shape}."
                self.fail("shape", k, text)
            if g.dtype != dtype:
                text = f"must have the argument's dtype {dtype}; got {g.dtype}."
                self.fail("dtype", k, text)
            if not np.isfinite(g).all():
                index = index_of(~np.isfinite(g))
                at = self.entry(k, index)
                text = f"is not finite: {g[index]} at {at}."
                self.fail("finite", k, text, index=index, got=float(g[index]))

    def _purity(self) -> None:
        what, backend = self.what, self.backend
        # With memory that can be written: what a rule writes is seen, and named.
        arrays = [
            None if a is None else backend.copy(backend.asarray(a)) for a in what.inputs
        ]
        value, pull = what.run(backend, arrays, "float64")
        before = np.array(backend.to_numpy(value))
        host = self.cotangent(before)
        dz = backend.copy(backend.asarray(host))
        first = [
            None if g is None else self._array(k, g) for k, g in enumerate(pull(dz))
        ]
        kept: list[Any] = [
            None if g is None else np.array(backend.to_numpy(g)) for g in first
        ]
        pull(backend.copy(backend.asarray(self.cotangent(before))))
        later = [None if g is None else np.array(backend.to_numpy(g)) for g in first]
        again = pull(dz)
        for k, a in enumerate(what.inputs):
            if a is not None and not same(a, backend.to_numpy(arrays[k])):
                text = f"writes into {what.label(k)}; inputs belong to the caller."
                self.fail("purity", None, text)
        if not same(host, backend.to_numpy(dz)):
            self.fail("purity", None, "the pullback writes into its cotangent.")
        if not same(before, backend.to_numpy(value)):
            self.fail("purity", None, "the pullback writes into the value.")
        for k, want in enumerate(kept):
            if want is None:
                continue
            old: Any = later[k]
            new: Any = np.asarray(backend.to_numpy(again[k]))
            for got, when in ((old, "another call"), (new, "a second call")):
                if not same(want, got):
                    index = index_of(want != got) if want.shape == got.shape else ()
                    text = (
                        f"is not the same after {when} of the pullback: at "
                        f"{self.entry(k, index)} {want[index]!r}, then "
                        f"{got[index]!r}. A pullback keeps no state."
                    )
                    self.fail("purity", k, text, index=index)
        value, pull = self.run(what.inputs)  # read-only, where it can be
        pull(host)

    def _wrt(self) -> str | None:
        what = self.what
        if what.subsets is None:
            return "not offered"
        value, pull = self.run(what.inputs)
        dz = self.cotangent(value)
        every = pull(dz)
        for wrt in what.subsets:
            asked = ", ".join(what.names[k] for k in wrt) or "nothing"
            for k, g in enumerate(pull(dz, wrt)):
                if k in wrt and (g is None or not near(g, every[k])):
                    self.fail("wrt", k, f"is another one where wrt asks for {asked}.")
                if k not in wrt and g is not None:
                    text = f"must be None where wrt asks for {asked}: wrt is ignored."
                    self.fail("wrt", k, text)
        return None

    def _differences(self) -> None:
        what = self.what
        for k in what.active:
            self.found[k] = self._argument(k, list(what.inputs))
        if all(a.flat for a in self.found.values()):
            names = ", ".join(what.names[k] for k in what.active)
            text = (
                f"every slope and every gradient of {names} is 0, so nothing was "
                f"tested; choose other inputs."
            )
            self.fail("vacuous", None, text)
        first = what.inputs[what.rows[0]] if what.rows else None
        if first is not None and first.ndim > 1 and first.shape[0] == 1:
            self._more_rows()

    def _more_rows(self) -> None:
        """One row proves nothing about sums over rows: try three."""
        what = self.what
        grown = list(what.inputs)
        for k in what.rows:
            a = grown[k]
            grown[k] = np.concatenate([a, a, a])
            if k in what.active:
                grown[k] = grown[k] + 0.1 * self.rng.normal(size=grown[k].shape)
        try:
            value, pull = self.run(grown)
        except (TypeError, ValueError):
            return  # the first axis is no batch
        grads = pull(self.cotangent(value))
        if all(grads[k].shape == grown[k].shape for k in what.active):
            for k in what.active:
                self._argument(k, list(grown), " with three rows")

    def _argument(self, k: int, items: list[Any], where: str = "") -> ArgumentReport:
        """Compare one argument's gradient with slopes along random directions."""
        worst, redraws, flat, made = 0.0, 0, True, 0
        size = items[k].size
        if not size:
            name = self.what.names[k]
            return ArgumentReport(name, items[k].shape, 0, 0.0, 0, True)
        while made < self.directions:
            value, pull = self.run(items)
            dz = self.cotangent(value)
            g = pull(dz)[k]
            v = self.rng.normal(size=items[k].shape)
            got = float(np.sum(g * v))
            want, norm, scale, fine = self._slope(k, items, dz, v, g, got)
            if not fine:
                redraws += 1
                if redraws > _MOST_REDRAWS:
                    text = (
                        f"cannot be checked{where}: after {redraws} draws no "
                        f"difference quotient converges (slope {want.value:g} ± "
                        f"{want.error:.1e}, pullback {got:g}). The value is not "
                        f"differentiable there, or not a function of its arguments "
                        "alone."
                    )
                    self.fail("differences", k, text)
                spread = 1e-2 * size_of(items[k])
                items[k] = items[k] + spread * self.rng.normal(size=items[k].shape)
                continue
            gap = abs(got - want.value)
            if not gap <= self.rtol * norm + 2.0 * want.error:
                self._wrong(k, items, dz, g, Slope(want.value, gap), got, where)
            if norm > _FLAT * scale:
                flat, worst = False, max(worst, gap / norm)
            made += 1
        name = self.what.names[k]
        return ArgumentReport(name, items[k].shape, made, worst, redraws, flat)

    def _slope(
        self, k: int, items: list[Any], dz: Any, v: Any, g: Any, got: float
    ) -> tuple[Slope, float, float, bool]:
        """Slope along v; norms of slopes and of the value; whether it converged."""
        unit = size_of(items[k])
        rows = list(items)

        def f(h: float) -> Any:
            rows[k] = items[k] + (h * unit) * v
            return self.run(rows)[0]

        scale = float(np.sum(np.abs(dz * f(0.0)))) / unit
        length = float(np.linalg.norm(g)) * float(np.linalg.norm(v)) / np.sqrt(v.size)

        def norm(s: Slope) -> float:
            return float(max(abs(got), abs(s.value), length))

        def within(s: Slope, share: float) -> bool:
            return s.error <= share * self.rtol * norm(s)

        wobble = float(np.sum(np.abs(g * items[k])))
        s = slope(
            f,
            dz,
            wobble=wobble,
            enough=lambda s: within(Slope(s[0] / unit, s[1] / unit), 0.01),
        )
        s = Slope(s.value / unit, s.error / unit)
        fine = within(s, 0.1) or s.error <= 1e-2 * self.rtol * scale
        return s, norm(s), scale, fine

    def _wrong(
        self,
        k: int,
        items: list[Any],
        dz: Any,
        g: Any,
        along: Slope,
        got: float,
        where: str,
    ) -> None:
        """Find the worst entry of a wrong gradient, and raise."""
        size = g.size
        some = np.arange(size)
        if size > _MOST_ENTRIES:
            largest = np.argsort(-np.abs(g), axis=None)[: _MOST_ENTRIES // 2]
            some = self.rng.choice(size, _MOST_ENTRIES // 2, replace=False)
            some = np.unique(np.concatenate([largest, some]))
        worst: tuple[float, int, float] = (-1.0, 0, 0.0)
        for i in some:
            v = np.zeros(size)
            v[i] = 1.0
            one = float(np.ravel(g)[i])
            want, *_ = self._slope(k, items, dz, v.reshape(g.shape), g, one)
            gap = abs(one - want.value) - want.error
            if gap > worst[0]:
                worst = (gap, int(i), want.value)
        _, i, wanted = worst
        index = tuple(int(n) for n in np.unravel_index(i, g.shape))
        mine = float(g[index])
        of = "" if len(some) == size else f" of the {len(some)} looked at"
        text = (
            f"disagrees with central differences{where}. Worst entry{of}: "
            f"{self.entry(k, index)}, pullback {mine:.12g}, differences {wanted:.12g}. "
            f"Along a random direction: pullback {got:.12g}, differences "
            f"{along.value:.12g}."
        )
        self.fail("differences", k, text, index=index, got=mine, wanted=wanted)

    def _leads(self) -> None:
        check_leads(self)

    def _compiled(self) -> str | None:
        backend, what = self.backend, self.what
        if not backend.pads:
            return "not compiled"
        value, pull = self.run(what.inputs)
        dz = self.cotangent(value)
        eager = pull(dz)
        there = [k for k, a in enumerate(what.inputs) if a is not None]
        run = backend.compile(build, what, tuple(there), "float64")
        arrays = [self.put(what.inputs[k]) for k in there]
        z, grads = run(arrays, self.put(dz))
        if not near(backend.to_numpy(z), value):
            self.fail("compiled", None, "the compiled value is another one.")
        for k in what.active:
            if not near(backend.to_numpy(grads[k]), eager[k]):
                self.fail("compiled", k, "is another one when it is compiled.")
        return None

    def entry(self, k: int, index: tuple[int, ...]) -> str:
        """Return how an entry of argument k is written."""
        return f"{self.what.names[k]}[{', '.join(map(str, index))}]"


def build(backend: Backend, what: Subject, there: tuple[int, ...], dtype: str) -> Any:
    """Return ``f(arrays, dz) -> (value, gradients)``; `there` numbers the arrays."""

    def run(arrays: Any, dz: Any) -> Any:
        items: list[Any] = [None] * len(what.inputs)
        for k, a in zip(there, arrays, strict=True):
            items[k] = a
        value, pull = what.run(backend, items, dtype)
        return value, pull(dz)

    return run
