"""A layer for each activation of `chainrule.rules`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainrule import rules
from chainrule.arrays.types import Params, Rule
from chainrule.config import checks
from chainrule.config.names import lookup
from chainrule.layers.base import Layer
from chainrule.layers.context import Context

if TYPE_CHECKING:
    from chainrule.config.choices import ActivationAlias, ActivationName, Real

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "Exp",
    "GELUTanh",
    "HardSiLU",
    "HardSigmoid",
    "HardTanh",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "Mish",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
    "get",
]


class Activation(Layer):
    """z = F(y), equation (1). Subclasses name the rule; `options` go to it."""

    rule: Callable[..., Any]
    options: tuple[str, ...] = ()

    def __init__(self, *, trainable: bool = True) -> None:
        self._configure(trainable)

    def forward(self, params: Params, x: Any, context: Context) -> Any:
        """Return ``(z, pullback)``, z of the shape of x."""
        if self.options:
            options = {name: getattr(self, name) for name in self.options}
            z, pull = self.rule(x, **options, xp=context.xp)
        else:
            z, pull = self.rule(x, xp=context.xp)

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> tuple[Any, Any]:
            return (pull(dz)[0] if dx else None), ()

        return z, pullback


class Identity(Activation):
    """z = x."""

    rule: Rule = staticmethod(rules.identity)

    @property
    def passes(self) -> bool:
        """True."""
        return True

    @property
    def ending(self) -> None:
        """None: values stay what they are."""
        return


class ReLU(Activation):
    """z = max(x, 0)."""

    rule: Rule = staticmethod(rules.relu)


class LeakyReLU(Activation):
    """z = x where x > 0, else slope x."""

    rule: Rule = staticmethod(rules.leaky_relu)
    options: tuple[str, ...] = ("slope",)
    slope: float

    def __init__(self, slope: Real = 0.01, *, trainable: bool = True) -> None:
        self._configure(trainable, slope=checks.real("LeakyReLU: slope", slope))


class ELU(Activation):
    """z = x where x > 0, else alpha (e^x - 1)."""

    rule: Rule = staticmethod(rules.elu)
    options: tuple[str, ...] = ("alpha",)
    alpha: float

    def __init__(self, alpha: Real = 1.0, *, trainable: bool = True) -> None:
        value = checks.real("ELU: alpha", alpha, 0.0, open_low=True)
        self._configure(trainable, alpha=value)


class SELU(Activation):
    """The self-normalising ELU; use it with ``lecun_normal`` weights."""

    rule: Rule = staticmethod(rules.selu)


class CELU(Activation):
    """z = x where x > 0, else alpha (exp(x / alpha) - 1)."""

    rule: Rule = staticmethod(rules.celu)
    options: tuple[str, ...] = ("alpha",)
    alpha: float

    def __init__(self, alpha: Real = 1.0, *, trainable: bool = True) -> None:
        value = checks.real("CELU: alpha", alpha, 0.0, open_low=True)
        self._configure(trainable, alpha=value)


class GELU(Activation):
    """z = x Φ(x), exact (by erfc)."""

    rule: Rule = staticmethod(rules.gelu)


class GELUTanh(Activation):
    """GELU's approximation by tanh."""

    rule: Rule = staticmethod(rules.gelu_tanh)


class SiLU(Activation):
    """z = x sigmoid(x); also called swish."""

    rule: Rule = staticmethod(rules.silu)


class Mish(Activation):
    """z = x tanh(softplus(x))."""

    rule: Rule = staticmethod(rules.mish)


class Sigmoid(Activation):
    """z = 1 / (1 + e^-x)."""

    rule: Rule = staticmethod(rules.sigmoid)


class Tanh(Activation):
    """z = tanh(x)."""

    rule: Rule = staticmethod(rules.tanh)


class Softplus(Activation):
    """z = log(1 + e^x)."""

    rule: Rule = staticmethod(rules.softplus)


class Softsign(Activation):
    """z = x / (1 + |x|)."""

    rule: Rule = staticmethod(rules.softsign)


class HardSigmoid(Activation):
    """z = clip(x + 3, 0, 6) / 6."""

    rule: Rule = staticmethod(rules.hard_sigmoid)


class HardTanh(Activation):
    """z = clip(x, -1, 1)."""

    rule: Rule = staticmethod(rules.hard_tanh)


class HardSiLU(Activation):
    """z = x clip(x + 3, 0, 6) / 6."""

    rule: Rule = staticmethod(rules.hard_silu)


class Exp(Activation):
    """z = e^x."""

    rule: Rule = staticmethod(rules.exp)


class Softmax(Activation):
    """Probabilities along the last axis."""

    rule: Rule = staticmethod(rules.softmax)


class LogSoftmax(Activation):
    """Log-probabilities along the last axis."""

    rule: Rule = staticmethod(rules.log_softmax)


# Name of the rule -> layer: "relu" -> ReLU.
_NAMES: dict[str, type[Activation]] = {
    cls.rule.__name__: cls for cls in Activation.__subclasses__()
}


def get(
    activation: ActivationName | ActivationAlias | Layer | type[Activation],
) -> Layer:
    """Return an activation layer from a rule's name, a layer class or a layer."""
    if isinstance(activation, type) and issubclass(activation, Activation):
        return activation()
    if isinstance(activation, Layer):
        return activation
    wanted = "a name or a layer such as chainrule.Tanh()"
    return lookup("activation", activation, _NAMES, "activation", wanted)()
