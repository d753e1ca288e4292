"""Several epochs as one call: nothing changes but the number of calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import Callback
from chainrule.training import epoch, minibatch
from chainrule.training.objective import LossObjective

from tests.support.libraries import estimators
from tests.support.models import bound, standing

pytestmark = pytest.mark.skipif(
    "jax" not in cr.backends.available(), reason="only JAX groups epochs"
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 3))
Y = np.stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])], axis=1)
EPOCHS = 2 * minibatch.LAG + 5
LAYERS = (cr.Dense(8, bias=False), cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.2))


def _model(**options: Any) -> cr.Model:
    given = {"optimizer": cr.Adam(1e-2), "backend": "jax", "seed": 3, **options}
    return cr.Model(cr.Sequential(*LAYERS, cr.Dense(2)), **given)


def _fit(
    model: cr.Model, epochs: int = EPOCHS, batch_size: int = 8, **given: Any
) -> Any:
    return model.fit(X, Y, epochs=epochs, batch_size=batch_size, **given)


def _calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count calls of compiled functions by the name of what built them."""
    from chainrule.backends.jax.engine import JaxBackend

    counts: dict[str, int] = {}
    compiled = JaxBackend.compile

    def compile_it(self: Any, build: Any, *key: Any, **options: Any) -> Any:
        run = compiled(self, build, *key, **options)

        def counted(*arguments: Any) -> Any:
            counts[build.__name__] = counts.get(build.__name__, 0) + 1
            return run(*arguments)

        return counted

    monkeypatch.setattr(JaxBackend, "compile", compile_it)
    return counts


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "float64"},
        {"dtype": "float32", "members": 2, "optimizer": cr.AdamW(clip_norm=0.5)},
        {
            "dtype": "float64",
            "optimizer": cr.SGD(
                cr.schedules.CosineDecay(1e-2, 90), 0.9, rate_in_velocity=True
            ),
        },
    ],
    ids=["Adam", "members", "schedule"],
)
def test_the_same_as_epoch_by_epoch(options: dict[str, Any]) -> None:
    """Bit for bit, with remainder, running state and dropout; and as NumPy has it."""
    together, single = _model(**options), _model(**options)
    one = _fit(together)
    other = _fit(single, callbacks=Callback())
    assert one["loss"] == other["loss"]
    assert one.epochs == standing(together).epoch == EPOCHS
    for a, b in zip(together.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(standing(together).slots, standing(single).slots, strict=True):
        np.testing.assert_array_equal(a, b)
    assert standing(together).step == standing(single).step == 3 * EPOCHS
    np.testing.assert_array_equal(together.learning_rate, single.learning_rate)
    numpy = _model(**{**options, "backend": "numpy"})
    rtol = 1e-9 if options["dtype"] == "float64" else 1e-3
    np.testing.assert_allclose(_fit(numpy)["loss"], one["loss"], rtol=rtol)


def test_calls_and_compilations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call for many epochs, one compilation whatever the number of epochs."""
    model = _model(optimizer=cr.Adam(0.011, 0.91))
    counts = _calls(monkeypatch)
    _fit(model)
    assert counts == {"build_group": -(-EPOCHS // model.backend.group)}
    monkeypatch.undo()
    network, structure = bound(model), model.optimizer.structure()
    names = tuple(model.optimizer.scalars(0, np.ones(1), 1.0))
    key = (network, LossObjective(model.loss), structure, names)
    run: Any = model.backend.compile(epoch.build_group, *key, donate=1)
    before = run._cache_size()
    for epochs in (1, 4, minibatch.LAG):
        _fit(model, epochs)
    assert run._cache_size() == before


@pytest.mark.parametrize("members", [None, 3])
def test_long_epochs_are_calls_of_their_own(
    members: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(members=members).build(3)
    size = bound(model).size
    monkeypatch.setattr(minibatch, "BUDGET", len(X) * (6 * size * (members or 1) + 512))
    counts = _calls(monkeypatch)
    _fit(model, 3)
    assert counts == {"build_epoch": 3}


@pytest.mark.parametrize("rate", [3.0, 30.0])
def test_divergence_within_a_group(rate: float) -> None:
    """The epoch that it happened in is named, and those before it count."""
    x = np.linspace(-1.0, 1.0, 24)[:, None]
    told = []
    for callbacks in ([], [Callback()]):
        model = cr.Model(
            cr.Dense(1), optimizer=cr.SGD(rate), backend="jax", dtype="float32"
        )
        with pytest.raises(cr.DivergenceError) as caught:
            model.fit(x, x**2, epochs=200, batch_size=8, callbacks=callbacks)
        weights = model.get_weights()[0]
        assert np.isfinite(weights).all()
        assert standing(model).epoch == model.history.epochs == caught.value.epochs > 3
        told.append((str(caught.value), model.history["loss"], weights))
    assert told[0][:2] == told[1][:2]
    np.testing.assert_array_equal(told[0][2], told[1][2])


def test_the_bar_counts_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    import tqdm.auto

    made: list[int] = []

    class Bar(tqdm.auto.tqdm):  # type: ignore[misc, type-arg]
        def update(self, n: Any = 1) -> Any:
            made.append(n)
            return super().update(n)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    _fit(_model(), progress=True)
    assert sum(made) == 3 * EPOCHS
    assert len(made) == 3


def test_a_bad_value_of_a_schedule_lies_beyond_the_good_epochs() -> None:
    """The epochs before it are trained, as where each epoch is a call."""
    told = []
    rates = cr.SGD(lambda step: 0.01 if step < 13 else float("nan"))
    for backend in ("jax", "numpy"):
        model = _model(optimizer=rates, backend=backend)
        with pytest.raises(cr.ArgumentError, match="in steps 12 to 14") as caught:
            _fit(model, 10)
        told.append((str(caught.value), standing(model).epoch, model.history.epochs))
    assert told[0] == told[1]
    assert told[0][1:] == (4, 4)


@pytest.mark.parametrize("name", sorted(cr.backends.available()))
def test_what_a_fit_keeps_does_not_grow_with_its_epochs(name: str) -> None:
    """While nobody listens, each epoch's loss is kept, and nothing else of it."""
    import weakref

    from chainrule.training.fit import Fit

    if name not in ("numpy", "jax", "torch"):
        pytest.skip("weak references to its arrays are not to be had")
    alive: list[int] = []
    seen: list[Any] = []
    publish = Fit.publish

    def watched(fit: Any, record: Any) -> None:
        publish(fit, record)
        seen.append(weakref.ref(record.state.theta))
        alive.append(sum(ref() is not None for ref in seen))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fit, "publish", watched)
        _fit(_model(backend=name), 8 * minibatch.LAG)
    assert len(alive) >= 8
    assert max(alive) <= 2


