"""Checkpoints: a resumed fit ends as the fit left alone, or is refused."""

from __future__ import annotations

import os
import pickle
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
from chainrule.files import checkpoints, container, digest, registry
from chainrule.metrics import Metric

from tests.soak import fuzz_load, fuzz_resume
from tests.support.models import host_slots, standing

RNG = np.random.default_rng(0)
X = RNG.normal(size=(46, 3))
Y = np.sin(X[:, :2])
WEIGHT = RNG.uniform(0.5, 1.0, 46)
VALIDATION = (X[:7] + 0.1, Y[:7])


class Stop(Exception):
    """What stands for a crash."""


def _network() -> cr.Layer:
    return cr.Sequential(
        cr.Dense(8), cr.BatchNorm(), cr.Tanh(), cr.Dropout(0.3), cr.Dense(2)
    )


def _model(where: Any = None, **options: Any) -> cr.Model:
    options = {"optimizer": cr.Adam(0.02), "metrics": ["r2"], **options}
    return cr.Model(_network(), **(where or {"backend": "numpy"}), **options)


def _fit(model: cr.Model, epochs: int = 6, *callbacks: Any, **options: Any) -> Any:
    given = {"sample_weight": WEIGHT, "validation_data": VALIDATION, **options}
    return model.fit(
        X, Y, epochs=epochs, batch_size=4, callbacks=callbacks, progress=False, **given
    )


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def _crash(epoch: int, hook: str = "on_epoch_end") -> LambdaCallback:
    def crash(number: int, logs: Any) -> None:
        if number == epoch:
            raise Stop

    return LambdaCallback(**{hook: crash})


def _crashed(epoch: int, *callbacks: Any, where: Any = None, **options: Any) -> None:
    with pytest.raises(Stop):
        _fit(_model(where), 6, *callbacks, _crash(epoch), **options)


def _assert_same(model: cr.Model, twin: cr.Model) -> None:
    pairs = zip(model.get_weights(), twin.get_weights(), strict=True)
    assert all(a.tobytes() == b.tobytes() for a, b in pairs)
    slots = zip(host_slots(model), host_slots(twin), strict=True)
    assert all(a.tobytes() == b.tobytes() for a, b in slots)
    assert dict(model.history) == dict(twin.history)
    now, then = standing(model), standing(twin)
    for name in ("step", "epoch", "rate", "rate_scale"):
        assert np.array_equal(getattr(now, name), getattr(then, name))
    assert np.array_equal(model.learning_rate, twin.learning_rate)


@pytest.mark.parametrize("cuts", [None, 1, 3, 11, 100])
def test_resumed_is_left_alone(where: Any, cuts: int | None, tmp_path: Path) -> None:
    """From each kind of place: within an epoch, at its end, and at the fit's end."""
    alone = _model(where)
    history = _fit(alone)
    path = tmp_path / "fit.safetensors"
    # The crash is before the epoch's own checkpoint: with cuts, the last is within it.
    _crashed(3, Checkpoint(path, every_steps=cuts), where=where)
    for other in (None, 2):  # another cadence, and a fit that is over already
        resumed = _model(where)
        again = _fit(resumed, 6, Checkpoint(path, every_steps=other), resume=path)
        assert dict(again) == dict(history)
        _assert_same(resumed, alone)


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
        _fit(_model(), 6, Watched(path, every_steps=4))
    # 46 samples: eleven whole batches, and one of two.
    assert seen == [(0, 4), (0, 8), (1, 4), (1, 8)]
    fit = container.read_file(path).config["fit"]
    assert (fit["part"]["epoch"], fit["part"]["done"]) == (1, 8)
    model, alone = _model(), _model()
    begun: list[int] = []
    count = LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(epoch))
    _fit(model, 3, count, resume=path)
    _fit(alone, 3)
    assert begun == [1, 2]
    _assert_same(model, alone)
    # As a model file, it is that of the last whole epoch.
    once = _model()
    _fit(once, 1)
    assert cr.load(path).theta.tobytes() == once.theta.tobytes()


