"""The dense layer, and what only reshapes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from chainrule import initializers, rules
from chainrule.arrays.types import ArrayNamespace, Params, Shape
from chainrule.config import checks
from chainrule.errors import ArgumentTypeError, ShapeError
from chainrule.layers.base import Layer, Variable, unbound
from chainrule.layers.context import Context
from chainrule.layers.rows import fold, unfold

if TYPE_CHECKING:
    from chainrule.config.choices import InitializerName, Int

__all__ = ["Dense"]


# (dx wanted, dw and db wanted) -> what the rule is asked for.
_WRT = {
    (True, True): (0, 1, 2),
    (True, False): (0,),
    (False, True): (1, 2),
    (False, False): (),
}


def _without_bias(pull: Any, xp: ArrayNamespace) -> Any:
    """Return a dense pullback whose db is zero: one that is absorbed."""

    def pullback(dy: Any, wrt: tuple[int, ...]) -> tuple[Any, Any, Any]:
        dx, dw, _ = pull(dy, tuple(i for i in wrt if i < 2))
        return dx, dw, None if dw is None else xp.zeros_like(dw[..., 0])

    return pullback


class Dense(Layer):
    """Affine map of the last axis: y = W x + b, equation (2) with its bias.

    Parameters
    ----------
    units : int
        m, the number of outputs.
    bias : bool
        Whether there is a b.
    kernel_initializer, bias_initializer : str or callable
        How W (m, n) and b (m,) begin; see `chainrule.initializers`.
    trainable : bool
        False freezes the layer.

    Notes
    -----
    Samples (n,) become (m,); sequences (time, n) become (time, m).

    In training a BatchNorm right behind takes the bias away again: E does not depend on
    it, and its gradient is zero. It is given as exactly zero, so that the bias stays
    what it was (``bias=False`` saves it). The same holds where only layers stand
    between that carry a constant on: Dense, Flatten, Identity, a frozen BatchNorm.
    """

    units: int
    bias: bool
    kernel_initializer: InitializerName | Callable[..., Any]
    bias_initializer: InitializerName | Callable[..., Any]

    def __init__(
        self,
        units: Int,
        bias: bool = True,
        kernel_initializer: InitializerName | Callable[..., Any] = "glorot_uniform",
        bias_initializer: InitializerName | Callable[..., Any] = "zeros",
        *,
        trainable: bool = True,
    ) -> None:
        if isinstance(bias, int) and bias > 1:
            msg = (
                f"Dense takes the number of its units alone; got {units} and {bias}. "
                f"The first data tell how many inputs there are: Dense({bias})."
            )
            raise ArgumentTypeError(msg)
        initializers.get("Dense: kernel_initializer", kernel_initializer)
        initializers.get("Dense: bias_initializer", bias_initializer)
        self._configure(
            trainable,
            units=checks.integer("Dense: units", units, 1, high=sys.maxsize),
            bias=checks.boolean("Dense: bias", bias),
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
        )

    def bind(self, sample_shape: Shape) -> Self:
        """Return the layer with its shapes filled in."""
        if not sample_shape or 0 in sample_shape:
            msg = (
                f"Dense: x must have the shape (batch, features) with at least one "
                f"feature; got samples of shape {sample_shape}. A column of numbers is "
                f"x[:, None]."
            )
            raise ShapeError(msg)
        return self.replace(
            input_shape=sample_shape, output_shape=(*sample_shape[:-1], self.units)
        )

    @property
    def parameters(self) -> tuple[Any, ...]:
        """The weight (m, n), then the bias (m,)."""
        if self.input_shape is None:
            unbound(self)
        shape = (self.units, self.input_shape[-1])
        kernel = initializers.get("kernel_initializer", self.kernel_initializer)
        fans = (self.input_shape[-1], self.units)
        weight = Variable("weight", shape, kernel, decay=True, fans=fans)
        if not self.bias:
            return (weight,)
        start = initializers.get("bias_initializer", self.bias_initializer)
        return (weight, Variable("bias", (self.units,), start, False, self.absorbed))

    @property
    def passes(self) -> bool:
        """True: W (x + c) = W x + W c."""
        return True

    def followed(self, absorbs: bool) -> Self:
        """Return the layer, whose bias has no gradient if that absorbs it."""
        return self.replace(absorbed=absorbs and self.bias)

    def rescaled(
        self, params: Params, gain: Any, shift: Any, xp: ArrayNamespace
    ) -> Params | None:
        """As `Layer.rescaled`; without a bias the gain alone is done."""
        if not self.trainable:
            return None
        weight, *bias = params
        return (weight * gain[:, None], *(b * gain + shift for b in bias))

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(y, pullback)``: x (..., batch, *in) -> y (..., batch, *out)."""
        shape = self.input_shape
        if shape is None or len(shape) > 1:
            return self._folded(params, x, context)
        # Spelled out: a call with a star costs a tenth of a small product.
        weight, bias = params if self.bias else (*params, None)
        y, pull = rules.dense(x, weight, bias, xp=context.xp)
        trainable = self.trainable
        if context.train and self.absorbed:
            pull = _without_bias(pull, context.xp)

        def pullback(dy: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            learns = dp and trainable
            grads = pull(dy, _WRT[dx, learns])
            return grads[0], grads[1:] if learns else None

        return y, pullback

    def _folded(self, params: Params, x: Any, context: Context) -> Any:
        """Return `forward` of samples of several axes: all but the last are rows."""
        if self.input_shape is None or self.output_shape is None:
            unbound(self)
        xp, inside, outside = context.xp, self.input_shape, self.output_shape
        batch = x.shape[-len(inside) - 1]
        y, pull = rules.dense(fold(x, inside, xp), *params, xp=xp)
        trainable = self.trainable
        if context.train and self.absorbed:
            pull = _without_bias(pull, xp)

        def pullback(dy: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            learns = dp and trainable
            grad, *dparams = pull(fold(dy, outside, xp), _WRT[dx, learns])
            if dx:
                grad = unfold(grad, batch, inside, xp)
            return grad, tuple(dparams) if learns else None

        return unfold(y, batch, outside, xp), pullback
