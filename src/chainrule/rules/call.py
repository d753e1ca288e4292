"""How a rule is called by hand: on what arrays, in which dtype, it computes.

The network hands every rule a namespace and arrays of the model's dtype. A rule that is
called without ``xp`` gets what its caller has, and begins with

    if xp is None:
        return call_rule(rule, x)

so that the way of training pays nothing for what is looked at here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.arrays.namespace import namespace
from chainrule.arrays.types import ArrayNamespace, Pullback
from chainrule.errors import ArgumentError, ArgumentTypeError

__all__ = ["call_rule"]


def call_rule(
    rule: Callable[..., Any],
    *arrays: Any,
    integral: tuple[int, ...] = (),
    **options: Any,
) -> tuple[Any, Pullback]:
    """Call a rule in the namespace of its arrays, in a dtype in which it is right.

    Parameters
    ----------
    rule : function
        ``rule(*arrays, xp=, **options) -> (value, pullback)``.
    *arrays : array or None
        In the rule's order.
    integral : tuple of int
        The positions at which integers and booleans are meant as such (labels, random
        words) and stay as they are.
    **options
        Keyword arguments of the rule.

    Returns
    -------
    value, pullback
        The rule's own. Integers and booleans are computed with as the floating dtype of
        the other arrays, or else as the library's default one. Of a half precision
        (float16, bfloat16) the rule computes in float32, and value and gradients are
        rounded to it once, at the end: squares and sums overflow float16 from 256 on.

    Raises
    ------
    ArgumentTypeError
        If one is not an array of the standard, or holds no real numbers; if arrays
        belong to different libraries.
    ArgumentError
        If an array has masked entries.
    """
    given = [_plain(a, rule, k) for k, a in enumerate(arrays)]
    first, *others = given
    xp = namespace(first, *others)
    usual = (xp.float32, xp.float64)
    if all(a is None or a.dtype in usual for a in given):
        return _called(rule, given, xp, options)
    floats = [
        a.dtype
        for k, a in enumerate(given)
        if a is not None and _is_floating(xp, a.dtype, rule, k)
    ]
    bits = {d: xp.finfo(d).bits for d in floats}
    halves = {d for d in floats if bits[d] < 32}
    wide = [d for d in floats if bits[d] >= 32] or [xp.float32]
    dtype = max(wide, key=lambda d: bits.get(d, 32)) if floats else _default(xp)
    for k, a in enumerate(given):
        if a is None or a.dtype in wide or (k in integral and a.dtype not in halves):
            continue
        given[k] = xp.astype(a, dtype)
    z, pullback = _called(rule, given, xp, options)
    if len(halves) != 1 or len(halves) != len(bits):
        return z, pullback  # beside another dtype, a half is widened
    (half,) = halves

    def rounded(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        cotangents = [
            xp.astype(a, dtype) if getattr(a, "dtype", None) == half else a
            for a in map(_plain, args)
        ]
        grads = pullback(*cotangents, **kwargs)
        return tuple(None if g is None else xp.astype(g, half) for g in grads)

    return xp.astype(z, half), rounded


def _called(
    rule: Any, given: list[Any], xp: ArrayNamespace, options: dict[str, Any]
) -> tuple[Any, Pullback]:
    """Call a rule on plain arrays, and let both ways take arrays of several ranks.

    The pullback's cotangents may be NumPy's subclasses, too.
    """
    with xp.any_ranks():
        z, pullback = rule(*given, xp=xp, **options)

    def by_hand(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        with xp.any_ranks():
            return pullback(*[_plain(a) for a in args], **kwargs)  # type: ignore[no-any-return]

    return z, by_hand


def _plain(a: Any, rule: Any = None, k: int = 0) -> Any:
    """Return NumPy's subclasses and scalars as arrays: a matrix has another *."""
    if type(a) is np.ndarray or not isinstance(a, (np.ndarray, np.generic)):
        return a
    if np.ma.is_masked(a):
        name = "a pullback's cotangent" if rule is None else _name(rule, k)
        msg = (
            f"{name} has masked entries, which a rule would compute with; "
            f"fill them, for example with x.filled(0.0), or leave them out."
        )
        raise ArgumentError(msg)
    return np.asarray(a)


def _is_floating(xp: ArrayNamespace, dtype: Any, rule: Any, k: int) -> bool:
    """Whether a dtype is floating; not integer or boolean. Others are refused."""
    try:
        if xp.isdtype(dtype, "real floating"):
            return True
        numbers = xp.isdtype(dtype, ("integral", "bool"))
    except TypeError:  # one that the standard does not know
        numbers = False
    if not numbers:
        msg = (
            f"{_name(rule, k)} must hold real numbers; got dtype {dtype}. Convert it "
            f"first, for example to float32."
        )
        raise ArgumentTypeError(msg)
    return False


def _name(rule: Any, k: int) -> str:
    return f"{rule.__name__}: {rule.__code__.co_varnames[k]}"


def _default(xp: ArrayNamespace) -> Any:
    """Return the library's default floating dtype, which may not be a half."""
    dtype = xp.asarray(0.0).dtype
    return dtype if xp.finfo(dtype).bits >= 32 else xp.float32
