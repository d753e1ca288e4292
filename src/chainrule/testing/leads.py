"""Leading axes: they broadcast, are never summed, and mean a loop."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import GradientError
from chainrule.testing.arrays import index_of, members, near

if TYPE_CHECKING:
    from chainrule.testing.checks import Check

__all__ = ["check_leads"]


def check_leads(check: Check) -> None:
    """Compare what comes of leading axes with a loop over them."""
    what = check.what
    value, pull = check.run(what.inputs)
    dz = check.cotangent(value, 2)
    loop = [pull(dz[j]) for j in range(2)]
    name = "an axis on the cotangent"
    _against(check, name, _led(check, name, pull, dz), (2,), loop)
    there = [k for k, a in enumerate(what.inputs) if a is not None]
    sets: list[tuple[int, ...]] = [(k,) for k in there]
    sets += [tuple(there)] if len(there) > 1 else []
    sets += [what.active] if 1 < len(what.active) < len(there) else []
    for some in dict.fromkeys(sets):
        many: list[Any] = [
            members(a) if k in some else None for k, a in enumerate(what.inputs)
        ]
        names = ", ".join(what.names[k] for k in some)
        _loop(check, f"an axis of members on {names}", many)
    if what.rows:
        many = [
            what.inputs[k][:, None] if k in what.rows else None
            for k in range(len(what.inputs))
        ]
        if many[what.rows[0]].shape[0]:
            _loop(check, "samples moved to an axis of their own", many)


def _loop(check: Check, name: str, many: list[Any]) -> None:
    """Run with leads at once, and in a loop over them."""
    inputs = check.what.inputs
    count = next(a.shape[0] for a in many if a is not None)
    at_once = [a if m is None else m for m, a in zip(many, inputs, strict=True)]
    value, pull = _led(check, name, check.run, at_once)
    shape = value.shape[1:]
    if value.shape[:1] != (count,):
        text = (
            f"with {name} the value must have a leading axis of {count}; "
            f"got {value.shape}."
        )
        check.fail("leads", None, text)
    dz = check.rng.normal(size=(2, count, *shape))
    loop: list[list[Any]] = [[], []]
    for i in range(count):
        one = [a if m is None else m[i] for m, a in zip(many, inputs, strict=True)]
        alone, back = check.run(one)
        if alone.shape != shape or not near(value[i], alone):
            check.fail("leads", None, f"with {name} the value is not the loop's.")
        for j in range(2):
            loop[j].append(back(dz[j, i]))
    flat = list(itertools.chain(*loop))
    grads = _led(check, name, pull, dz)
    _against(check, name, grads, (2, count), flat)


def _led(check: Check, name: str, function: Any, argument: Any) -> Any:
    """Call on arrays with leads: what breaks there is a matter of leads."""
    try:
        return function(argument)
    except GradientError:
        raise
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        text = (
            f"fails with {name}: {error}. Leading axes broadcast and are never "
            f"summed (skip='leads' for a rule that does not promise that)."
        )
        check.fail("leads", None, text)


def _against(check: Check, name: str, grads: Any, lead: Any, loop: list[Any]) -> None:
    for k in check.what.active:
        wanted = np.stack([one[k] for one in loop])
        wanted = wanted.reshape(*lead, *wanted.shape[1:])
        g = grads[k]
        if g is None or g.shape != wanted.shape:
            shape = None if g is None else g.shape
            text = (
                f"must have the shape {wanted.shape} with {name}; got {shape}. "
                f"Leading axes are never summed."
            )
            check.fail("leads", k, text)
        if not near(g, wanted):
            index = index_of(-np.abs(g - wanted), largest=False)
            text = (
                f"is not what a loop over {name} gives: {g[index]:.12g} at "
                f"{check.entry(k, index)}, the loop {wanted[index]:.12g}."
            )
            got, want = float(g[index]), float(wanted[index])
            check.fail("leads", k, text, index=index, got=got, wanted=want)
