"""The hooks of a fit, and functions in their places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.config import checks
from chainrule.config.explain import explain_call
from chainrule.errors import (
    ArgumentTypeError,
    ChainruleError,
    SerializationError,
)

if TYPE_CHECKING:
    from chainrule.model import Model
    from chainrule.training.session import Session

__all__ = ["HOOKS", "Callback", "CallbackList", "Cut", "LambdaCallback"]


HOOKS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")


class Cut(NamedTuple):
    """A point at which a fit can be resumed.

    Attributes
    ----------
    epoch : int
        Whole epochs, counted from the model's birth.
    steps : int
        Steps of the epoch that is under way; 0 between two epochs.
    last : bool
        Whether the fit ends here.
    """

    epoch: int
    steps: int
    last: bool

    @property
    def number(self) -> str:
        """How files call it: "<epoch>", or "<epoch>-<steps>"."""
        return f"{self.epoch}-{self.steps}" if self.steps else str(self.epoch)


class Callback:
    """Base of all callbacks; every hook does nothing until it is overridden.

    Attributes
    ----------
    model : Model
        The model in training, set before the first hook. A hook may read it (`theta`,
        `predict`, `evaluate`), set ``model.stop_training = True``, and set
        ``model.learning_rate`` or, of an ensemble, ``model.stopped_members``. Weights
        and the optimizer can be set in `on_train_end`; before, that is refused.
    session : Session
        The fit: ``stop()`` ends it after the epoch, ``hold(members)`` lets members of
        an ensemble stand still, ``save(path)`` writes a checkpoint of this moment.
    steers : bool
        Whether the fit depends on the callback's state, so that a fit that is resumed
        without it may end otherwise.
    writes : bool
        Whether it writes files of its own: of several processes that train together,
        it is called in one.
    logs_rate : bool
        Whether the logs are to have "learning_rate", as `ReduceLROnPlateau` wants it.
    """

    model: Any = None
    session: Any = None
    steers = True
    writes = False
    logs_rate = False
    # After how many steps of an epoch the callback wants a cut; None: between epochs.
    every_steps: int | None = None

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

    def on_cut(self, cut: Cut) -> None:
        """At each point at which the fit can be resumed, when all have seen the epoch.

        That is after each epoch's `on_epoch_end` and, where a callback's `every_steps`
        asks for it, within an epoch; there the model is still that of the last epoch.
        ``self.session.save(path)`` writes the checkpoint.
        """

    def on_train_end(self, logs: dict[str, Any]) -> None:
        """After the last epoch; weights and the optimizer may be set from here on.

        Also where training diverged or ran out of memory, before the error is raised;
        not after another error.
        """

    def check_model(self, model: Model) -> None:
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
        on_epoch_begin: Callable[[int, dict[str, Any]], object] | None = None,
        on_epoch_end: Callable[[int, dict[str, Any]], object] | None = None,
        on_train_begin: Callable[[dict[str, Any]], object] | None = None,
        on_train_end: Callable[[dict[str, Any]], object] | None = None,
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
                shown = checks.show(hook)
                msg = f"LambdaCallback: {name} must be a function; got {shown}."
                raise ArgumentTypeError(msg)
            setattr(self, name, hook)

    def __deepcopy__(self, memo: dict[int, Any]) -> LambdaCallback:
        """Copy it with the same functions: what a method belongs to is the user's."""
        new = LambdaCallback()
        new.__dict__.update(self.__dict__)
        return new


