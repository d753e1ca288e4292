"""Who may fit, change or copy a model: one fit at a time, nothing is lost."""

from __future__ import annotations

import contextlib
import copy
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import LambdaCallback

from tests.support.libraries import here
from tests.support.models import standing

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = X[:, :2] * 2.0
BACKENDS = ["numpy", *[name for name in ("jax", "torch") if here(name)]]


def _model(backend: Any = "numpy", **options: Any) -> cr.Model:
    return cr.Model(cr.MLP((4, 2), "tanh"), backend=backend, **options)


def _fit(model: cr.Model, epochs: int = 3, *hooks: Any, **options: Any) -> cr.History:
    options = {"progress": False, "batch_size": 8, **options}
    return model.fit(X, Y, epochs=epochs, callbacks=hooks, **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_fits_at_once(backend: str) -> None:
    model, twin = _model(backend), _model(backend)
    within, refused = threading.Event(), threading.Event()

    def wait(epoch: int, logs: Any) -> None:
        within.set()
        assert refused.wait(60.0)

    thread = threading.Thread(
        target=_fit, args=(model, 2, LambdaCallback(on_epoch_end=wait))
    )
    thread.start()
    assert within.wait(60.0)
    with pytest.raises(cr.BusyError, match="being fitted already, in another thread"):
        _fit(model)
    refused.set()
    thread.join()
    _fit(model, 1)
    _fit(twin, 3)
    np.testing.assert_array_equal(model.get_weights()[0], twin.get_weights()[0])
    assert standing(model).epoch == model.history.epochs == 3


@pytest.mark.parametrize(
    "hook", ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end"]
)
def test_a_fit_within_a_fit(hook: str) -> None:
    model = _model()

    def again(*_: Any) -> None:
        with pytest.raises(cr.BusyError, match="by the fit whose callback calls this"):
            _fit(model)

    _fit(model, 3, LambdaCallback(**{hook: again}))
    assert standing(model).epoch == model.history.epochs == 3


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_an_error_the_model_is_free(error: Any) -> None:
    def throw(epoch: int, logs: Any) -> None:
        raise error

    model = _model()
    with contextlib.suppress(ValueError, SystemExit):
        _fit(model, 3, LambdaCallback(on_epoch_end=throw))
    with pytest.raises(cr.ArgumentError, match="batch_size"):
        _fit(model, 3, batch_size=0)
    assert _fit(model, 2).epochs == 2


def _set_weights(model: cr.Model) -> None:
    theta, state = model.get_weights()
    model.set_weights((theta * 0.0, state))


def _set_optimizer(model: cr.Model) -> None:
    model.optimizer = cr.SGD(0.5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("change", [_set_weights, _set_optimizer])
@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_epoch_end"])
def test_a_change_that_would_be_lost(
    hook: str, change: Callable[[cr.Model], None], backend: str
) -> None:
    model, twin = _model(backend), _model(backend)

    def act(*_: Any) -> None:
        with pytest.raises(cr.BusyError, match="while the model is being fitted"):
            change(model)

    for each, hooks in ((model, [LambdaCallback(**{hook: act})]), (twin, [])):
        for _ in range(2):
            _fit(each, 2, *hooks)
    np.testing.assert_array_equal(model.get_weights()[0], twin.get_weights()[0])
    change(model)
    _fit(model)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_change_at_the_end_holds(backend: str) -> None:
    model = _model(backend)

    def act(logs: Any) -> None:
        _set_weights(model)
        _set_optimizer(model)

    _fit(model, 2, LambdaCallback(on_train_end=act))
    assert not model.get_weights()[0].any()
    assert (model.optimizer, model.learning_rate) == (cr.SGD(0.5), 0.5)
    _fit(model, 1)


COPIES: dict[str, Callable[[cr.Model], Any]] = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "deepcopy": copy.deepcopy,
    "to": lambda model: model.to("numpy"),
    "member": lambda model: model.member(1),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", COPIES)
def test_copies_made_in_a_callback_train_on(name: str, backend: str) -> None:
    model = _model(backend, members=2)
    made: list[Any] = []
    saved = LambdaCallback(on_epoch_end=lambda *_: made.append(COPIES[name](model)))
    _fit(model, 3, saved)
    for k, other in enumerate(made):
        assert standing(other).epoch == k + 1
        _fit(other, 2 - k)
        ours = COPIES[name](model)
        np.testing.assert_allclose(
            other.get_weights()[0], ours.get_weights()[0], rtol=2e-5, atol=1e-6
        )


class Slow(cr.losses.SquaredError):
    """A loss that waits in the midst of an epoch."""

    def __call__(self, z: Any, t: Any, weight: Any, shape: Any, *, xp: Any) -> Any:
        WITHIN.set()
        assert GO_ON.wait(60.0)
        return super().__call__(z, t, weight, shape, xp=xp)


cr.serialization.register(Slow, name="test_access.Slow")
WITHIN, GO_ON = threading.Event(), threading.Event()


@pytest.mark.parametrize("name", [*COPIES, "save"])
def test_slots_that_are_in_use_are_not_copied(name: str, tmp_path: Any) -> None:
    """In another thread, in the midst of an epoch: not half an epoch's slots."""
    model = _model(loss=Slow(), members=2)
    GO_ON.set()
    _fit(model, 1)
    GO_ON.clear()
    WITHIN.clear()
    path = tmp_path / "model"
    acts: dict[str, Callable[[cr.Model], Any]] = {
        **COPIES,
        "save": lambda model: cr.Model.save(model, path, include_optimizer=True),
    }
    act = acts[name]
    weights = model.get_weights()[0]
    thread = threading.Thread(target=_fit, args=(model, 1))
    thread.start()
    try:
        assert WITHIN.wait(60.0)
        with pytest.raises(cr.BusyError, match=r"slots.*[Dd]o it in a callback"):
            act(model)
        # What needs no slots is that of the last whole epoch.
        np.testing.assert_array_equal(model.get_weights()[0], weights)
        model.predict(X)
        assert model.jacobian(X[:2]).shape == (2, 2, 3)
        with pytest.raises(cr.BusyError, match="weights cannot be set"):
            _set_weights(model)
    finally:
        GO_ON.set()
        thread.join()
    assert not path.exists()
    act(model)
    assert standing(model).epoch == model.history.epochs == 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("members", [None, 2])
def test_every_method_while_another_thread_fits(
    members: int | None, backend: Any
) -> None:
    """An answer, or a `BusyError`; no error of a library's."""
    model = _model(backend, members=members)
    _fit(model, 1)
    uses: list[Callable[[], Any]] = [
        lambda: model.predict(X),
        lambda: model.evaluate(X, Y),
        lambda: model.jacobian(X[:2]),
        lambda: model.jvp(X[:2], X[:2]),
        lambda: model.theta,
        lambda: model.parameters,
        lambda: pickle.dumps(model),
        lambda: copy.deepcopy(model),
        lambda: model.to(backend),
        lambda: dict(model.history),
    ]
    if members:
        uses.append(lambda: model.member(1))
    for use in uses:
        use()
    errors: list[BaseException] = []
    over = threading.Event()

    def go() -> None:
        while not over.is_set():
            for use in uses:
                try:
                    use()
                except cr.BusyError:
                    pass
                except BaseException as error:
                    errors.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        for hooks in ((), (LambdaCallback(on_epoch_end=lambda *_: None),)):
            _fit(model, 60, *hooks)
    finally:
        over.set()
        thread.join()
    assert not errors
    twin = _model(backend, members=members)
    _fit(twin, 1)
    _fit(twin, 60)
    _fit(twin, 60)
    np.testing.assert_array_equal(model.get_weights()[0], twin.get_weights()[0])


def test_a_copy_is_free_while_the_model_is_fitted() -> None:
    model = _model()
    made: list[Any] = []

    def act(epoch: int, logs: Any) -> None:
        other = copy.deepcopy(model)
        _fit(other, 1)
        _set_weights(other)
        made.append(other)

    _fit(model, 2, LambdaCallback(on_epoch_end=act))
    assert [standing(other).epoch for other in made] == [2, 3]


def test_the_rate_set_by_another_thread_loses_no_epoch() -> None:
    """Who sets the rate and who publishes an epoch do not undo each other."""
    interval, model = sys.getswitchinterval(), _model(optimizer="sgd")
    model.build(3)
    over = threading.Event()

    def set_rates() -> None:
        while not over.is_set():
            model.learning_rate = 1e-3

    threads = [threading.Thread(target=set_rates, daemon=True) for _ in range(2)]
    seen: list[int] = []
    try:
        sys.setswitchinterval(1e-6)
        for thread in threads:
            thread.start()
        hook = LambdaCallback(on_epoch_end=lambda epoch, _: seen.append(epoch))
        model.fit(X[:2], Y[:2], epochs=3000, callbacks=[hook], progress=False)
    finally:
        sys.setswitchinterval(interval)
        over.set()
    assert seen == list(range(3000))
