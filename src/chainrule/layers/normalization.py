"""Batch norm and layer norm as layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

from chainrule import rules
from chainrule.arrays.types import ArrayNamespace, Params
from chainrule.config import checks
from chainrule.errors import ArgumentError
from chainrule.initializers import Constant
from chainrule.layers.base import Layer, Variable, unbound
from chainrule.layers.context import Context
from chainrule.layers.rows import fold, unfold

if TYPE_CHECKING:
    from chainrule.config.choices import Real

__all__ = ["BatchNorm", "LayerNorm"]


def _small(name: str, epsilon: Any) -> float:
    """Return an epsilon, or refuse what was meant as the number of features."""
    if isinstance(epsilon, int) and epsilon >= 1:
        msg = (
            f"{name} must be a small number such as 1e-5; got {epsilon}. The number of "
            f"features is left out: the first fit, or build(sample_shape), finds it."
        )
        raise ArgumentError(msg)
    return checks.real(name, epsilon, 0.0, open_low=True)


class _Norm(Layer):
    """What both norms share: a gain and a shift for each feature."""

    @property
    def parameters(self) -> tuple[Any, ...]:
        """The gain (d,), then the shift (d,); neither decays."""
        if self.input_shape is None:
            unbound(self)
        shape = self.input_shape[-1:]
        return (
            Variable("gain", shape, Constant(1.0)),
            Variable("shift", shape, Constant(0.0), False, self.absorbed),
        )

    def followed(self, absorbs: bool) -> Self:
        """Return the layer, whose shift has no gradient if that absorbs it."""
        return self.replace(absorbed=absorbs)

    def _apply(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)`` of the rule on rows."""
        raise NotImplementedError

    def rescaled(
        self, params: Params, gain: Any, shift: Any, xp: ArrayNamespace
    ) -> Params | None:
        """As `Layer.rescaled`."""
        if not self.trainable:
            return None
        old_gain, old_shift = params
        return old_gain * gain, old_shift * gain + shift

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)``, z of the shape of x."""
        if self.input_shape is None:
            unbound(self)
        xp, shape = context.xp, self.input_shape
        batch = x.shape[-len(shape) - 1]
        z, pull = self._apply(params, fold(x, shape, xp), context)
        trainable = self.trainable
        absorbed = self.absorbed and context.train
        mine = (1,) if absorbed else (1, 2)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            wrt = ((0,) if dx else ()) + (mine if dp and trainable else ())
            grad, dgain, dshift = pull(fold(dz, shape, xp), wrt)[:3]
            if absorbed and dgain is not None:
                dshift = xp.zeros_like(dgain)
            if dx:
                grad = unfold(grad, batch, shape, xp)
            return grad, (dgain, dshift) if dp and trainable else None

        return unfold(z, batch, shape, xp), pullback


class LayerNorm(_Norm):
    """Normalise the features of each sample; learned gain and shift.

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    """

    epsilon: float

    def __init__(self, epsilon: Real = 1e-5, *, trainable: bool = True) -> None:
        self._configure(trainable, epsilon=_small("LayerNorm: epsilon", epsilon))

    def _apply(self, params: Params, x: Any, context: Context) -> Any:
        return rules.layer_norm(x, *params, eps=self.epsilon, xp=context.xp)


class BatchNorm(_Norm):
    """Normalise each feature over the batch; learned gain and shift.

    Parameters
    ----------
    momentum : float in [0, 1]
        Share of the new batch in the running statistics (torch's convention).
    epsilon : float
        Added to the variance.

    Notes
    -----
    While training, the batch's mean and biased variance are used, and the running mean
    and unbiased variance are updated; in inference, and where the layer is frozen
    (``trainable=False``), the running ones are used. All rows count, those of sequences
    (batch × time), too, whatever their sample weights.

    A single row has no variance. A last batch of one row (one value for each feature)
    is normalised with the running statistics and leaves them alone; a fit all of whose
    batches are such is refused.

    What adds a constant to the features just before has no gradient in training: see
    `Dense`.
    """

    momentum: float
    epsilon: float

    def __init__(
        self, momentum: Real = 0.1, epsilon: Real = 1e-5, *, trainable: bool = True
    ) -> None:
        self._configure(
            trainable,
            momentum=checks.real("BatchNorm: momentum", momentum, 0.0, 1.0),
            epsilon=_small("BatchNorm: epsilon", epsilon),
        )

    @property
    def passes(self) -> bool:
        """Whether it is frozen: it then only scales and shifts."""
        return not self.trainable

    @property
    def absorbs(self) -> bool:
        """Whether it subtracts the batch's mean: not where it is frozen."""
        return self.trainable

    def check_rows(self, rows: int) -> None:
        """Refuse batches of a single row, of which there is no variance."""
        if self.input_shape is None:
            unbound(self)
        if self.trainable and rows * math.prod(self.input_shape[:-1]) == 1:
            msg = (
                "BatchNorm needs batches of at least 2 rows, since a single one has no "
                "variance; all batches of this fit have 1. Take batch_size=2 or more "
                "(and as many samples), LayerNorm(), or BatchNorm(trainable=False)."
            )
            raise ArgumentError(msg)

    @property
    def state(self) -> tuple[Variable, ...]:
        """The running mean (d,), then the running variance (d,)."""
        if self.input_shape is None:
            unbound(self)
        shape = self.input_shape[-1:]
        return (
            Variable("mean", shape, Constant(0.0)),
            Variable("var", shape, Constant(1.0)),
        )

    def _apply(self, params: Params, x: Any, context: Context) -> Any:
        xp, eps = context.xp, self.epsilon
        gain, shift = params
        mean, var = context.take(2)
        rows = context.share.rows(x.shape[-2])
        if not (context.train and self.trainable and rows > 1):
            context.keep(mean, var)
            return rules.batch_norm_inference(x, gain, shift, mean, var, eps=eps, xp=xp)
        new, unbiased = self.momentum, rows / (rows - 1)

        def keep(batch_mean: Any, batch_var: Any) -> None:
            context.keep(
                (1.0 - new) * mean + new * batch_mean,
                (1.0 - new) * var + (new * unbiased) * batch_var,
            )

        return rules.batch_norm(
            x, gain, shift, eps=eps, keep=keep, share=context.share, xp=xp
        )
