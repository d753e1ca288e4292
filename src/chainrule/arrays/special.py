"""Functions that rules need and the array API standard does not have, made from it.

A namespace has them by name, bound to itself (``xp.erfcx(x)``), unless an engine
registered the library's own; `chainrule.arrays.dual.namespace` has the derivative of
each.
"""

from __future__ import annotations

import contextlib
from typing import Any

__all__ = [
    "any_ranks",
    "erf",
    "erfcx",
    "minus_abs",
    "one_where_positive",
    "positive_part",
]


def minus_abs(x: Any, *, xp: Any) -> Any:
    """-|x|, elementwise, whose derivative at 0 is 1: that of the branch x <= 0.

    ``where(x > 0, f(x), g(x))`` of two branches in terms of -|x| has at 0 the
    derivative of the second one, so this one must go along with it: minimum(x, -x) and
    -abs(x) would have 0 there when a library differentiates them.
    """
    return xp.where(x > 0, -x, x)


def one_where_positive(x: Any, e: Any, *, xp: Any) -> Any:
    """1 where x > 0, else e, elementwise, for 0 <= e <= 1."""
    return xp.where(x > 0, 1.0, e)


def positive_part(x: Any, *, xp: Any) -> Any:
    """max(x, 0), elementwise, NaN where x is; its derivative at 0 is 0.

    A library that differentiates `maximum` may share the derivative at a tie, 1/2.
    """
    return xp.where(x <= 0, 0.0, x)


def any_ranks(*, xp: Any) -> Any:
    """Return a context in which arrays of several ranks may meet, as the standard says.

    Only JAX can be told to refuse them.
    """
    return contextlib.nullcontext()


# Cody 1969, "Rational Chebyshev approximations for the error function", Math. Comp. 23,
# in the coefficients of his CALERF. Highest power first, for Horner's scheme.
_SMALL_P = (
    1.85777706184603153e-1,
    3.16112374387056560e00,
    1.13864154151050156e02,
    3.77485237685302021e02,
    3.20937758913846947e03,
)
_SMALL_Q = (
    1.0,
    2.36012909523441209e01,
    2.44024637934444173e02,
    1.28261652607737228e03,
    2.84423683343917062e03,
)
_MIDDLE_P = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e00,
    6.61191906371416295e01,
    2.98635138197400131e02,
    8.81952221241769090e02,
    1.71204761263407058e03,
    2.05107837782607147e03,
    1.23033935479799725e03,
)
_MIDDLE_Q = (
    1.0,
    1.57449261107098347e01,
    1.17693950891312499e02,
    5.37181101862009858e02,
    1.62138957456669019e03,
    3.29079923573345963e03,
    4.36261909014324716e03,
    3.43936767414372164e03,
    1.23033935480374942e03,
)
_LARGE_P = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
_LARGE_Q = (
    1.0,
    2.56852019228982242e00,
    1.87295284992346047e00,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)


def _horner(u: Any, coefficients: tuple[float, ...]) -> Any:
    value = coefficients[0] * u + coefficients[1]
    for c in coefficients[2:]:
        value = value * u + c
    return value


def erf(x: Any, *, xp: Any) -> Any:
    """Error function, elementwise, in the full precision of `x`'s dtype.

    Forward  erf(x) = 2 / sqrt(pi) * integral of exp(-u^2) from 0 to x
    Source   Cody 1969: three rational approximations, on |x| <= 0.46875, <= 4, > 4.
    """
    a = xp.abs(x)
    # Every branch is computed for every element, so each gets an argument inside its
    # own interval; what lies outside is thrown away by the `where` below.
    low = xp.minimum(a, 0.46875)
    mid = xp.clip(a, 0.46875, 4.0)
    high = xp.clip(a, 4.0, 6.5)  # erf is 1 in float64 from 5.93 on
    small = low * _horner(low * low, _SMALL_P) / _horner(low * low, _SMALL_Q)
    middle = xp.exp(-mid * mid) * _horner(mid, _MIDDLE_P) / _horner(mid, _MIDDLE_Q)
    u = 1.0 / (high * high)
    tail = 0.56418958354775628695 - u * _horner(u, _LARGE_P) / _horner(u, _LARGE_Q)
    large = xp.exp(-high * high) * tail / high
    rest = xp.where(a <= 4.0, middle, large)
    value = xp.where(a <= 0.46875, small, 1.0 - rest)
    return xp.where(x < 0, -value, value)


# (1 + 2x) exp(x^2) erfc(x) = 1 + s p(s - 1) with s = 2x / (x + 3) in [0, 2), and p in
# powers of s - 1, highest first: its Chebyshev series, cut off where float32 and
# float64 end. The 1 stands apart because near 0 it is nearly all.
_SCALED_SINGLE = (
    6.57091736439774832e-05,
    -1.61765026662776012e-04,
    -5.32785713833957252e-04,
    2.41664155292597473e-03,
    5.05723782453398172e-05,
    -2.38218284435985951e-02,
    9.21523537502614981e-02,
    -2.11424886308997861e-01,
    3.41066508236029353e-01,
    -3.88629008003985532e-01,
    2.53008063224564039e-01,
)
_SCALED_DOUBLE = (
    -3.61071356717602877e-09,
    -4.15044532730982414e-09,
    3.42981970706314309e-08,
    5.39491741072328869e-08,
    -1.79833808766820792e-07,
    -4.17809131413965097e-07,
    7.61516826964021941e-07,
    2.69424993390228125e-06,
    -3.41875446401042208e-06,
    -1.66723101694009621e-05,
    2.16194320710356889e-05,
    1.03476366667516618e-04,
    -2.08635690299318396e-04,
    -5.71195729294497116e-04,
    2.45988603972226811e-03,
    6.95056515782842131e-05,
    -2.38400205692513127e-02,
    9.21480479233532379e-02,
    -2.11421711338463048e-01,
    3.41066870040845682e-01,
    -3.88629164394306725e-01,
    2.53008058269729719e-01,
)


def erfcx(x: Any, *, xp: Any) -> Any:
    """Scaled complementary error function, elementwise, for x >= 0.

    Forward  erfcx(x) = exp(x^2) erfc(x) = exp(x^2) (1 - erf(x)), about 1 / (x sqrt(pi))
    Source   Shepherd, Laframboise 1981, "Chebyshev approximation of (1 + 2x) exp(x^2)
             erfc(x) in 0 <= x < infinity", Math. Comp. 36; after their form, with
             coefficients computed by mpmath. Off by 2.5 ulp in float32, 4 in float64.
    """
    s = 2.0 * x / (x + 3.0)
    single = x.dtype == xp.float32
    p = _horner(s - 1.0, _SCALED_SINGLE if single else _SCALED_DOUBLE)
    return (1.0 + s * p) / (1.0 + 2.0 * x)
