"""Layers of one's own: what a user may write, right or wrong."""

from __future__ import annotations

from typing import Any, Self

import chainrule as cr
from chainrule.arrays.types import Shape
from chainrule.layers.context import Context


class Parallel(cr.Layer):
    """z = left(x) + right(x)."""

    left: cr.Layer
    right: cr.Layer

    def __init__(
        self, left: cr.Layer, right: cr.Layer, *, trainable: bool = True
    ) -> None:
        self._configure(trainable, left=left, right=right)

    @property
    def children(self) -> tuple[tuple[str, cr.Layer], ...]:
        return ("left", self.left), ("right", self.right)

    def bind(self, sample_shape: Shape) -> Self:
        left, right = self.left.bind(sample_shape), self.right.bind(sample_shape)
        return self.replace(
            left=left,
            right=right,
            input_shape=sample_shape,
            output_shape=left.output_shape,
        )

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        a, pull_a = self.left.forward(params[0], x, context)
        b, pull_b = self.right.forward(params[1], x, context)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            da, left = pull_a(dz, dx, dp)
            db, right = pull_b(dz, dx, dp)
            return (da + db if dx else None), (left, right)

        return a + b, pullback


class Embedding(cr.Layer):
    """A row of a table for each index: (..., n) becomes (..., n · width)."""

    input_dtype = "int32"
    vocabulary: int
    width: int

    def __init__(self, vocabulary: int, width: int, *, trainable: bool = True) -> None:
        self._configure(trainable, vocabulary=vocabulary, width=width)

    def bind(self, sample_shape: Shape) -> Self:
        (n,) = sample_shape
        return self.replace(input_shape=(n,), output_shape=(n * self.width,))

    @property
    def parameters(self) -> tuple[cr.layers.Variable, ...]:
        start = cr.initializers.VarianceScaling(1.0, "fan_avg", "normal")
        return (cr.layers.Variable("table", (self.vocabulary, self.width), start),)

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        xp, (table,) = context.xp, params
        assert xp.isdtype(x.dtype, "integral")
        lead, (batch, n) = table.shape[:-2], x.shape[-2:]
        before = x.shape[:-2]  # of samples that are members of a batch of one
        rows = xp.take(table, xp.reshape(x, (-1,)), axis=-2)
        z = xp.reshape(rows, (*lead, *before, batch, n * self.width))

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            if not (dp and self.trainable):
                return None, None
            numbers = xp.arange(self.vocabulary, dtype=x.dtype)
            hot = xp.astype(x[..., None] == numbers, dz.dtype)
            ahead = (*dz.shape[:-2], batch * n)
            dz = xp.reshape(dz, (*ahead, self.width))
            hot = xp.reshape(hot, (*before, batch * n, self.vocabulary))
            return None, (xp.matmul(hot.mT, dz),)

        return z, pullback


class Given(cr.Layer):
    """Has the children that it is given."""

    def __init__(self, given: Any = (), *, trainable: bool = True) -> None:
        self._configure(trainable, given=given)

    @property
    def children(self) -> Any:
        return self.given if not callable(self.given) else self.given()

    given: Any


class Counting(cr.Layer):
    """Keeps as many arrays of state as it is given, and declares two."""

    kept: int

    def __init__(self, kept: int, declared: int = 2, *, trainable: bool = True) -> None:
        self._configure(trainable, kept=kept, declared=declared)

    declared: int

    @property
    def state(self) -> tuple[cr.layers.Variable, ...]:
        zero = cr.initializers.Constant(0.0)
        names = "first", "second"
        return tuple(cr.layers.Variable(n, (1,), zero) for n in names[: self.declared])

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        context.take(self.declared)
        one = context.xp.ones((1,), dtype=x.dtype)
        context.keep(*[one] * self.kept)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            return (dz if dx else None), ()

        return x, pullback
