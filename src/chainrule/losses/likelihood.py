"""Losses of a whole distribution: their heads, their mean and spread, their draws.

The formulas are in `chainrule.rules.likelihood`. The network's last axis holds one head
after the other, each with a column for each target. `Model.predict` gives the mean,
``predict(x, return_std=True)`` the standard deviation too, `Model.sample` draws.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import rules
from chainrule.arrays.types import ArrayNamespace, Rule, Shape
from chainrule.config import checks
from chainrule.errors import ArgumentError, ShapeError
from chainrule.losses.base import Loss

if TYPE_CHECKING:
    from chainrule.config.choices import Int, Real

__all__ = ["GaussianNLL", "MixtureDensity", "NegativeBinomial", "StudentT"]

# Raw heads are held within ± this; see the rules.
_LIMIT = 30.0
_GREATEST_RATE = 1e18  # that NumPy draws from


class _Likelihood(Loss):
    """What losses of several heads share: the widths of outputs and targets."""

    link = "heads"

    @property
    def heads(self) -> tuple[str, ...]:
        """What each head is, in their order."""
        raise NotImplementedError

    def units(self, columns: int) -> int:
        """As `Loss.units`: a column of each head for each target."""
        return len(self.heads) * columns

    def target(self, y: Any, shape: Shape, *, xp: ArrayNamespace) -> Any:
        """As `Loss.target`, for outputs as wide as all heads."""
        columns = y.shape[-1] if y.ndim > 1 else 1
        wanted = self.units(columns)
        if not shape or shape[-1] != wanted:
            raise ShapeError(self._wrong_width(columns, wanted, shape))
        return super().target(y, (*shape[:-1], columns), xp=xp)

    def _wrong_width(self, columns: int, wanted: int, shape: Shape) -> str:
        each = "" if columns == 1 else f", each of {columns} columns"
        heads = ", then ".join(self.heads)
        return (
            f"loss: {self.name} needs a last layer of {wanted} units for targets of "
            f"{columns} column{'s' * (columns != 1)}: first {heads}{each}. "
            f"The network's output is {shape}. Give its last layer "
            f"units={wanted}."
        )

    def _split(self, z: Any) -> tuple[Any, ...]:
        """Return the heads of outputs."""
        m = z.shape[-1] // len(self.heads)
        return tuple(z[..., i * m : (i + 1) * m] for i in range(len(self.heads)))


def _counts(name: str, y: Any, xp: ArrayNamespace) -> None:
    if y.shape[0] and bool(xp.any(y < 0)):
        msg = f"y must not be negative for {name}; got a negative value."
        raise ArgumentError(msg)


class GaussianNLL(_Likelihood):
    """A mean and a variance for each target, the variance as its logarithm.

    The last layer has 2m units for m targets: m means, then m log-variances.

    Parameters
    ----------
    beta : float in [0, 1]
        Each entry is weighed with its variance to this power, which the gradient takes
        for a constant (β-NLL): targets with much noise then count no less in the mean.
        0 is the likelihood itself, and ½ is what its authors recommend. Above 0 the
        gradient is not the slope of the value, and `LBFGS` refuses the loss.
    """

    rule: Rule = staticmethod(rules.gaussian_nll)
    options: tuple[str, ...] = ("beta",)
    heads: tuple[str, ...] = ("means", "log-variances")
    beta: float

    def __init__(self, beta: Real = 0.0) -> None:
        self._set(beta=checks.real("GaussianNLL: beta", beta, 0.0, 1.0))

    @property
    def has_slope(self) -> bool:
        """Whether β is 0."""
        return self.beta == 0.0

    def mean(self, z: Any, *, xp: ArrayNamespace) -> Any:
        """Return the means."""
        return self._split(z)[0]

    def spread(self, z: Any, *, xp: ArrayNamespace) -> tuple[Any, Any]:
        """Return means and variances."""
        mean, a = self._split(z)
        return mean, xp.exp(a)

    def draw(self, z: Any, generator: np.random.Generator) -> Any:
        """Draw a target for each output, on the host."""
        mean, a = self._split(z)
        return mean + np.exp(0.5 * a) * generator.standard_normal(mean.shape)


class StudentT(_Likelihood):
    """A location and a scale for each target, which may lie far off: heavy tails.

    The last layer has 2m units for m targets: m locations, then m logarithms of scales;
    and m more where the degrees of freedom are learned.

    Parameters
    ----------
    df : float above 0, or None
        Degrees of freedom. None: they are learned, 2 + exp of a third head, so that
        mean and variance exist. With a number of at most 2 the standard deviation is
        infinite, with one of at most 1 there is no mean, and `predict` gives the
        median.
    """

    rule: Rule = staticmethod(rules.student_t)
    options: tuple[str, ...] = ("df",)
    df: float | None

    def __init__(self, df: Real | None = 5.0) -> None:
        value = df
        if df is not None:
            value = checks.real("StudentT: df", df, 0.0, open_low=True)
        self._set(df=value)

    @property
    def heads(self) -> tuple[str, ...]:
        """Locations, scales, and degrees of freedom where they are learned."""
        scaled = ("locations", "log-scales")
        return (*scaled, "raw degrees of freedom") if self.df is None else scaled

    def mean(self, z: Any, *, xp: ArrayNamespace) -> Any:
        """Return the locations."""
        return self._split(z)[0]

    def spread(self, z: Any, *, xp: ArrayNamespace) -> tuple[Any, Any]:
        """Return means and variances."""
        mean, s, *raw = self._split(z)
        if self.df is None:
            # ν / (ν - 2), with ν - 2 = eⁿ.
            wider = 1.0 + 2.0 * xp.exp(-xp.clip(raw[0], -_LIMIT, _LIMIT))
        else:
            wider = self.df / (self.df - 2.0) if self.df > 2.0 else math.inf
        return mean, xp.exp(2.0 * s) * wider

    def draw(self, z: Any, generator: np.random.Generator) -> Any:
        """Draw a target for each output, on the host."""
        mean, s, *raw = self._split(z)
        df: Any = self.df
        if df is None:
            df = 2.0 + np.exp(np.clip(raw[0], -_LIMIT, _LIMIT))
        return mean + np.exp(s) * generator.standard_t(df, mean.shape)


class NegativeBinomial(_Likelihood):
    """Counts that scatter more than Poisson's: variance μ + φ μ².

    The last layer has 2m units for m targets: m logarithms of means, then m of the
    dispersions φ; or the m logarithms of means alone where the dispersion is given.

    Parameters
    ----------
    dispersion : float above 0, or None
        φ of all targets; None: it is learned.
    """

    rule: Rule = staticmethod(rules.negative_binomial)
    options: tuple[str, ...] = ("dispersion",)
    dispersion: float | None

    def __init__(self, dispersion: Real | None = None) -> None:
        value = dispersion
        if value is not None:
            # As near to Poisson's, and as far from it, as the learned one.
            low, high = math.exp(-_LIMIT), math.exp(_LIMIT)
            value = checks.real("NegativeBinomial: dispersion", value, low, high)
        self._set(dispersion=value)

    @property
    def heads(self) -> tuple[str, ...]:
        """Means, and dispersions where they are learned."""
        means = ("log-means",)
        return (*means, "log-dispersions") if self.dispersion is None else means

    def target(self, y: Any, shape: Shape, *, xp: ArrayNamespace) -> Any:
        """As `Loss.target`; counts must not be negative."""
        y = super().target(y, shape, xp=xp)
        _counts(self.name, y, xp)
        return y

    def mean(self, z: Any, *, xp: ArrayNamespace) -> Any:
        """Return the means."""
        return xp.exp(self._split(z)[0])

    def spread(self, z: Any, *, xp: ArrayNamespace) -> tuple[Any, Any]:
        """Return means and variances."""
        eta, *raw = self._split(z)
        mean = xp.exp(eta)
        phi = self.dispersion
        if phi is None:
            phi = xp.exp(xp.clip(raw[0], -_LIMIT, _LIMIT))
        return mean, mean + phi * mean * mean

    def draw(self, z: Any, generator: np.random.Generator) -> Any:
        """Draw a count for each output, on the host: Poisson's of a gamma rate."""
        eta, *raw = self._split(z)
        phi: Any = self.dispersion
        if phi is None:
            phi = np.exp(np.clip(raw[0], -_LIMIT, _LIMIT))
        with np.errstate(over="ignore"):
            rate = generator.standard_gamma(1.0 / phi, eta.shape) * phi * np.exp(eta)
        return generator.poisson(np.minimum(rate, _GREATEST_RATE)).astype(z.dtype)


