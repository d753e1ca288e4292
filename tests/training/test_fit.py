"""A fit: what it keeps, hands out, begins anew and gives up."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses
from chainrule.callbacks import Callback, Cut

from tests.support.libraries import LIBRARIES, backend
from tests.support.models import host_slots, standing
from tests.support.training import RNG, X, Y, normed


def test_fit_twice_is_fit_once(where: dict[str, Any]) -> None:
    models = [
        cr.Model(normed(), optimizer=cr.NAdam(1e-2), seed=1, **where) for _ in range(2)
    ]
    models[0].fit(X, Y, epochs=6)
    models[1].fit(X, Y, epochs=2)
    models[1].fit(X, Y, epochs=4)
    np.testing.assert_array_equal(
        models[0].get_weights()[0], models[1].get_weights()[0]
    )
    assert models[0].history["loss"] == models[1].history["loss"]


@pytest.mark.parametrize("target", LIBRARIES)
def test_training_goes_on_elsewhere(where: dict[str, Any], target: str) -> None:
    """`to` carries parameters, state, slots and counters; the old model stays."""
    stay = cr.Model(normed(), dtype="float64", seed=1, **where)
    move = cr.Model(normed(), dtype="float64", seed=1, **where)
    stay.fit(X, Y, epochs=3)
    move.fit(X, Y, epochs=3)
    moved = move.to(*backend(target).values())
    before = move.get_weights()[0]
    stay.fit(X, Y, epochs=3)
    moved.fit(X, Y, epochs=3)
    np.testing.assert_allclose(
        moved.get_weights()[0], stay.get_weights()[0], rtol=1e-9, atol=1e-12
    )
    np.testing.assert_array_equal(move.get_weights()[0], before)
    assert len(move.history["loss"]) == 3
    assert len(moved.history["loss"]) == 6


def test_what_is_handed_out_is_a_copy(where: dict[str, Any]) -> None:
    model = cr.Model(cr.MLP((5, 2)), **where).build(4)
    theta, parameters = model.theta, model.parameters
    host = model.backend.to_numpy(theta).copy()
    model.fit(X, Y, epochs=2)
    np.testing.assert_array_equal(model.backend.to_numpy(theta), host)
    first = model.backend.to_numpy(parameters["0.weight"])
    np.testing.assert_array_equal(first.ravel(), host[: first.size])
    assert not np.array_equal(model.get_weights()[0], host)


def test_inputs_are_left_alone(where: dict[str, Any]) -> None:
    x, y = X.copy(), Y.copy()
    x.flags.writeable = y.flags.writeable = False
    cr.Model(normed(), **where).fit(x, y, epochs=2)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("listen", [True, False])
def test_divergence_keeps_the_last_finite_parameters(
    where: dict[str, Any], listen: bool
) -> None:
    """The schedule explodes in the fourth epoch."""
    model = cr.Model(
        cr.MLP((5, 2)),
        optimizer=cr.SGD(lambda step: 0.01 if step < 15 else 1e25),
        **where,
    )
    seen: list[Any] = []
    callback = cr.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: seen.append(model.get_weights()[0])
    )
    twin = cr.Model(cr.MLP((5, 2)), optimizer=cr.SGD(0.01), **where)
    twin.fit(X, Y, epochs=3, batch_size=16)
    hooks = [callback] if listen else []
    with pytest.raises(cr.DivergenceError, match="epoch 4"):
        model.fit(X, Y, epochs=30, batch_size=16, callbacks=hooks)
    np.testing.assert_array_equal(model.get_weights()[0], twin.get_weights()[0])
    assert model.history["loss"] == twin.history["loss"]
    assert len(seen) == (3 if listen else 0)
    # The optimizer begins anew, its schedule at the first step; masks and orders go on.
    assert (standing(model).epoch, standing(model).begun, standing(model).step) == (
        3,
        15,
        0,
    )
    assert model.learning_rate == 0.01
    model.fit(X, Y, epochs=1, batch_size=70)


def test_the_optimizer_starts_anew_after_a_divergence(where: dict[str, Any]) -> None:
    model = cr.Model(cr.MLP((5, 2)), optimizer=cr.SGD(1e20, momentum=0.9), **where)
    with pytest.raises(cr.DivergenceError):
        model.fit(X, Y, epochs=3)
    model.learning_rate = 1e-3
    model.fit(X, Y, epochs=3)
    assert np.isfinite(model.history["loss"]).all()


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize(
    "optimizer", [cr.Adam(1e-3), cr.NAdam(1e-3), cr.AdamW(1e-3, weight_decay=0.0)]
)
def test_a_new_optimizer_counts_its_own_steps(
    where: dict[str, Any], optimizer: Any, members: int | None
) -> None:
    """Its first step is that of a fresh model with the same weights, bit for bit."""
    kw: Any = {**where, "members": members, "dtype": "float64"}
    model = cr.Model(cr.MLP((5, 2)), optimizer=cr.SGD(1e-3, momentum=0.9), **kw)
    model.fit(X, Y, epochs=3, batch_size=16)
    model.learning_rate = 1e-7
    model.optimizer = optimizer
    assert model.learning_rate == 1e-3
    fresh = cr.Model(cr.MLP((5, 2)), optimizer=optimizer, **kw).build(4)
    fresh.set_weights(before := model.get_weights())
    for each in (model, fresh):
        each.fit(X, Y, epochs=1, batch_size=70, shuffle=False)
    np.testing.assert_array_equal(model.get_weights()[0], fresh.get_weights()[0])
    if not isinstance(optimizer, cr.NAdam):  # whose first step is longer
        assert np.abs(model.get_weights()[0] - before[0]).max() <= 1e-3


def test_a_schedule_begins_with_its_optimizer(
    where: dict[str, Any], tmp_path: Path
) -> None:
    """After another optimizer, a divergence, an error, a file without it."""
    rates: list[int] = []

    def schedule(step: int) -> float:
        rates.append(step)
        return 0.01

    def first_step(model: cr.Model) -> int:
        rates.clear()
        model.fit(X, Y, epochs=1, batch_size=16)
        return min(rates)

    model = cr.Model(cr.MLP((5, 2)), optimizer=cr.Adam(schedule), **where)
    model.fit(X, Y, epochs=2, batch_size=16)
    assert first_step(model) == 10  # a fit alone goes on
    model.optimizer = model.optimizer
    assert first_step(model) == 0
    model.learning_rate = 1e30
    with pytest.raises(cr.DivergenceError):
        model.fit(X, Y, epochs=9, batch_size=16)
    assert model.learning_rate == 0.01
    assert first_step(model) == 0
    assert first_step(model) == 5
    assert model.history.epochs == standing(model).epoch == 6
    path = tmp_path / "it.safetensors"
    plain = cr.Model(cr.MLP((5, 2)), optimizer=cr.Adam(0.01), **where)
    plain.fit(X, Y, epochs=2, batch_size=16)
    plain.save(path)
    assert standing(cr.load(path)).step == standing(cr.load(path)).begun == 0


def test_masks_and_orders_go_on_where_an_optimizer_begins_anew(
    where: dict[str, Any], tmp_path: Path
) -> None:
    """Plain SGD has nothing to begin anew: the fit is that left alone, bit for bit."""
    network = cr.Sequential(cr.Dense(8), cr.Dropout(0.5), cr.Dense(2))
    left_alone, model = (
        cr.Model(network, optimizer=cr.SGD(0.01), **where) for _ in range(2)
    )
    left_alone.fit(X, Y, epochs=5, batch_size=16)
    model.fit(X, Y, epochs=1, batch_size=16)
    model.optimizer = cr.SGD(0.01)
    model.fit(X, Y, epochs=1, batch_size=16)
    path = tmp_path / "it.safetensors"
    model.save(path, include_optimizer=True)
    loaded = cr.load(path, where["backend"], where.get("device"))
    for each in (loaded, pickle.loads(pickle.dumps(model)), model.to(**where)):
        assert (standing(each).begun, standing(each).step, standing(each).epoch) == (
            5,
            5,
            2,
        )
        each.optimizer = cr.SGD(0.01)
        each.fit(X, Y, epochs=3, batch_size=16)
        np.testing.assert_array_equal(
            each.get_weights()[0], left_alone.get_weights()[0]
        )


class Failing(losses.SquaredError):
    """Raises an error of the library's family in its third batch, outside JAX."""

    def __call__(self, z: Any, t: Any, weight: Any, shape: Any, *, xp: Any) -> Any:
        calls.append(None)
        if len(calls) == 3:
            msg = "of one's own"
            raise cr.ArgumentError(msg)
        return super().__call__(z, t, weight, shape, xp=xp)


