"""A resumed fit ends as the fit left alone, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    ReduceLROnPlateau,
)
from chainrule.callbacks.base import Cut
from chainrule.files import checkpoints, container

from tests.support.fits import (
    VALIDATION,
    WEIGHT,
    Stop,
    X,
    Y,
    assert_same,
    crash_at,
    crashed,
    fit_model,
    names_of,
    new_model,
)
from tests.support.models import standing


@pytest.mark.parametrize("cuts", [None, 1, 3, 11, 100])
def test_resumed_is_left_alone(where: Any, cuts: int | None, tmp_path: Path) -> None:
    """From each kind of place: within an epoch, at its end, and at the fit's end."""
    alone = new_model(where)
    history = fit_model(alone)
    path = tmp_path / "fit.safetensors"
    # The crash is before the epoch's own checkpoint: with cuts, the last is within it.
    crashed(3, Checkpoint(path, every_steps=cuts), where=where)
    for other in (None, 2):  # another cadence, and a fit that is over already
        resumed = new_model(where)
        again = fit_model(resumed, 6, Checkpoint(path, every_steps=other), resume=path)
        assert dict(again) == dict(history)
        assert_same(resumed, alone)


def test_the_file_is_from_within_the_epoch(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    seen: list[Any] = []

    class Watched(Checkpoint):
        def on_cut(self, cut: Cut) -> None:
            super().on_cut(cut)
            if cut.steps:
                seen.append((cut.epoch, cut.steps))
            if seen[-1] == (1, 8):
                raise Stop

    with pytest.raises(Stop):
        fit_model(new_model(), 6, Watched(path, every_steps=4))
    # 46 samples: eleven whole batches, and one of two.
    assert seen == [(0, 4), (0, 8), (1, 4), (1, 8)]
    fit = container.read_file(path).config["fit"]
    assert (fit["part"]["epoch"], fit["part"]["done"]) == (1, 8)
    model, alone = new_model(), new_model()
    begun: list[int] = []
    count = LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(epoch))
    fit_model(model, 3, count, resume=path)
    fit_model(alone, 3)
    assert begun == [1, 2]
    assert_same(model, alone)
    # As a model file, it is that of the last whole epoch.
    once = new_model()
    fit_model(once, 1)
    assert cr.load(path).theta.tobytes() == once.theta.tobytes()


def test_begins_anew_without_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    model, alone = new_model(), new_model()
    fit_model(model, 3, Checkpoint(path), resume=path)
    fit_model(alone, 3)
    assert_same(model, alone)
    # A longer total goes on; a model that is built becomes that of the file.
    built = new_model(seed=0).build(3)
    assert fit_model(built, 5, Checkpoint(path), resume=path).epochs == 5
    fit_model(alone, 2)
    assert_same(built, alone)
    # Less than what is done: nothing is trained.
    assert fit_model(built, 2, resume=path).epochs == 5
    assert_same(built, alone)


