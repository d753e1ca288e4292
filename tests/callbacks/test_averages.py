"""Averages of weights: their formulas, ensembles, and fits that are resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import (
    Callback,
    Checkpoint,
    ExponentialMovingAverage,
    StochasticWeightAveraging,
)

from tests.support.libraries import here, need
from tests.support.listening import assert_same, fit_model, new_model
from tests.support.training import X, Y, normed


class Recorder(Callback):
    """Keeps the weights after each epoch."""

    def __init__(self) -> None:
        self.weights: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        self.weights.append(self.model.get_weights())


def _fitted(where: dict[str, Any], *callbacks: Any, **more: Any) -> tuple[Any, Any]:
    """Return a model, and the weights after each of its 7 epochs."""
    record = Recorder()
    options = {"optimizer": cr.Adam(0.02), **more}
    model = cr.Model(normed(), **options, **where)
    model.fit(X, Y, epochs=7, batch_size=16, callbacks=[record, *callbacks])
    return model, record.weights


def _weighted(rows: list[Any], weights: Any) -> Any:
    """Return the mean of weights, in float64."""
    pairs = [[np.float64(a) for a in column] for column in zip(*rows, strict=True)]
    return [
        sum(w * a for w, a in zip(weights, column, strict=True)) / np.sum(weights)
        for column in pairs
    ]


CASES: list[tuple[Any, slice, Any]] = [
    (lambda: StochasticWeightAveraging(0), slice(0, None), np.ones(7)),
    (lambda: StochasticWeightAveraging(3), slice(3, None), np.ones(4)),
    (lambda: StochasticWeightAveraging(1, every=3), slice(3, None, 3), np.ones(2)),
    (lambda: StochasticWeightAveraging(6), slice(6, None), np.ones(1)),
    (
        lambda: ExponentialMovingAverage(0.6),
        slice(0, None),
        0.6 ** np.arange(6, -1, -1),
    ),
    (
        lambda: ExponentialMovingAverage(0.9, 4),
        slice(4, None),
        0.9 ** np.arange(2, -1, -1),
    ),
    (lambda: ExponentialMovingAverage(0.0), slice(0, None), np.arange(7) // 6),
    (
        lambda: ExponentialMovingAverage(1 - 2.0**-52, 2),
        slice(2, None),
        np.ones(5),
    ),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_mean_by_hand(case: int, where: dict[str, Any]) -> None:
    """Parameters and running statistics, of a model and of an ensemble."""
    make, which, weights = CASES[case]
    for members in (None, 3):
        callback = make()
        model, rows = _fitted(where, callback, members=members)
        assert len(rows) == 7
        assert rows[0][1].size  # batch norm's statistics
        assert np.abs(rows[-1][0] - rows[-2][0]).max() > 1e-3
        for got, want in zip(
            model.get_weights(), _weighted(rows[which], weights), strict=True
        ):
            exact = {"rtol": 1e-13, "atol": 1e-15}
            single = {"rtol": 1e-6, "atol": 1e-7}
            close: Any = exact if got.dtype == np.float64 else single
            np.testing.assert_allclose(got, want, **close)
        number = len(rows[which])
        assert callback.counted == (number if members is None else [number] * members)
        assert callback.average is None


@pytest.mark.parametrize("kind", ["swa", "ema"])
def test_the_first_weights_are_kept_exactly(kind: str) -> None:
    callback: Any = (
        StochasticWeightAveraging(6)
        if kind == "swa"
        else ExponentialMovingAverage(0.7, 6)
    )
    model, rows = _fitted({"backend": "numpy"}, callback)
    for a, b in zip(model.get_weights(), rows[-1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_mean_is_taken_in_float64() -> None:
    """A float32 mean of a thousand weights would lose digits; this one rounds once."""

    class Fake:
        def __init__(self) -> None:
            self.weights: Any = (np.zeros(50, np.float32), np.zeros(0, np.float32))

        def get_weights(self) -> Any:
            return self.weights

        def set_weights(self, weights: Any) -> None:
            self.weights = weights

    rng = np.random.default_rng(0)
    rows = [
        (np.float32(1e4 + rng.normal(size=50)), np.zeros(0, np.float32))
        for _ in range(1000)
    ]
    callback = StochasticWeightAveraging(0)
    callback.model = fake = Fake()
    callback.on_train_begin({})
    for epoch, fake.weights in enumerate(rows):
        callback.on_epoch_begin(epoch, {})
        callback.on_epoch_end(epoch, {})
    callback.on_train_end({})
    want = np.mean([np.float64(row[0]) for row in rows], axis=0)
    assert fake.weights[0].dtype == np.float32
    np.testing.assert_array_equal(fake.weights[0], want.astype(np.float32))


@pytest.mark.skipif(not here("torch"), reason="needs torch")
def test_the_mean_is_pytorchs() -> None:
    need("torch")
    import torch
    from torch.optim.swa_utils import AveragedModel

    model, rows = _fitted(
        {"backend": "numpy", "dtype": "float64"}, StochasticWeightAveraging(2)
    )
    theirs = torch.nn.Module()
    theirs.register_parameter("w", torch.nn.Parameter(torch.tensor(rows[0][0])))
    averaged = AveragedModel(theirs)
    for theta, _ in rows[2:]:
        with torch.no_grad():
            theirs.w.copy_(torch.tensor(theta))
        averaged.update_parameters(theirs)
    want = averaged.module.w.detach().numpy()
    np.testing.assert_allclose(model.get_weights()[0], want, rtol=1e-12, atol=1e-15)


class Holding(Callback):
    """Lets a member stand still after an epoch."""

    def __init__(self, after: int, members: list[bool]) -> None:
        self.after, self.members = after, members

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        if epoch == self.after:
            self.session.hold(self.members)


@pytest.mark.parametrize("first", [True, False])
def test_a_member_that_stands_still_counts_no_more(first: bool) -> None:
    """Whichever callback hears of an epoch first; what it learned until then counts."""
    hold = Holding(3, [False, True, False])
    swa = StochasticWeightAveraging(1)
    pair = (hold, swa) if first else (swa, hold)
    model, rows = _fitted({"backend": "numpy", "dtype": "float64"}, *pair, members=3)
    assert swa.counted == [6, 3, 6]
    theta = np.stack([row[0] for row in rows])
    want = theta[1:].mean(axis=0)
    want[1] = theta[1:4, 1].mean(axis=0)
    np.testing.assert_allclose(model.get_weights()[0], want, rtol=1e-12, atol=1e-15)
    late = StochasticWeightAveraging(5)  # member 1 never counts, and keeps its own
    model, rows = _fitted(
        {"backend": "numpy", "dtype": "float64"},
        Holding(3, [False, True, False]),
        late,
        members=3,
    )
    assert late.counted == [2, 0, 2]
    np.testing.assert_array_equal(model.get_weights()[0][1], rows[-1][0][1])


def test_training_is_what_it_is_without() -> None:
    where = {"backend": "numpy"}
    plain, rows = _fitted(where)
    _, others = _fitted(where, ExponentialMovingAverage())
    for a, b in zip(rows, others, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
    assert plain.get_weights()[0].tobytes() == rows[-1][0].tobytes()


def test_each_fit_has_a_mean_of_its_own() -> None:
    swa = StochasticWeightAveraging(0)
    model, _ = _fitted({"backend": "numpy"}, swa)
    record = Recorder()
    model.fit(X, Y, epochs=2, batch_size=16, callbacks=[record, swa])
    assert swa.counted == 2
    want = _weighted(record.weights, np.ones(2))[0]
    np.testing.assert_allclose(model.get_weights()[0], want, rtol=1e-6, atol=1e-7)


class StopError(Exception):
    """Ends a fit in the midst of it."""


class Crash(Callback):
    """Raises an error after an epoch."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any]) -> None:
        if epoch > self.after:
            raise StopError


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize(
    "make",
    [lambda: ExponentialMovingAverage(0.8, 1), lambda: StochasticWeightAveraging(2)],
    ids=["ema", "swa"],
)
def test_a_resumed_fit_ends_with_the_same_bits(
    make: Any, members: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "fit"
    alone, whole = new_model(members=members), make()
    fit_model(alone, 6, whole)
    for after in range(5):
        for every_steps in (None, 5):
            path.unlink(missing_ok=True)
            saver = Checkpoint(path, every_steps=every_steps)
            with pytest.raises(StopError):
                fit_model(new_model(members=members), 6, make(), saver, Crash(after))
            model, again = new_model(members=members), make()
            fit_model(model, 6, again, Checkpoint(path), resume=path)
            assert_same(model, alone)
            assert again.counted == whole.counted
    with pytest.warns(cr.ChainruleWarning, match="is gone"):
        fit_model(new_model(members=members), 6, resume=path)


@pytest.mark.parametrize(
    "state",
    [
        {"average": None, "counted": 3},
        {"average": None, "counted": -1},
        {"average": None, "counted": 1.5},
        {"average": (np.zeros(3),), "counted": 1},
        {"average": (np.zeros(3), np.zeros(0)), "counted": 1},
        {"average": 3, "counted": 1},
    ],
)
def test_a_state_that_is_not_its_own(state: dict[str, Any]) -> None:
    callback = StochasticWeightAveraging(0)
    callback.model = new_model().build(3)
    with pytest.raises(ValueError, match=r"average must|counted must"):
        callback.restore(state)
    assert callback.matches({"best": 1}) == 0


def test_a_mean_that_never_began() -> None:
    with pytest.warns(cr.ChainruleWarning, match=r"no epoch counted.*epoch 7\. Lower"):
        model, rows = _fitted({"backend": "numpy"}, StochasticWeightAveraging(7))
    np.testing.assert_array_equal(model.get_weights()[0], rows[-1][0])


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("EMA", (1.0,), r"decay must be a number in \[0, 1\); got 1"),
        ("EMA", (-0.1,), "Average: decay must be"),
        ("EMA", ("0.9",), r"Average: decay must be .*\(str\)"),
        ("EMA", (0.9, -1), "Average: start_epoch must be an integer"),
        ("SWA", (1.5,), "Averaging: start_epoch must be an integer"),
        ("SWA", (1, 0), "Averaging: every must be an integer of at least 1"),
        ("SWA", (), "start_epoch"),
    ],
)
def test_bad_arguments(name: str, given: Any, words: str) -> None:
    make: Any = {"EMA": ExponentialMovingAverage, "SWA": StochasticWeightAveraging}[
        name
    ]
    with pytest.raises((cr.ArgumentError, cr.ArgumentTypeError), match=words):
        make(*given)


@pytest.mark.skipif(not here("sklearn"), reason="needs scikit-learn")
def test_estimators_end_with_the_mean() -> None:
    from chainrule.sklearn import MLPRegressor

    options: Any = {"hidden_layer_sizes": (8,), "max_iter": 6, "random_state": 0}
    plain = MLPRegressor(callbacks=[record := Recorder()], **options)
    with pytest.warns(UserWarning, match="reached"):
        plain.fit(X, Y)
    averaged = MLPRegressor(callbacks=[StochasticWeightAveraging(2)], **options)
    with pytest.warns(UserWarning, match="reached"):
        averaged.fit(X, Y)
    del record
    rows = plain.callbacks_[0].weights
    want = _weighted(rows[2:], np.ones(4))[0]
    got = np.concatenate([a.ravel() for a in averaged.coefs_ + averaged.intercepts_])
    assert np.sort(got) == pytest.approx(np.sort(want), abs=1e-6)
