"""Several epochs as one call: nothing changes but the number of calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import training
from chainrule.callbacks import Callback

pytestmark = pytest.mark.skipif(
    "jax" not in cr.backends.available(), reason="only JAX makes stretches"
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 3))
Y = np.stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])], axis=1)
EPOCHS = 2 * training.LAG + 5
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
    from chainrule.backends.jax import JaxBackend

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
    assert one.epochs == together._epoch == EPOCHS
    for a, b in zip(together.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(together._slots, single._slots, strict=True):
        np.testing.assert_array_equal(a, b)
    assert together._step == single._step == 3 * EPOCHS
    np.testing.assert_array_equal(together.learning_rate, single.learning_rate)
    numpy = _model(**{**options, "backend": "numpy"})
    rtol = 1e-9 if options["dtype"] == "float64" else 1e-3
    np.testing.assert_allclose(_fit(numpy)["loss"], one["loss"], rtol=rtol)


def test_calls_and_compilations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call for each LAG epochs, one compilation whatever the number of epochs."""
    model = _model(optimizer=cr.Adam(0.011, 0.91))
    counts = _calls(monkeypatch)
    _fit(model)
    assert counts == {"build_stretch": 3}
    monkeypatch.undo()
    network, kind = model._need(), model.optimizer.kind()
    names = tuple(model.optimizer.scalars(0, np.ones(1), 1.0))
    key = (network, model.loss, kind, names)
    run: Any = model.backend.compile(training.build_stretch, *key, donate=1)
    before = run._cache_size()
    for epochs in (1, 4, training.LAG):
        _fit(model, epochs)
    assert run._cache_size() == before


def test_long_epochs_are_calls_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model().build(3)
    size = model._need().size
    monkeypatch.setattr(training, "BUDGET", len(X) * (6 * size + 512))
    counts = _calls(monkeypatch)
    _fit(model, 3)
    assert counts == {"build_epoch": 3}


@pytest.mark.parametrize("rate", [3.0, 30.0])
def test_divergence_within_a_stretch(rate: float) -> None:
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
        assert model._epoch == model.history.epochs == caught.value.epochs > 3
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
