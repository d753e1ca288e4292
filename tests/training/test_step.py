"""The step and the epoch: what they compute, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.data import samples
from chainrule.data.order import orders
from chainrule.layers.context import Context
from chainrule.network import Network, chunks
from chainrule.state.training import TrainingState
from chainrule.training.minibatch import MinibatchTraining
from chainrule.training.objective import LossObjective
from chainrule.training.options import FitPlan

from tests.support.models import standing
from tests.support.training import LABELS, WEIGHT, GoingOn, X, Y, normed


def test_one_step_with_members(where: dict[str, Any]) -> None:
    """Losses, clipping and history bear a leading axis on theta."""
    members, engine = 3, backends.get(where["backend"], where.get("device"))
    network = Network(normed(), (4,))
    loss = cr.losses.get("huber")
    optimizer = cr.AdamW(1e-2, clip_norm=0.05)
    hosts = [network.initial(5, k) for k in range(members)]
    with engine.scope("float64"):
        data = samples.Data(
            engine.asarray(X, "float64"),
            engine.asarray(Y, "float64"),
            engine.asarray(WEIGHT, "float64"),
        )

        def run(theta: Any, state: Any) -> Any:
            theta = engine.asarray(theta, "float64")
            zeros = tuple(engine.xp.zeros_like(theta) for _ in optimizer.slots)
            start = TrainingState(theta, engine.asarray(state, "float64"), zeros)
            plan = FitPlan(
                engine,
                network,
                LossObjective(loss),
                optimizer,
                data,
                epochs=1,
                batch_size=70,
                order=orders(len(X), 70, 5),
                seed=5,
                dtype="float64",
            )
            made = MinibatchTraining(plan, start, ())
            made.prepare(1, 1.0)
            result = made.advance(GoingOn())
            assert result is not None
            arrays = (result.loss, *result.state.weights, *result.state.slots)
            return [engine.to_numpy(a) for a in arrays]

        together = run(*(np.stack(group) for group in zip(*hosts, strict=True)))
        alone = [run(*host) for host in hosts]
    assert together[0].shape == (members,)
    for k in range(members):
        for all_members, one in zip(together, alone[k], strict=True):
            np.testing.assert_allclose(all_members[k], one, rtol=1e-12, atol=1e-15)
    # Each member was clipped by its own norm: first moments have the norm 0.1 · 0.05.
    norms = np.linalg.norm(together[3], axis=-1)
    np.testing.assert_allclose(norms, 0.1 * 0.05, rtol=1e-10)


def test_the_remainder_is_a_smaller_step_of_its_own() -> None:
    """By hand: SGD over batches of 3, 3 and 1 sample."""
    x, y = X[:7], Y[:7]
    model = cr.Model(cr.Dense(2), optimizer=cr.SGD(0.1), dtype="float64").build(4)
    w, b = (np.array(a) for a in model.parameters.values())
    losses = []
    for some in (slice(0, 3), slice(3, 6), slice(6, 7)):
        d = x[some] @ w.T + b - y[some]
        losses.append((d**2).mean())
        g = 2 * d / d.size
        w, b = w - 0.1 * g.T @ x[some], b - 0.1 * g.sum(0)
    history = model.fit(x, y, epochs=1, batch_size=3, shuffle=False)
    np.testing.assert_allclose(model.parameters["weight"], w, rtol=1e-13)
    np.testing.assert_allclose(model.parameters["bias"], b, rtol=1e-13)
    assert history["loss"][0] == pytest.approx(np.dot(losses, [3, 3, 1]) / 7, rel=1e-13)


def test_epoch_loss_is_the_weighted_mean_over_samples() -> None:
    model = cr.Model(cr.Dense(2), optimizer=cr.SGD(1e-12), dtype="float64").build(4)
    weight = WEIGHT.copy()
    weight[:32] = 0.0  # whole batches without weight count nothing, and change nothing
    history = model.fit(
        X, Y, epochs=1, batch_size=16, shuffle=False, sample_weight=weight
    )
    z = model.predict(X)
    wanted = np.average(((z - Y) ** 2).mean(1), weights=weight)
    assert history["loss"][0] == pytest.approx(wanted, rel=1e-9)
    assert model.evaluate(X, Y, weight)["loss"] == pytest.approx(wanted, rel=1e-9)


def test_no_weight_at_all_leaves_the_model_alone(where: dict[str, Any]) -> None:
    model = cr.Model(cr.MLP((5, 2)), optimizer=cr.SGD(0.1), **where).build(4)
    before = model.get_weights()[0]
    history = model.fit(X, Y, epochs=2, sample_weight=np.zeros(70))
    assert history["loss"] == [0.0, 0.0]
    np.testing.assert_array_equal(model.get_weights()[0], before)


class Descent(cr.optimizers.ProblemOptimizer):
    """Gradient descent with a halving line search: the smallest of the second kind."""

    def minimise(self, problem: Any, theta: Any, memory: Any, report: Any) -> None:
        step = 1.0 if memory is None else memory
        value, gradient = problem.value_and_gradient(theta)
        while True:
            while step > 1e-12:
                new = theta - step * gradient
                new_value, new_gradient = problem.value_and_gradient(new)
                if float(new_value) < float(value):
                    theta, value, gradient = new, new_value, new_gradient
                    break
                step /= 2
            step *= 2
            if not report(cr.optimizers.Iteration(theta, value, step)):
                return


def test_the_second_kind_of_optimizer(where: dict[str, Any]) -> None:
    """One epoch is one iteration on all samples; batch_size changes no result."""
    runs = []
    for batch_size in (70, 32):
        model = cr.Model(cr.MLP((8, 2)), optimizer=Descent(), dtype="float64", **where)
        history = model.fit(
            X, Y, epochs=12, batch_size=batch_size, sample_weight=WEIGHT
        )
        assert len(history["loss"]) == 12
        assert (np.diff(history["loss"]) < 0).all()
        last = model.evaluate(X, Y, WEIGHT)["loss"]
        assert history["loss"][-1] == pytest.approx(last, rel=1e-12)
        runs.append(model.get_weights()[0])
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_class_weights_do_not_depend_on_chunks(
    where: dict[str, Any], loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = cr.losses.CrossEntropy if loss == "cross_entropy" else None
    weighted = (kind or cr.losses.BinaryCrossEntropy)(class_weight=(0.1, 5.0))
    y = LABELS if kind else np.stack([LABELS, 1 - LABELS], axis=1)
    model = cr.Model(cr.MLP((8, 2)), loss=weighted, dtype="float64", **where).build(4)
    order = np.argsort(LABELS)  # chunks of different masses
    z = np.asarray(model.predict(X))
    target = y if kind else y.astype(float)
    for weight in (None, WEIGHT):
        rule = type(weighted).rule
        wanted = float(rule(z, target, weight, class_weight=(0.1, 5.0))[0])
        with monkeypatch.context() as patch:
            patch.setattr(chunks, "CHUNK", 16)
            w = None if weight is None else weight[order]
            got = model.evaluate(X[order], y[order], w)["loss"]
        assert got == pytest.approx(wanted, rel=1e-12)


def test_updates_that_return_new_arrays_train_everywhere(where: dict[str, Any]) -> None:
    class Plain(cr.SGD):
        def update(
            self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *_: Any
        ) -> Any:
            return (theta - s.rate * g,)

    ours, theirs = (
        cr.Model(cr.MLP((5, 2)), optimizer=o, **where)
        for o in (Plain(0.1), cr.SGD(0.1))
    )
    for model in (ours, theirs):
        model.fit(X, Y, epochs=2)
    np.testing.assert_allclose(
        ours.get_weights()[0], theirs.get_weights()[0], rtol=1e-5
    )


def test_context_gives_state_in_order() -> None:
    xp = backends.get("numpy").xp
    context = Context(xp, state=["a", "b", "c"])
    assert [*context.take(2), *context.take(1)] == ["a", "b", "c"]


class Remembering(cr.SGD):
    """Keeps the parameters before the step: an old array in another's place."""

    slots = ("last",)  # type: ignore[assignment]

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        return theta - s.rate * g, theta