class MixtureDensity(_Likelihood):
    """A mixture of Gaussians: targets with several answers.

    The last layer has k (1 + 2m) units for m targets: k logits of the components, then
    k m means, those of the first component first, then k m logarithms of scales.

    Parameters
    ----------
    components : int, at least 1
        k.
    """

    rule: Rule = staticmethod(rules.mixture_density)
    options: tuple[str, ...] = ("components",)
    components: int

    def __init__(self, components: Int = 3) -> None:
        self._set(
            components=checks.integer("MixtureDensity: components", components, 1)
        )

    def units(self, columns: int) -> int:
        """As `Loss.units`: logits, means and log-scales."""
        return self.components * (1 + 2 * columns)

    def _wrong_width(self, columns: int, wanted: int, shape: Shape) -> str:
        k = self.components
        return (
            f"loss: {self.name} of {k} components needs a last layer of {wanted} units "
            f"for targets of {columns} column{'s' * (columns != 1)}: {k} logits, "
            f"{k * columns} means and {k * columns} log-scales. The network's output "
            f"is {shape}. Give its last layer units={wanted}."
        )

    def _parts(self, z: Any, xp: Any) -> tuple[Any, Any, Any]:
        """Return logits (..., k), means and log-scales (..., k, m)."""
        k = self.components
        m = (z.shape[-1] // k - 1) // 2
        core = (*z.shape[:-1], k, m)
        means = xp.reshape(z[..., k : k + k * m], core)
        return z[..., :k], means, xp.reshape(z[..., k + k * m :], core)

    def mean(self, z: Any, *, xp: ArrayNamespace) -> Any:
        """Return the means of the mixtures."""
        logits, means, _ = self._parts(z, xp)
        return xp.sum(rules.softmax(logits, xp=xp)[0][..., None] * means, axis=-2)

    def spread(self, z: Any, *, xp: ArrayNamespace) -> tuple[Any, Any]:
        """Return means and variances: those within components and between them."""
        logits, means, s = self._parts(z, xp)
        share = rules.softmax(logits, xp=xp)[0][..., None]
        mean = xp.sum(share * means, axis=-2)
        d = means - mean[..., None, :]
        within = xp.exp(2.0 * xp.clip(s, -_LIMIT, _LIMIT))
        return mean, xp.sum(share * (within + d * d), axis=-2)

    def draw(self, z: Any, generator: np.random.Generator) -> Any:
        """Draw a target for each output, on the host."""
        logits, means, s = self._parts(z, np)
        # The greatest of logits with Gumbel noise is drawn as softmax says.
        which = np.argmax(logits + generator.gumbel(size=logits.shape), axis=-1)
        index = which[..., None, None]
        mean, s = (np.take_along_axis(a, index, axis=-2)[..., 0, :] for a in (means, s))
        scale = np.exp(np.clip(s, -_LIMIT, _LIMIT))
        return mean + scale * generator.standard_normal(mean.shape)