def _estimator(**options: Any) -> Any:
    neural = estimators()
    given = {"hidden_layer_sizes": (5,), "random_state": 0, "tol": 1e-3, **options}
    return neural.MLPRegressor(**given)


@pytest.mark.parametrize(
    "options",
    [
        {"max_iter": 70, "n_iter_no_change": 100},
        {"max_iter": 300, "learning_rate_init": 0.03},
        {
            "max_iter": 200,
            "solver": "sgd",
            "learning_rate": "adaptive",
            "learning_rate_init": 0.2,
            "n_iter_no_change": 2,
        },
    ],
    ids=["to the end", "stops early", "adaptive"],
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_run_as_far_ahead_as_no_rule_applies(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer calls than epochs, and the epochs that NumPy makes one by one."""
    one, other = _estimator(**options), _estimator(backend="jax", **options)
    one.fit(X, Y)
    counts = _calls(monkeypatch)
    other.fit(X, Y)
    calls = counts.pop("build_group")
    assert not [name for name in counts if name in ("build_epoch", "build_steps")]
    assert calls < one.n_iter_ / 1.5
    assert other.n_iter_ == one.n_iter_ == len(other.loss_curve_)
    assert other.t_ == one.t_
    np.testing.assert_allclose(other.loss_curve_, one.loss_curve_, rtol=1e-9)
    for a, b in zip(other.coefs_, one.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{"early_stopping": True}, {"solver": "sgd", "learning_rate": "invscaling"}],
    ids=["validated", "invscaling"],
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_that_need_each_epoch(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = _calls(monkeypatch)
    _estimator(backend="jax", max_iter=12, **options).fit(X, Y)
    assert "build_group" not in counts
    assert counts["build_epoch"] == 12