@pytest.mark.parametrize("units", [(2,), (400, 400, 2)])
def test_an_update_may_swap_its_arrays(where: dict[str, Any], units: Any) -> None:
    """In place, block by block or all at once, as where nothing is in place."""
    model = cr.Model(cr.MLP(units), optimizer=Remembering(0.1), **where).build(4)
    before = model.get_weights()[0]
    model.fit(X, Y, epochs=1, batch_size=len(X))
    last = model.backend.to_numpy(standing(model).slots[0])
    np.testing.assert_array_equal(last, before)
    assert not np.array_equal(model.get_weights()[0], before)


def test_a_prediction_is_never_the_data_itself(where: dict[str, Any]) -> None:
    engine = backends.get(where["backend"], where.get("device"))
    model = cr.Model(
        cr.Sequential(cr.Flatten(), cr.Dropout(0.5)), dtype="float32", **where
    ).build(4)
    for rows in (1, 70):
        x = engine.asarray(X[:rows], "float32")
        assert model.predict(x) is not x
        if where["backend"] == "numpy":
            assert not np.shares_memory(model.predict(x), x)


class Halving(cr.SGD):
    """Computes with its scalars as with any numbers of its own."""

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        step = s.rate
        step *= 0.5
        theta -= step * g
        return (theta,)