calls: list[None] = []


def test_slots_are_kept_where_no_step_was_made(where: dict[str, Any]) -> None:
    model = cr.Model(cr.MLP((5, 2)), optimizer=cr.Adam(0.01), **where)
    model.fit(X, Y, epochs=2, batch_size=16)
    told = model.get_weights()[0], *host_slots(model)
    model.optimizer = cr.Adam(lambda step: 0.01 if step < 1 else np.nan)
    model.training = standing(model)._replace(
        slots=tuple(map(model.backend.asarray, told[1:]))
    )
    with pytest.raises(cr.ArgumentError, match="learning_rate"):
        model.fit(X, Y, epochs=2, batch_size=16)
    now = model.get_weights()[0], *host_slots(model)
    for a, b in zip(told, now, strict=True):
        np.testing.assert_array_equal(a, b)


def test_slots_start_anew_where_steps_were_made(where: dict[str, Any]) -> None:
    if where["backend"] == "jax":
        pytest.skip("JAX calls the loss once, before the first step")
    model = cr.Model(
        cr.MLP((5, 2)), loss=Failing(), optimizer=cr.Adam(0.01), **where
    ).build(4)
    before = model.get_weights()[0]
    calls.clear()
    with pytest.raises(cr.ArgumentError, match="of one's own"):
        model.fit(X, Y, epochs=2, batch_size=16)
    np.testing.assert_array_equal(model.get_weights()[0], before)
    for a in host_slots(model):
        assert not a.any()
    model.fit(X, Y, epochs=1, batch_size=16)


