"""Check a pullback: against central differences, and against what pullbacks promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chainrule import backends
from chainrule.config import checks
from chainrule.testing.checks import CHECKS, Check
from chainrule.testing.reports import GradientReport
from chainrule.testing.subjects import subject

if TYPE_CHECKING:
    from types import ModuleType

    from chainrule.backends import Backend
    from chainrule.config.choices import BackendName, CheckName, Int, Real

__all__ = ["check_gradients"]


def check_gradients(
    target: Any,
    *inputs: Any,
    data: Any = (),
    backend: BackendName | Backend | ModuleType | None = None,
    train: bool = True,
    seed: Int = 0,
    directions: Int = 3,
    rtol: Real = 1e-6,
    skip: CheckName | Sequence[CheckName] = (),
) -> GradientReport:
    """Check the pullback of a rule, a layer, a network, a model or a loss.

    Parameters
    ----------
    target : function, Layer, Network, Model or Loss
        A rule is ``fn(arrays..., *, xp=None) -> (value, pullback)``; options go in by
        `functools.partial`. A layer that is not bound is bound to x's samples.
    *inputs : arrays
        A rule's arguments, None where one is left out; a layer's batch x; a loss's z, t
        and weight. Real numbers are taken in float64; integers are data.
    data : numbers or names of inputs
        Those that have no gradient, beside integers.
    backend : str, Backend, module, optional
        Where to run; None follows the first input.
    train : bool
        For layers: whether dropout drops and batch norm uses the batch's statistics.
    seed : int
        Of directions, cotangents, and of a layer's parameters and masks.
    directions : int
        Random directions for each argument and each parameter.
    rtol : float
        Largest difference, relative to the norms of gradient and slope.
    skip : sequence of str
        Checks to leave out, of `CHECKS`; the report says so.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientError
        (also an AssertionError) That says which argument is wrong, its worst entry,
        what the pullback gave there and what central differences gave.
    ArgumentError, ArgumentTypeError, ShapeError
        If the inputs cannot be checked.

    Notes
    -----
    The checks, by name:

    purity
        Inputs, cotangent and value are not written into (on NumPy they are handed in
        read-only), and the same cotangent gives the same bits again, later too.
    shape
        One finite gradient for each argument, of its shape and dtype.
    wrt
        Each subset that is asked for comes alone, and with the same values.
    differences
        <dz, J v> by central differences with an error estimate, against
        <pullback(dz), v>, for random dz and v. Where no quotient converges there is a
        kink: the point is drawn anew, and the report counts it.
    leads
        Axes before the core are never summed: members of an ensemble on each input and
        on all, axes on the cotangent (a Jacobian), samples moved to an axis of their
        own. Each is compared with a loop.
    dtype
        float32 in, float32 out.
    compiled
        Where the backend compiles, the compiled rule gives the same.
    """
    skipped = (skip,) if isinstance(skip, str) else tuple(skip)
    for name in skipped:
        checks.choice("skip", name, CHECKS)
    directions = checks.integer("directions", directions, 1)
    rtol = checks.real("rtol", rtol, 0.0, open_low=True)
    seed = checks.integer("seed", seed, 0)
    if backend is None:
        engine = backends.of(inputs[0]) if inputs else backends.get("numpy")
    else:
        engine = backends.get(backend)
    what = subject(target, inputs, data, train, seed, engine)
    return Check(what, engine, seed, directions, rtol).report(skipped)