class CallbackList:
    """The callbacks of a fit, called one after the other.

    Parameters
    ----------
    given : Callback, or sequence of them

    Raises
    ------
    ArgumentTypeError
        If one is no callback.
    """

    callbacks: list[Any]

    def __init__(self, given: Any = ()) -> None:
        try:
            callbacks: list[Any] = list(given)
        except TypeError:  # a single thing; an array without axes says it is iterable
            callbacks = [given]
        for callback in callbacks:
            if isinstance(callback, type) or not all(
                hasattr(callback, name) for name in HOOKS
            ):
                wanted = "objects such as callbacks.EarlyStopping()"
                checks.refuse("callbacks", wanted, callback)
            _warn_of_misnamed(callback)
        self.become(callbacks)

    def become(self, callbacks: Sequence[Any]) -> None:
        """Take these in the places of those that were given: copies, say."""
        self.callbacks = list(callbacks)
        # Those with the hook; objects of one's own may lack it. Those that keep the
        # best go first: the others' files are to know the best value.
        having = [each for each in self.callbacks if hasattr(type(each), "on_cut")]
        having.sort(key=lambda each: not getattr(each, "best_only", False))
        self._at_cuts = having

    def follow(self) -> None:
        """Let those that write stand still: another process calls them."""
        self.become(list(map(_followed, self.callbacks)))

    def __len__(self) -> int:
        return len(self.callbacks)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.callbacks)

    @property
    def logs_rate(self) -> bool:
        """Whether one wants "learning_rate" in the logs."""
        return any(getattr(each, "logs_rate", False) for each in self.callbacks)

    @property
    def cuts(self) -> set[int]:
        """Numbers of steps after which an epoch is cut, again and again."""
        every = (getattr(each, "every_steps", None) for each in self.callbacks)
        return {n for n in every if n is not None}

    @property
    def saves(self) -> bool:
        """Whether one writes at cuts, so that the fit must be described beforehand."""
        return any(type(each).on_cut is not Callback.on_cut for each in self._at_cuts)

    def check(
        self, model: Model, names: Mapping[str, bool | None], last: tuple[int, int]
    ) -> None:
        """Raise an error, before anything begins, for what cannot be served.

        `names` are those of the logs, each with whether more is better; `last` is the
        last epoch's number, and how many steps each has.
        """
        for each in self.callbacks:
            if hasattr(each, "check_model"):
                each.check_model(model)
            if hasattr(each, "check_logs"):
                each.check_logs(names)
            if hasattr(each, "check_names"):
                each.check_names(*last)

    def attach(self, model: Any) -> None:
        """Let the callbacks know the model in training."""
        for each in self.callbacks:
            each.model = model

    @contextmanager
    def attached(self, session: Session) -> Iterator[None]:
        """Let the callbacks know the model in training and, meanwhile, its fit.

        A callback with a `session` of its own keeps that.
        """
        self.attach(session.model)
        mine = [each for each in self.callbacks if _takes_session(each)]
        for each in mine:
            each.session = session
        try:
            yield
        finally:
            for each in mine:
                if vars(each).get("session") is session:
                    del each.session

    def on_train_begin(self) -> None:
        """Before the first epoch."""
        for each in self.callbacks:
            each.on_train_begin({})

    def on_epoch_begin(self, epoch: int) -> None:
        """Before an epoch."""
        for each in self.callbacks:
            each.on_epoch_begin(epoch, {})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """After an epoch."""
        for each in self.callbacks:
            each.on_epoch_end(epoch, dict(logs))

    def on_cut(self, epoch: int, steps: int, last: bool) -> None:
        """Where the fit can be resumed; see `Cut`."""
        for each in self._at_cuts:
            each.on_cut(Cut(epoch, steps, last))

    def on_train_end(self, logs: Mapping[str, Any]) -> None:
        """After the last epoch."""
        for each in self.callbacks:
            each.on_train_end(dict(logs))

    def states(self) -> list[tuple[str, dict[str, Any], bool]]:
        """Return of each its class's name, its state, and whether it steers the fit."""
        found = []
        for each in self._stateful:
            state = each.state()
            steers = bool(state) and getattr(each, "steers", True)
            found.append((type(each).__name__, state, steers))
        return found

    @property
    def _stateful(self) -> list[Any]:
        return [each for each in self.callbacks if hasattr(each, "state")]

    def restore(
        self, states: list[tuple[str, dict[str, Any], bool]], model: Model
    ) -> list[str]:
        """Give each its state: its own, or the n-th of a class that of the n-th then.

        Parameters
        ----------
        states : list of (name, state, whether the fit depends on it)
        model : Model
            Whose shapes the states have.

        Returns
        -------
        list of str
            What does not fit, in words.
        """
        left, pairs = list(states), []
        stateful = self._stateful
        new, before = list(stateful), [dict(vars(each)) for each in stateful]
        each: Any = None
        try:
            for rank in (2, 1):
                for each in list(new):
                    matches = getattr(each, "matches", lambda _: 1)
                    same = (
                        i
                        for i, (name, state, _) in enumerate(left)
                        if name == type(each).__name__ and matches(state) >= rank
                    )
                    if (mine := next(same, None)) is not None:
                        new.remove(each)
                        pairs.append((each, left.pop(mine)[1]))
            for each, state in pairs:
                own, each.model = getattr(each, "model", None), model
                each.restore(state)
                each.model = own
        except Exception as error:
            # Whatever a callback, perhaps a user's, says to a state that it never had.
            for each_, values in zip(stateful, before, strict=True):
                vars(each_).clear()
                vars(each_).update(values)
            if isinstance(error, ChainruleError):
                raise  # it says itself what to do
            name = type(each).__name__
            msg = f"the callback {name} refuses its state ({error!r})."
            raise SerializationError(msg) from error
        found = [
            f"the callback {type(each).__name__} is new"
            for each in new
            if bool(each.state()) and getattr(each, "steers", True)
        ]
        gone = [name for name, _, steers in left if steers]
        return found + [f"the callback {name} is gone" for name in gone]


def _followed(led: Any) -> Any:
    """Return what stands for a callback that writes: the fit goes as with it."""
    if getattr(led, "writes", False):
        name, rate, every = type(led).__name__, led.logs_rate, led.every_steps
        led = Callback()
        vars(led).update(led=name, logs_rate=rate, every_steps=every)
    return led


def _takes_session(callback: Any) -> bool:
    return isinstance(callback, Callback) and callback.session is None


def _warn_of_misnamed(hook: Any) -> None:
    """Warn of a callback with methods that are called like hooks and are none."""
    if not isinstance(hook, Callback):
        return
    names = [
        name
        for name in dir(hook)
        if name.startswith("on_")
        and name not in (*HOOKS, "on_cut")
        and callable(getattr(hook, name))
    ]
    if names:
        msg = (
            f"{type(hook).__name__}.{', '.join(names)} will never be called: the hooks "
            f"are {', '.join(HOOKS)}. Use one of these, or another name."
        )
        checks.warn(msg)