def test_a_fit_in_place_takes_the_slots_over() -> None:
    model = cr.Model(cr.MLP((5, 2)), optimizer=cr.Adam(0.01), backend="numpy").build(4)
    before = standing(model).slots
    model.fit(X, Y, epochs=2, batch_size=16)
    assert all(a is b for a, b in zip(standing(model).slots, before, strict=True))
    assert all(a.any() for a in standing(model).slots)


@pytest.mark.parametrize("how", ["copy", "read-only"])
def test_a_fit_writes_into_no_memory_of_others(how: str) -> None:
    model = cr.Model(cr.MLP((5, 2)), optimizer=cr.Adam(0.01), backend="numpy")
    model.fit(X, Y, epochs=1)
    if how == "copy":
        twin = copy.copy(model)
        before = [a.copy() for a in standing(twin).slots]
        model.fit(X, Y, epochs=1)
        assert all(map(np.array_equal, standing(twin).slots, before))
        return
    buffers: list[Any] = []
    text = pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    twin = pickle.loads(text, buffers=[bytes(b) for b in buffers])
    twin.fit(X, Y, epochs=1)
    model.fit(X, Y, epochs=1)
    np.testing.assert_array_equal(twin.theta, model.theta)


class Writing(cr.optimizers.ProblemOptimizer):
    """Writes into the memory that it yielded: a generator, as all were until 0.1."""

    def minimise(self, problem: Any, theta: Any, memory: Any) -> Any:  # type: ignore[override]
        m = problem.backend.xp.zeros_like(theta) if memory is None else memory
        for k in range(9):
            value, g = problem.value_and_gradient(theta)
            m *= 0.9
            m += g
            if k == 2 and errors:
                raise errors[0]
            theta = theta - 0.1 * m
            yield cr.optimizers.Iteration(theta, value, m)


errors: list[BaseException] = []


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), cr.ArgumentError("?"), RuntimeError("?")]
)
def test_memory_is_that_of_the_last_whole_iteration(error: BaseException) -> None:
    model, twin = (
        cr.Model(cr.MLP((5, 2)), optimizer=Writing(), backend="numpy") for _ in "ab"
    )
    twin.fit(X, Y, epochs=2)
    errors.append(error)
    try:
        if isinstance(error, KeyboardInterrupt):
            assert model.fit(X, Y, epochs=5).interrupted
        else:
            with pytest.raises(type(error)):
                model.fit(X, Y, epochs=5)
    finally:
        errors.clear()
    assert standing(model).epoch == 2
    np.testing.assert_array_equal(standing(model).slots[0], standing(twin).slots[0])
    np.testing.assert_array_equal(model.theta, twin.theta)
    error.__traceback__ = None  # the parameters of a test live on
    model.fit(X, Y, epochs=1)


