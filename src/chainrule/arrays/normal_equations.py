"""JᵀJ of a least-squares problem, gathered from chunks of J's rows, and solved damped.

In either way a parameter's unit counts for nothing: columns are divided by a scale of
their own before anything is solved for or compared.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

__all__ = ["QR", "QR_SIZE", "Cholesky", "Factor", "system"]


# Parameters up to which systems are solved by QR, beyond by Cholesky.
QR_SIZE = 512


class Factor(NamedTuple):
    """A damped system: RᵀR = D⁻¹JᵀJD⁻¹ + mu I, R upper triangular, y = R⁻ᵀD⁻¹Jᵀr."""

    r: Any
    y: Any


def _norms(xp: Any, a: Any) -> Any:
    """Norms of a's columns; no square overflows or underflows."""
    largest = xp.max(xp.abs(a), axis=0)
    safe = xp.where(largest > 0, largest, xp.ones_like(largest))
    return largest * xp.sqrt(xp.sum((a / safe) ** 2, axis=0))


def _triangle(xp: Any, a: Any) -> Any:
    """R of a = Q R; the standard's `qr` makes Q, too, which takes half of its time."""
    native = getattr(xp, "qr_triangle", None)
    return xp.linalg.qr(a, mode="reduced")[1] if native is None else native(a)


class QR:
    """JᵀJ as RᵀR, joined chunk by chunk from J itself: its condition is not squared.

    Attributes
    ----------
    rows : array, shape (k, P + 1)
        [R | Qᵀr], k at most P + 1; RᵀR = JᵀJ.
    """

    def __init__(self, xp: Any, size: int) -> None:
        self._xp, self._size = xp, size
        self.rows: Any = None

    def add(self, j: Any, r: Any) -> None:
        """Take in rows of J (k, P) and r (k,)."""
        rows = self._xp.concat([j, r[:, None]], axis=1)
        if self.rows is not None:
            rows = self._xp.concat([self.rows, rows], axis=0)
        self.rows = _triangle(self._xp, rows)

    @property
    def norms(self) -> Any:
        """Norms of J's columns, shape (P,)."""
        return _norms(self._xp, self.rows[:, : self._size])

    def gradient(self, scale: Any) -> Any:
        """D⁻¹Jᵀr, shape (P,), D the diagonal matrix of `scale`."""
        return self._xp.matmul(
            (self.rows[:, : self._size] / scale).mT, self.rows[:, -1]
        )

    def damped(self, mu: float, scale: Any) -> Factor:
        """Factor D⁻¹JᵀJD⁻¹ + mu I."""
        xp, n, dtype = self._xp, self._size, self.rows.dtype
        above = xp.concat([self.rows[:, :n] / scale, self.rows[:, n:]], axis=1)
        below = xp.concat(
            [math.sqrt(mu) * xp.eye(n, dtype=dtype), xp.zeros((n, 1), dtype=dtype)],
            axis=1,
        )
        rows = _triangle(xp, xp.concat([above, below], axis=0))
        return Factor(rows[:n, :n], rows[:n, n])


class Cholesky:
    """JᵀJ itself, summed over chunks: for many parameters, where QR would be slow.

    Attributes
    ----------
    gram : array, shape (P, P)
        JᵀJ.
    """

    def __init__(self, xp: Any, size: int) -> None:
        self._xp = xp
        self.gram: Any = 0.0
        self._gradient: Any = 0.0

    def add(self, j: Any, r: Any) -> None:
        """Take in rows of J (k, P) and r (k,)."""
        self.gram = self._xp.matmul(j.mT, j) + self.gram
        self._gradient = self._xp.matmul(j.mT, r) + self._gradient

    @property
    def norms(self) -> Any:
        """Norms of J's columns, shape (P,)."""
        return self._xp.sqrt(self._xp.linalg.diagonal(self.gram))

    def gradient(self, scale: Any) -> Any:
        """D⁻¹Jᵀr, shape (P,), D the diagonal matrix of `scale`."""
        return self._gradient / scale

    def damped(self, mu: float, scale: Any) -> Factor:
        """Factor D⁻¹JᵀJD⁻¹ + mu I."""
        xp = self._xp
        size, dtype = self.gram.shape[0], self.gram.dtype
        scaled = self.gram / scale / scale[:, None]
        low = xp.linalg.cholesky(scaled + mu * xp.eye(size, dtype=dtype))
        return Factor(low.mT, xp.linalg.solve(low, self.gradient(scale)))


def system(xp: Any, size: int) -> QR | Cholesky:
    """Return an empty system of so many parameters."""
    return (QR if size <= QR_SIZE else Cholesky)(xp, size)
