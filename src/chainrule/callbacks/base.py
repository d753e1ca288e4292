"""The hooks of a fit, and functions in their places."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from chainrule.config import checks
from chainrule.config.explain import explain_call
from chainrule.errors import ArgumentTypeError, ChainruleWarning

__all__ = ["HOOKS", "Callback", "LambdaCallback", "check_callbacks", "check_hooks"]


HOOKS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")


class Callback:
    """Base of all callbacks; every hook does nothing until it is overridden.

    Attributes
    ----------
    model : Model
        The model in training, set before the first hook. A hook may read it (`theta`,
        `predict`, `evaluate`), set ``model.stop_training = True``, and set
        ``model.learning_rate`` or, of an ensemble, ``model.stopped_members``. Weights
        and the optimizer can be set in `on_train_end`; before, that is refused.
    steers : bool
        Whether the fit depends on the callback's state, so that a fit that is resumed
        without it may end otherwise.
    logs_rate : bool
        Whether the logs are to have "learning_rate", as `ReduceLROnPlateau` wants it.
    """

    model: Any = None
    steers = True
    logs_rate = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            cls.__init__ = explain_call(1)(cls.__init__)  # type: ignore[method-assign]

    @explain_call(1)
    def __init__(self) -> None:
        """Take nothing: a subclass that has options overrides it."""

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Before the first epoch of a fit."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any]) -> None:
        """Before an epoch; the first epoch of the model's life is number 0."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """After an epoch; logs has its loss, val_loss and metrics."""

    def on_train_end(self, logs: dict[str, Any]) -> None:
        """After the last epoch; weights and the optimizer may be set from here on.

        Also where training diverged or ran out of memory, before the error is raised;
        not after another error.
        """

    def check_model(self, model: Any) -> None:
        """Before anything of a fit begins: raise an error if it cannot serve the model.

        The model may have no weights yet.
        """

    def check_logs(self, names: Mapping[str, bool | None]) -> None:
        """Before anything of a fit begins: raise an error if it cannot be served.

        `names` are those that the logs of each epoch will have, each with whether more
        is better: True, False, or None where nobody says.
        """

    def state(self) -> dict[str, Any]:
        """Return what decides this callback's future, as plain values and arrays."""
        return {}

    def matches(self, state: dict[str, Any]) -> int:
        """Say how well a state fits this callback, where there are several of a class.

        2 for a state that is this one's own, 1 for one that may be, in the order of the
        callbacks, 0 for that of another.
        """
        return 1

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned.

        Raises
        ------
        TypeError, ValueError, KeyError
            If it is not what `state` returns.
        """


class LambdaCallback(Callback):
    """Functions as hooks.

    Parameters
    ----------
    on_train_begin, on_train_end : function of (logs), optional
    on_epoch_begin, on_epoch_end : function of (epoch, logs), optional
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        **others: Any,
    ) -> None:
        if others:
            msg = (
                f"LambdaCallback: there is no hook {', '.join(others)}; the hooks are "
                f"{', '.join(HOOKS)}."
            )
            raise ArgumentTypeError(msg)
        hooks = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
        }
        for name, hook in hooks.items():
            if hook is None:
                continue
            if not callable(hook):
                msg = f"LambdaCallback: {name} must be a function; got {checks.show(hook)}."
                raise ArgumentTypeError(msg)
            setattr(self, name, hook)

    def __deepcopy__(self, memo: dict[int, Any]) -> LambdaCallback:
        """Copy it with the same functions: what a method belongs to is the user's."""
        new = LambdaCallback()
        new.__dict__.update(self.__dict__)
        return new


def check_hooks(hook: Any) -> None:
    """Warn of a callback with methods that are called like hooks and are none."""
    if not isinstance(hook, Callback):
        return
    names = [
        name
        for name in dir(hook)
        if name.startswith("on_")
        and name not in HOOKS
        and callable(getattr(hook, name))
    ]
    if names:
        msg = (
            f"{type(hook).__name__}.{', '.join(names)} will never be called: the hooks "
            f"are {', '.join(HOOKS)}. Use one of these, or another name."
        )
        warnings.warn(msg, ChainruleWarning, stacklevel=4)


def check_callbacks(given: Any) -> list[Any]:
    """Return the callbacks as a list, or raise an error if one is none."""
    try:
        hooks = list(given)
    except TypeError:  # a single thing; an array without axes says that it is iterable
        hooks = [given]
    for hook in hooks:
        if isinstance(hook, type) or not all(hasattr(hook, name) for name in HOOKS):
            wanted = "objects such as callbacks.EarlyStopping()"
            checks.refuse("callbacks", wanted, hook)
        check_hooks(hook)
    return hooks