def test_slots_are_kept_where_a_callback_is_out_of_memory() -> None:
    def fail(*_: Any) -> None:
        msg = "of another fit"
        raise cr.OutOfMemoryError(msg)

    hook = cr.callbacks.LambdaCallback(on_epoch_end=fail)
    model = cr.Model(cr.MLP((5, 2)), optimizer=cr.Adam(0.01), backend="numpy")
    with pytest.raises(cr.OutOfMemoryError, match="of another fit"):
        model.fit(X, Y, epochs=2, callbacks=[hook])
    assert standing(model).epoch == 1
    assert all(a.any() for a in standing(model).slots)


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize(
    "optimizer", [cr.Adam(0.01), cr.NAdam(0.01), cr.RMSprop(0.01), cr.Adagrad(0.01)]
)
def test_a_moment_that_overflows_is_a_divergence(
    where: dict[str, Any], optimizer: Any, members: int | None
) -> None:
    """Squares of a gradient of 1e21 are infinite in float32, and v would stay so."""
    x = RNG.normal(size=(64, 3))
    model = cr.Model(cr.MLP((1,)), optimizer=optimizer, members=members, **where)
    before = model.build(3).get_weights()[0]
    with pytest.raises(cr.DivergenceError, match=r"optimizer's slots .* epoch 1 "):
        model.fit(1e3 * x, 1e17 * x[:, 0], epochs=5)
    np.testing.assert_array_equal(model.get_weights()[0], before)
    for slot in host_slots(model):
        assert not slot.any()
    history = model.fit(x, x[:, 0], epochs=100)
    assert history["loss"][-1] < 0.9 * history["loss"][0]


@pytest.mark.parametrize("members", [None, 2])
def test_running_statistics_that_overflow_are_a_divergence(
    where: dict[str, Any], members: int | None
) -> None:
    x = RNG.normal(size=(64, 3)).astype(np.float32)
    network = cr.Sequential(cr.BatchNorm(), cr.Dense(1))
    model = cr.Model(network, members=members, **where).build(3)
    far = x.copy()
    far[0, 0] = 1e30
    before = model.get_weights()
    with pytest.raises(cr.DivergenceError, match="running statistics"):
        model.fit(far, x[:, 0], epochs=3, batch_size=16)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("optimizer", [cr.Adam(), cr.LevenbergMarquardt()])
def test_nothing_of_a_fit_waits_for_the_garbage_collector(optimizer: Any) -> None:
    """Its samples are given up where `fit` returns: there is no circle."""
    model = cr.Model(cr.MLP((3, 2)), optimizer=optimizer, backend="numpy")
    plans: list[Any] = []

    class Look(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            plans.append(weakref.ref(self.session))

    gc.collect()
    gc.disable()
    earlier = [o for o in gc.get_objects() if _is_of_a_fit(o)]  # of other tests
    known = {id(o) for o in earlier}
    try:
        model.fit(X, Y, epochs=2, callbacks=[Look()])
        now = [o for o in gc.get_objects() if _is_of_a_fit(o)]
    finally:
        gc.enable()
    assert [ref() for ref in plans] == [None, None]
    assert [type(o).__name__ for o in now if id(o) not in known] == []


def _full() -> MemoryError:
    return MemoryError("of the callback")


def _is_of_a_fit(o: Any) -> bool:
    kinds = ("chainrule.training.", "chainrule.model.fitting")
    kind = type(o)  # of some, __module__ is no string
    return str(kind.__module__).startswith(kinds) and "Objective" not in kind.__name__


@pytest.mark.parametrize("optimizer", [cr.Adam(), cr.LevenbergMarquardt()])
def test_a_callback_without_memory_is_no_step_without(optimizer: Any) -> None:
    """Its own error comes out, and the model goes on from its last epoch."""

    class Full(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            if epoch == 1:
                raise _full()

    model = cr.Model(cr.MLP((3, 2)), optimizer=optimizer, backend="numpy")
    with pytest.raises(MemoryError, match="of the callback"):
        model.fit(X, Y, epochs=4, callbacks=[Full()])
    assert standing(model).epoch == model.history.epochs == 2
    steps = -(-len(X) // 32) if optimizer == cr.Adam() else 1
    assert standing(model).step == 2 * steps
    assert standing(model).slots


def test_a_callback_without_memory_within_an_epoch() -> None:
    class Full(Callback):
        every_steps = 2

        def on_cut(self, cut: Cut) -> None:
            raise _full()

    model = cr.Model(cr.MLP((3, 2)), backend="numpy")
    with pytest.raises(MemoryError, match="of the callback"):
        model.fit(X, Y, epochs=4, batch_size=8, callbacks=[Full()])
    assert model.history.epochs == 0