class Bare(cr.SGD):
    """Has no scalars at all."""

    def scalars(self, *given: Any) -> dict[str, Any]:
        return {}

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        return (theta - 0.05 * g,)


@pytest.mark.parametrize("optimizer", [Halving(0.1), Bare()])
@pytest.mark.parametrize("units", [(2,), (300, 300, 2)])
def test_updates_of_ones_own_may_use_scalars_as_numbers(
    where: dict[str, Any], units: Any, optimizer: Any
) -> None:
    ours = cr.Model(cr.MLP(units), optimizer=optimizer, **where)
    twin = cr.Model(cr.MLP(units), optimizer=cr.SGD(0.05), **where)
    for model in (ours, twin):
        model.fit(X, Y, epochs=3, batch_size=16)
    np.testing.assert_allclose(
        ours.get_weights()[0], twin.get_weights()[0], rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e10, 1e17])
def test_clipping_at_any_size(
    where: dict[str, Any], size: float, members: int | None
) -> None:
    """The step's norm is the rate times the limit, whatever the gradient's squares."""
    x = np.random.default_rng(3).normal(size=(32, 3))
    rate = 0.5 / size if size < 1 else 0.5
    limit = size * 1e-3 if size < 1 else 1e-3
    model = cr.Model(
        cr.MLP((4, 1), "tanh"),
        optimizer=cr.SGD(rate, clip_norm=limit),
        loss=cr.losses.Huber(1e30) if size > 1 else "squared_error",
        members=members,
        **where,
    ).build(3)
    before = model.get_weights()[0]
    y = size * (3.0 + x[:, 0])
    if size < 1:
        model.set_weights((before * 0.0, model.get_weights()[1]))
        before = model.get_weights()[0]
    model.fit(x, y, epochs=1, batch_size=32)
    moved = np.linalg.norm(np.float64(model.get_weights()[0]) - before, axis=-1)
    np.testing.assert_allclose(moved, rate * limit, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-300, 1e-40, 1e-30, 1e37, 1e38])
def test_only_ratios_of_weights_matter(where: dict[str, Any], scale: float) -> None:
    """Sums of weights neither overflow nor vanish: in fit, validation and evaluate."""
    weight = np.where(np.arange(70) % 7, 1.0, 2.0)
    told = []
    for each in (weight, weight * scale):
        model = cr.Model(cr.MLP((5, 2), "tanh"), optimizer=cr.SGD(0.1), **where)
        history = model.fit(
            X,
            Y,
            epochs=3,
            batch_size=16,
            sample_weight=each,
            validation_data=(X, Y, each),
            bootstrap=True,
        )
        loss = model.evaluate(X, Y, sample_weight=each)["loss"]
        told.append([*history["loss"], *history["val_loss"], loss])
    np.testing.assert_allclose(told[1], told[0], rtol=1e-5)
    assert min(told[0]) > 0.0


def test_powers_of_two_in_the_weights_change_no_bit(where: dict[str, Any]) -> None:
    found = []
    for factor in (1.0, 2.0**-100, 2.0**50):
        model = cr.Model(cr.MLP((5, 2)), **where)
        model.fit(X, Y, epochs=2, sample_weight=WEIGHT * factor)
        found.append(model.get_weights()[0])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