def test_total_counts_the_fit_not_what_was_before(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    alone = new_model()
    fit_model(alone, 2)
    fit_model(alone, 4)
    model = new_model()
    fit_model(model, 2)
    with pytest.raises(Stop):
        fit_model(model, 4, Checkpoint(path), crash_at(4))
    other = new_model()
    assert fit_model(other, 4, resume=path).epochs == 4
    assert other.history.epochs == 6
    assert_same(other, alone)


def test_callbacks_go_on(tmp_path: Path) -> None:
    path = tmp_path / "fit"

    def callbacks(name: str, *more: Any) -> list[Any]:
        return [
            *more,
            EarlyStopping("r2", patience=3, mode="min"),
            ReduceLROnPlateau("r2", patience=1, factor=0.5, mode="min"),
            CSVLogger(tmp_path / name),
        ]

    alone = new_model()
    fit_model(alone, 30, *callbacks("alone.csv"))
    stopped = standing(alone).epoch
    assert 3 <= stopped < 30
    assert alone.learning_rate < 0.02
    for epoch in range(1, stopped):
        path.unlink(missing_ok=True)
        every = Checkpoint(path, every=2)
        with pytest.raises(Stop):
            fit_model(new_model(), 30, *callbacks("log.csv", every), crash_at(epoch))
        model = new_model()
        fit_model(model, 30, *callbacks("log.csv", Checkpoint(path)), resume=path)
        assert_same(model, alone)
        texts = [(tmp_path / n).read_text() for n in ("log.csv", "alone.csv")]
        assert texts[0] == texts[1]
    # It had stopped: a fit that is resumed has stopped, and has its best weights.
    model = new_model()
    fit_model(model, 30, *callbacks("log.csv", Checkpoint(path)), resume=path)
    assert_same(model, alone)


def test_resumed_from_an_older_one(tmp_path: Path) -> None:
    """What was written after it is kept under its own number."""
    path = tmp_path / "fit.st"
    fit_model(new_model(), 6, Checkpoint(path, keep=3, every=2))
    newest = path.read_bytes()
    saver = Checkpoint(path, keep=3, every=3, every_steps=8)
    with pytest.raises(Stop):
        fit_model(new_model(), 9, saver, crash_at(2), resume=tmp_path / "fit-2.st")
    assert names_of(tmp_path) == ["fit-2.st", "fit-4.st", "fit-6.st", "fit.st"]
    assert (tmp_path / "fit-6.st").read_bytes() == newest
    assert checkpoints.number(path) == "2-8"
    assert checkpoints.number(tmp_path / "fit-4.st") == "4"
    assert checkpoints.number(tmp_path) is None


@pytest.mark.parametrize(
    ("options", "fit", "match"),
    [
        ({}, {"batch_size": 5}, "batch_size was 4 and is 5"),
        ({}, {"shuffle": False}, "shuffle was True and is False"),
        ({}, {"x": X + 1e-6}, r"; x was|: x was \(46, 3\) float32 sha256"),
        ({}, {"x": X[:40], "y": Y[:40]}, r"x was \(46, 3\) .* is \(40, 3\)"),
        ({}, {"y": Y[::-1]}, r"fit: y was"),
        ({}, {"sample_weight": WEIGHT}, "sample_weight was nothing and is"),
        ({}, {"validation_data": VALIDATION}, "validation x was nothing"),
        ({"seed": 1}, {}, "seed was 0 and is 1"),
        ({"dtype": "float64"}, {}, "dtype was float32 and is float64"),
        ({"optimizer": cr.Adam(0.03)}, {}, "optimizer was Adam.*0.02.* is Adam.*0.03"),
        ({"optimizer": cr.SGD(0.02)}, {}, "optimizer was Adam.* is SGD"),
        ({"loss": "huber"}, {}, "loss was SquaredError.* is Huber"),
        ({"network": cr.MLP((3, 2))}, {}, "network was"),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("built", [False, True])
def test_another_fit_is_refused(
    options: Any, fit: Any, match: str, built: bool, tmp_path: Path
) -> None:
    path = tmp_path / "fit.st"

    def model(**changes: Any) -> cr.Model:
        given = {"optimizer": cr.Adam(0.02), "network": cr.MLP((4, 2)), **changes}
        return cr.Model(given.pop("network"), backend="numpy", **given)

    def run(model: cr.Model, **changes: Any) -> Any:
        given = {"x": X, "y": Y, "batch_size": 4, "epochs": 4, **changes}
        return model.fit(given.pop("x"), given.pop("y"), **given)

    run(model(), epochs=2, callbacks=[Checkpoint(path)])
    before = path.read_bytes()
    other = model(**options)
    if built:
        other.build(3)
        theta = other.theta
    with pytest.raises(cr.ResumeError, match=match) as caught:
        run(other, **fit, callbacks=[Checkpoint(path)], resume=path)
    assert str(path) in str(caught.value)
    assert other.built == built
    assert other.history.epochs == 0
    if built:
        assert standing(other).epoch == standing(other).step == 0
        assert np.array_equal(other.theta, theta)
    assert path.read_bytes() == before


def test_the_same_data_in_another_form(tmp_path: Path) -> None:
    path = tmp_path / "fit.st"
    alone = new_model()
    fit_model(alone, 4)
    crashed(2, Checkpoint(path))
    model = new_model()
    model.fit(
        np.asfortranarray(X.astype("float32")),
        Y.tolist(),
        epochs=4,
        batch_size=4,
        sample_weight=WEIGHT,
        validation_data=VALIDATION,
        resume=str(path),
    )
    assert_same(model, alone)


def test_other_surroundings_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fit.st"
    crashed(2, Checkpoint(path))
    kind = type(new_model().backend)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "threads", lambda self: 77)
        match = r"threads \d+ -> 77\).*bits may differ"
        with pytest.warns(cr.ChainruleWarning, match=match):
            fit_model(new_model(), 6, resume=path)
    with monkeypatch.context() as patch:
        patch.setattr(np, "__version__", "9.9")
        with pytest.warns(cr.ChainruleWarning, match=r"numpy .* -> 9\.9"):
            fit_model(new_model(), 6, resume=path)
    from tests.support.libraries import backend

    alone, model = new_model(), new_model(backend("strict"))
    with pytest.warns(cr.ChainruleWarning, match="backend numpy -> array_api_strict"):
        fit_model(model, 6, resume=path)
    fit_model(alone, 6)
    theta = model.get_weights()[0]
    np.testing.assert_allclose(theta, alone.theta, rtol=1e-4)


@pytest.mark.parametrize("exact", [True, False])
def test_optimizers_of_the_whole_problem(exact: bool, tmp_path: Path) -> None:
    if not exact:
        pytest.importorskip("scipy")
    path = tmp_path / "fit.st"
    optimizer = cr.LevenbergMarquardt() if exact else cr.LBFGS()

    def fit(*callbacks: Any, **options: Any) -> cr.Model:
        network = cr.MLP((4, 2), activation="tanh")
        model = cr.Model(network, optimizer=optimizer, backend="numpy", dtype="float64")
        model.fit(X, Y, epochs=8, callbacks=callbacks, **options)
        return model

    alone = fit()
    with pytest.raises(Stop):
        fit(Checkpoint(path, every_steps=2), crash_at(4))
    if exact:
        resumed = fit(resume=path)
        assert resumed.theta.tobytes() == alone.theta.tobytes()
        assert dict(resumed.history) == dict(alone.history)
    else:
        with pytest.warns(cr.ChainruleWarning, match="LBFGS keeps no memory"):
            resumed = fit(resume=path)
        assert resumed.history["loss"][:4] == alone.history["loss"][:4]
        assert resumed.history["loss"][-1] < alone.history["loss"][3]


def test_other_callbacks_are_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "fit.st"
    crashed(2, Checkpoint(path), EarlyStopping())
    with pytest.warns(cr.ChainruleWarning, match="EarlyStopping is gone"):
        fit_model(new_model(), 4, Checkpoint(path), resume=path)
    with pytest.warns(cr.ChainruleWarning, match="ReduceLROnPlateau is new"):
        fit_model(new_model(), 5, ReduceLROnPlateau(), Checkpoint(path), resume=path)


def test_a_resumed_model_predicts_a_few_rows_directly(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    first = new_model()
    fit_model(first, 2, Checkpoint(path))
    model = new_model()
    fit_model(model, 2, resume=path)
    assert model._direct is not None
    assert model.predict(X[:2]).tobytes() == first.predict(X[:2]).tobytes()


@pytest.mark.parametrize("members", [None, 2])
def test_the_rate_that_a_callback_set_goes_on_within_an_epoch(
    where: Any, members: int | None, tmp_path: Path
) -> None:
    """The file within an epoch has what the rates are multiplied with."""

    class Slower(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            if epoch == 1:
                self.model.learning_rate = 0.003

    class Kill(Callback):
        def on_cut(self, cut: Cut) -> None:
            if (cut.epoch, cut.steps) == (3, 6):
                raise Stop

    alone = new_model(where, members=members)
    path = tmp_path / "fit"
    fit_model(alone, 6, Slower(), Checkpoint(tmp_path / "alone", every_steps=3))
    killed = new_model(where, members=members)
    with pytest.raises(Stop):
        fit_model(killed, 6, Slower(), Checkpoint(path, every_steps=3), Kill())
    assert checkpoints.number(path) == "3-6"
    resumed = new_model(where, members=members)
    rates: list[Any] = []
    look = LambdaCallback(on_train_begin=lambda _: rates.append(resumed.learning_rate))
    saver = Checkpoint(path, every_steps=3)
    fit_model(resumed, 6, Slower(), saver, look, resume=path)
    assert rates == [pytest.approx(0.003)]
    assert_same(resumed, alone)


def test_saved_before_the_first_epoch_of_a_fit_resumed_within_one(
    tmp_path: Path,
) -> None:
    """What was done of the epoch is in that file, too."""
    path, again = tmp_path / "fit", tmp_path / "again"

    class Kill(Callback):
        def on_cut(self, cut: Cut) -> None:
            if (cut.epoch, cut.steps) == (2, 6):
                raise Stop

    class SaveAtOnce(Callback):
        steers = False

        def on_train_begin(self, logs: dict[str, Any]) -> None:
            self.session.save(again)

    alone = new_model()
    fit_model(alone, 4, Checkpoint(tmp_path / "alone", every_steps=3))
    with pytest.raises(Stop):
        fit_model(new_model(), 4, Checkpoint(path, every_steps=3), Kill())
    fit_model(
        new_model(), 4, Checkpoint(path, every_steps=3), SaveAtOnce(), resume=path
    )
    assert checkpoints.number(again) == "2-6"
    resumed = new_model()
    saver = Checkpoint(tmp_path / "more", every_steps=3)
    fit_model(resumed, 4, saver, resume=again)
    assert_same(resumed, alone)