def test_begins_anew_without_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    model, alone = _model(), _model()
    _fit(model, 3, Checkpoint(path), resume=path)
    _fit(alone, 3)
    _assert_same(model, alone)
    # A longer total goes on; a model that is built becomes that of the file.
    built = _model(seed=0).build(3)
    assert _fit(built, 5, Checkpoint(path), resume=path).epochs == 5
    _fit(alone, 2)
    _assert_same(built, alone)
    # Less than what is done: nothing is trained.
    assert _fit(built, 2, resume=path).epochs == 5
    _assert_same(built, alone)


def test_total_counts_the_fit_not_what_was_before(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    alone = _model()
    _fit(alone, 2)
    _fit(alone, 4)
    model = _model()
    _fit(model, 2)
    with pytest.raises(Stop):
        _fit(model, 4, Checkpoint(path), _crash(4))
    other = _model()
    assert _fit(other, 4, resume=path).epochs == 4
    assert other.history.epochs == 6
    _assert_same(other, alone)


def test_callbacks_go_on(tmp_path: Path) -> None:
    path = tmp_path / "fit"

    def callbacks(name: str, *more: Any) -> list[Any]:
        return [
            *more,
            EarlyStopping("r2", patience=3, mode="min"),
            ReduceLROnPlateau("r2", patience=1, factor=0.5, mode="min"),
            CSVLogger(tmp_path / name),
        ]

    alone = _model()
    _fit(alone, 30, *callbacks("alone.csv"))
    stopped = standing(alone).epoch
    assert 3 <= stopped < 30
    assert alone.learning_rate < 0.02
    for epoch in range(1, stopped):
        path.unlink(missing_ok=True)
        every = Checkpoint(path, every=2)
        with pytest.raises(Stop):
            _fit(_model(), 30, *callbacks("log.csv", every), _crash(epoch))
        model = _model()
        _fit(model, 30, *callbacks("log.csv", Checkpoint(path)), resume=path)
        _assert_same(model, alone)
        texts = [(tmp_path / n).read_text() for n in ("log.csv", "alone.csv")]
        assert texts[0] == texts[1]
    # It had stopped: a fit that is resumed has stopped, and has its best weights.
    model = _model()
    _fit(model, 30, *callbacks("log.csv", Checkpoint(path)), resume=path)
    _assert_same(model, alone)


def test_every_and_the_last(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    written: list[int] = []

    class Counted(Checkpoint):
        def _save(self, number: str) -> None:
            super()._save(number)
            written.append(int(number))

    model = _model()
    _fit(model, 7, Counted(path, every=3))
    assert written == [3, 6, 7]
    _fit(model, 2, Counted(path, every=3))  # counted from the model's birth
    assert written == [3, 6, 7, 9]
    model.stop_training = False

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = True

    _fit(model, 5, Counted(path, every=100), LambdaCallback(on_epoch_end=stop))
    assert written[-1] == 10


def test_keep(tmp_path: Path) -> None:
    (tmp_path / "fit-1.st").write_text("not ours")
    path = tmp_path / "fit.st"
    _fit(_model(), 6, Checkpoint(path, keep=3, every=2))
    names = ["fit-1.st", "fit-2.st", "fit-4.st", "fit.st"]
    assert _names(tmp_path) == names
    assert [standing(cr.load(tmp_path / n)).epoch for n in names[1:]] == [2, 4, 6]
    # A resumed fit goes on counting; from each that was kept it ends the same.
    _fit(_model(), 8, Checkpoint(path, keep=3, every=2), resume=path)
    assert _names(tmp_path) == [
        "fit-1.st",
        "fit-4.st",
        "fit-6.st",
        "fit.st",
    ]
    alone = _model()
    _fit(alone, 8)
    for name in ("fit-4.st", "fit-6.st"):
        model = _model()
        _fit(model, 8, resume=tmp_path / name)
        _assert_same(model, alone)
    other = tmp_path / "all.st"
    _fit(_model(), 3, Checkpoint(other, keep=None))
    assert all((tmp_path / f"all{n}.st").exists() for n in ("-1", "-2", ""))
    _fit(_model(), 3, Checkpoint(tmp_path / "one.st"))
    assert not list(tmp_path.glob("one-*"))


def test_resumed_from_an_older_one(tmp_path: Path) -> None:
    """What was written after it is kept under its own number."""
    path = tmp_path / "fit.st"
    _fit(_model(), 6, Checkpoint(path, keep=3, every=2))
    newest = path.read_bytes()
    saver = Checkpoint(path, keep=3, every=3, every_steps=8)
    with pytest.raises(Stop):
        _fit(_model(), 9, saver, _crash(2), resume=tmp_path / "fit-2.st")
    assert _names(tmp_path) == ["fit-2.st", "fit-4.st", "fit-6.st", "fit.st"]
    assert (tmp_path / "fit-6.st").read_bytes() == newest
    assert checkpoints.number(path) == "2-8"
    assert checkpoints.number(tmp_path / "fit-4.st") == "4"
    assert checkpoints.number(tmp_path) is None


def test_the_best_is_known_to_the_newest(tmp_path: Path) -> None:
    """Whichever stands first: a resumed fit does not take a worse one for the best."""
    last, best = tmp_path / "last.st", tmp_path / "best.st"
    for order in (1, -1):
        scripted = iter([2.0, 1.0, 1.5, 1.4])

        def metric(y_true: Any, y_pred: Any, values: Any = scripted) -> Any:
            return next(values)

        registry.register(metric, name=f"metric {tmp_path} {order}")
        falls = Metric(metric, greater_is_better=False)

        def savers() -> list[Any]:
            both = [Checkpoint(last), Checkpoint(best, best=True, monitor="metric")]
            return both[::order]

        options = {"validation_data": None}
        _fit(_model(metrics=[falls]), 2, *savers(), **options)
        _fit(_model(metrics=[falls]), 4, *savers(), resume=last, **options)
        assert standing(cr.load(best)).epoch == 2
        assert standing(cr.load(last)).epoch == 4


def test_keep_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    _fit(_model(), 3, Checkpoint(tmp_path / "fit.st", keep=2))
    assert [standing(cr.load(tmp_path / n)).epoch for n in ("fit-2.st", "fit.st")] == [
        2,
        3,
    ]


@pytest.mark.parametrize(("mode", "best"), [("min", 3), ("max", 2)])
def test_best(mode: str, best: int, tmp_path: Path) -> None:
    values = iter([3.0, 5.0, 1.0, float("nan"), 1.0, 4.0])

    def scripted(y_true: Any, y_pred: Any) -> float:
        return next(values)

    model = _model(metrics=[scripted])
    registry.register(scripted, name=f"scripted-{mode}-{tmp_path}")
    path = tmp_path / "best.st"
    saver = Checkpoint(path, best=True, monitor="scripted", mode=mode)
    _fit(model, 6, saver, validation_data=None)
    twin = _model()
    _fit(twin, best, validation_data=None)
    assert cr.load(path).theta.tobytes() == twin.theta.tobytes()


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
    alone = _model()
    _fit(alone, 4)
    _crashed(2, Checkpoint(path))
    model = _model()
    model.fit(
        np.asfortranarray(X.astype("float32")),
        Y.tolist(),
        epochs=4,
        batch_size=4,
        sample_weight=WEIGHT,
        validation_data=VALIDATION,
        resume=str(path),
    )
    _assert_same(model, alone)


def test_other_surroundings_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fit.st"
    _crashed(2, Checkpoint(path))
    kind = type(_model().backend)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "threads", lambda self: 77)
        match = r"threads \d+ -> 77\).*bits may differ"
        with pytest.warns(cr.ChainruleWarning, match=match):
            _fit(_model(), 6, resume=path)
    with monkeypatch.context() as patch:
        patch.setattr(np, "__version__", "9.9")
        with pytest.warns(cr.ChainruleWarning, match=r"numpy .* -> 9\.9"):
            _fit(_model(), 6, resume=path)
    from tests.support.libraries import backend

    alone, model = _model(), _model(backend("strict"))
    with pytest.warns(cr.ChainruleWarning, match="backend numpy -> array_api_strict"):
        _fit(model, 6, resume=path)
    _fit(alone, 6)
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
        fit(Checkpoint(path, every_steps=2), _crash(4))
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
    _crashed(2, Checkpoint(path), EarlyStopping())
    with pytest.warns(cr.ChainruleWarning, match="EarlyStopping is gone"):
        _fit(_model(), 4, Checkpoint(path), resume=path)
    with pytest.warns(cr.ChainruleWarning, match="ReduceLROnPlateau is new"):
        _fit(_model(), 5, ReduceLROnPlateau(), Checkpoint(path), resume=path)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "fit.st"
    _crashed(2, Checkpoint(path))
    whole = path.read_bytes()
    for bad in (whole[:-1], whole[:100], b"", b"x" * 100, whole + b"x"):
        path.write_bytes(bad)
        model = _model()
        with pytest.raises(cr.SerializationError, match=path.name):
            _fit(model, 4, resume=path)
        assert not model.built
    once = _model()
    _fit(once, 1)
    once.save(path)
    with pytest.raises(cr.SerializationError, match="a model file, not a checkpoint"):
        _fit(_model(), 4, resume=path)
    with pytest.raises(cr.FileError, match="cannot be read"):
        _fit(_model(), 4, resume=tmp_path)
    for bad_path in (3, True, b""):
        with pytest.raises(cr.ArgumentTypeError, match="resume must be the path"):
            _fit(_model(), 4, resume=bad_path)


@pytest.mark.parametrize(
    "entry",
    ["first", "history", "before", "callbacks", "part", "wanted", "around", "number"],
)
def test_a_forged_checkpoint(entry: str, tmp_path: Path) -> None:
    """Its checksum is right, and what it says is not."""
    path = tmp_path / "fit.st"
    cuts = 4 if entry == "part" else None
    _crashed(1, Checkpoint(path, every=2, every_steps=cuts), EarlyStopping())
    if cuts is None:
        _fit(_model(), 2, Checkpoint(path), EarlyStopping())
    config, tensors = container.read_file(path)
    fit = config["fit"]
    for bad in (None, 3, "x", [], {}, {"a": 1}, [[1]]):
        if entry == "part":
            if bad is None:
                continue
            fit["part"] = {**fit["part"], "carry": bad}
        elif entry == "number":
            fit["callbacks"] = [["EarlyStopping", bad, True]]
        else:
            fit[entry] = bad
        if isinstance(bad, (list, dict)) and entry in (
            "callbacks",
            "history",
            "before",
        ):
            continue
        container.write_file(path, config, tensors)
        model = _model()
        with pytest.raises((cr.SerializationError, cr.ResumeError), match=path.name):
            _fit(model, 4, Checkpoint(path), EarlyStopping(), resume=path)
        assert not model.built


def test_large_data_are_hashed_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = _model().backend
    a = np.arange(200_000, dtype=np.float64).reshape(-1, 2)
    whole = digest.fingerprint(backend, a)
    assert whole.startswith("(100000, 2) float64 ")
    monkeypatch.setattr(digest, "HASHED", 1 << 18)
    part = digest.fingerprint(backend, a)
    assert part != whole
    for change in (0, -1):
        b = a.copy()
        b[change] += 1
        assert digest.fingerprint(backend, b) != part
    assert digest.fingerprint(backend, a[:-1]) != part


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"every": 0}, ValueError, "^Checkpoint: every must be"),
        ({"keep": 0}, ValueError, "^Checkpoint: keep must be"),
        ({"every_steps": 0}, ValueError, "^Checkpoint: every_steps must be"),
        ({"every_steps": 2.5}, TypeError, "^Checkpoint: every_steps must be"),
        ({"every_steps": 2, "best": True}, ValueError, "exclude each other"),
        ({"mode": "mx"}, ValueError, "Checkpoint: mode .*Did you mean 'max'"),
        ({"path": 3}, TypeError, "path must be a string"),
    ],
    ids=range(7),
)
def test_bad_options(options: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        Checkpoint(**{"path": "fit", **options})
    assert isinstance(caught.value, cr.ChainruleError)


def test_what_no_file_can_hold_is_refused_before_training(tmp_path: Path) -> None:
    model = _model(metrics=[lambda y_true, y_pred: 0.0])
    with pytest.raises(cr.SerializationError, match=r"metrics.*register"):
        _fit(model, 2, Checkpoint(tmp_path / "fit"))
    assert not model.built
    assert _names(tmp_path) == []


def test_a_callback_can_be_pickled_after_its_fit(tmp_path: Path) -> None:
    saver = Checkpoint(tmp_path / "fit")
    _fit(_model(), 1, saver)
    assert pickle.loads(pickle.dumps(saver)).state() == saver.state()


def test_stopped_before_the_first_epoch(tmp_path: Path) -> None:
    model = _model().build(3)
    theta = model.theta

    def stop(logs: Any) -> None:
        model.stop_training = True

    steps: list[int] = []

    def rate(step: int) -> float:
        steps.append(step)
        return 0.01

    model.optimizer = cr.Adam(rate)
    steps.clear()
    asked = _fit(model, 3, LambdaCallback(on_train_begin=stop))
    assert asked.epochs == 0
    assert len(steps) <= 12  # the check of the schedule, and no epoch
    assert np.array_equal(model.theta, theta)


def test_a_bad_monitor_is_refused_before_training(tmp_path: Path) -> None:
    model = _model()
    saver = Checkpoint(tmp_path / "fit", best=True, monitor="val_accuracy")
    with pytest.raises(cr.ArgumentError, match=r"^Checkpoint: monitor 'val_accuracy'"):
        _fit(model, 2, saver)
    assert not model.built


# Forged checkpoints: their checksum is right.


FORGED: dict[str, tuple[Any, str]] = {
    "first beyond the model": (lambda f: f.update(first=99), "began with epoch 99"),
    "first a word": (lambda f: f.update(first="0"), "the first epoch of the fit must be"),
    "a column a word": (lambda f: f["history"].update(loss="abc"), "'loss' must be a list"),
    "words in a column": (lambda f: f["history"].update(loss=["abc"]), "must hold numbers"),
    "a short column": (lambda f: f["history"].update(loss=[0.5] * 2), "columns of one length"),
    "history a number": (lambda f: f.update(history=3), "must be a JSON object"),
    "no history before": (lambda f: f.pop("before"), "must be a JSON object"),
    "state a number": (lambda f: f.update(callbacks=[{"$tuple": ["Checkpoint", 3, True]}]), "callbacks must be"),
    "callbacks a number": (lambda f: f.update(callbacks=3), "callbacks must be"),
    "wanted a tuple": (lambda f: f["wanted"].update(x={"$tuple": [1]}), "numbers and words"),
    "around a list": (lambda f: f["around"].update(backend=[]), "numbers and words"),
    "no steps": (lambda f: f["part"].update(done=0), "steps of the epoch must be"),
    "other steps": (lambda f: f["part"].update(done=5), "are not such as the model's"),
    "negative step": (lambda f: f["part"].update(step=-1), "step must be"),
    "a huge epoch": (lambda f: f["part"].update(epoch=2**60), "at most 2..53"),
    "rate a word": (lambda f: f["part"].update(rate="fast"), "rate must be"),
    "no values": (lambda f: f["part"].update(values=None), "are not such as the model's"),
    "masses a number": (lambda f: f["part"].update(masses=1.0), "are not such as the model's"),
    "carry a number": (lambda f: f["part"].update(carry=3), "are not such as the model's"),
    "carry an array": (lambda f: f["part"].update(carry=f["part"]["values"]), "are not such as the model's|which the file does not have"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_fit_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "fit"
    _crashed(1, Checkpoint(path, every_steps=4))
    config, entries, data = fuzz_load.take_apart(path.read_bytes())
    change, match = FORGED[kind]
    change(config["fit"])
    path.write_bytes(fuzz_load.forge(config, entries, data))
    model, stopper = _model(), EarlyStopping()
    with pytest.raises(cr.SerializationError, match=match):
        _fit(model, 6, stopper, resume=path)
    assert not model.built
    assert vars(stopper) == vars(EarlyStopping())


def test_a_callback_that_refuses_its_state_leaves_the_others(tmp_path: Path) -> None:
    class Own(Callback):
        def state(self) -> dict[str, Any]:
            return {"n": 1}

        def restore(self, state: dict[str, Any]) -> None:
            raise IndexError

    path, stopper = tmp_path / "fit", EarlyStopping()
    _fit(_model(), 2, EarlyStopping(), Own(), Checkpoint(path))
    model = _model()
    with pytest.raises(cr.SerializationError, match="Own refuses its state"):
        _fit(model, 6, stopper, Own(), resume=path)
    assert not model.built
    assert vars(stopper) == vars(EarlyStopping())


def test_hundreds_of_forged_checkpoints(tmp_path: Path) -> None:
    found = fuzz_resume.fuzz(400, 1, tmp_path)
    assert found["SerializationError"] > 100
    assert found["went on"] > 10


def test_a_resumed_model_predicts_a_few_rows_directly(tmp_path: Path) -> None:
    path = tmp_path / "fit"
    first = _model()
    _fit(first, 2, Checkpoint(path))
    model = _model()
    _fit(model, 2, resume=path)
    assert model._direct is not None
    assert model.predict(X[:2]).tobytes() == first.predict(X[:2]).tobytes()


def test_files_of_others_are_never_removed(tmp_path: Path) -> None:
    """What a checkpoint claims of other files is not believed: they say it themselves."""
    path = tmp_path / "fit.st"
    _fit(_model(), 2, Checkpoint(path, keep=2))
    notes = tmp_path / "fit-7.st"
    notes.write_text("my notes")
    model, saver = cr.load(path), Checkpoint(path, keep=2, every=3)
    saver.restore({**saver.state(), "older": ["7", "1"]})
    _fit(model, 6, saver)
    assert notes.read_text() == "my notes"
    assert not (tmp_path / "fit-1.st").exists()


@pytest.mark.parametrize("options", [{}, {"every_steps": 2}])
@pytest.mark.parametrize("keep", [3, None])
def test_second_names_that_are_too_long_are_told_before_training(
    keep: int | None, options: dict[str, Any], tmp_path: Path
) -> None:
    """255 bytes is the longest name; "-12" in it, or "-11-12", is one too long."""
    extra = len("-11-12") - 1 if options else len("-12") - 1
    for size, fits in ((255 - extra - 1, True), (255 - extra, False)):
        path = tmp_path / ("a" * (size - len(".safetensors")) + ".safetensors")
        model = _model().build(3)
        theta = model.theta
        saver = Checkpoint(path, keep=keep, **options)
        if fits:
            _fit(model, 12, saver)
            assert len(_names(tmp_path)) >= 3
            continue
        before = _names(tmp_path)
        with pytest.raises(cr.FileError, match="name too long"):
            _fit(model, 12, saver)
        assert np.array_equal(model.theta, theta)
        assert model.history.epochs == 0
        assert _names(tmp_path) == before
        _fit(model, 2, Checkpoint(path))  # it has no second name
