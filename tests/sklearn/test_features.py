"""What the estimators have beyond scikit-learn's, and how they live among its tools."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import pandas as pd
import sklearn
from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule as cr
from chainrule.network import chunks
from chainrule.sklearn import MLPClassifier, MLPRegressor, from_sklearn

from tests.support.libraries import here

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
BACKENDS = ["numpy", *[name for name in ("jax", "torch") if here(name)]]
everywhere = pytest.mark.parametrize("backend", BACKENDS)
rng = np.random.RandomState(0)
X, Y = datasets.make_regression(60, 4, random_state=0)
Y = Y / Y.std()
XC, YC = datasets.make_classification(
    60, 4, n_informative=4, n_redundant=0, n_classes=3, random_state=1
)
XB, YB = datasets.make_classification(60, 4, random_state=1)
SMALL: dict[str, Any] = {
    "hidden_layer_sizes": (6, 5),
    "max_iter": 15,
    "random_state": 0,
    "learning_rate_init": 0.02,
}


def regressor(**params: Any) -> MLPRegressor:
    return MLPRegressor(**{**SMALL, **params})


def classifier(**params: Any) -> MLPClassifier:
    return MLPClassifier(**{**SMALL, **params})


def quartic(z: Any, t: Any, weight: Any = None, *, xp: Any) -> Any:
    d = z - t
    share = 1.0 / (z.shape[-2] * z.shape[-1])
    return xp.sum(d**4) * share, lambda dvalue=1.0: (4.0 * d**3 * (share * dvalue),)


def swish(x: Any, *, xp: Any) -> Any:
    s = 1.0 / (1.0 + xp.exp(-x))
    return x * s, lambda dz: (dz * (s + x * s * (1.0 - s)),)


def differences(f: Any, x: Any) -> Any:
    columns = []
    for j in range(x.shape[1]):
        h = np.zeros(x.shape[1])
        h[j] = 1e-6
        columns.append((f(x + h) - f(x - h)) / 2e-6)
    return np.stack(columns, axis=-1)


# Losses, activations, networks.


@everywhere
@pytest.mark.parametrize(
    "loss",
    ["huber", "absolute_error", cr.losses.Quantile(0.9), cr.losses.Poisson(), quartic],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_losses_of_the_library_and_of_ones_own(loss: Any, backend: str) -> None:
    y = np.abs(np.round(3 * Y)) if isinstance(loss, cr.losses.Poisson) else Y
    e = regressor(loss=loss, max_iter=40, backend=backend).fit(X, y)
    assert e.loss_curve_[-1] < e.loss_curve_[0]
    assert e.predict(X).shape == (60,)
    if isinstance(loss, cr.losses.Poisson):
        assert e.predict(X).min() > 0


def test_a_loss_of_ones_own_has_the_gradient_that_it_says() -> None:
    def squared(z: Any, t: Any, weight: Any = None, *, xp: Any) -> Any:
        d = z - t
        share = 1.0 / z.shape[-2]
        return 0.5 * xp.sum(d * d) * share, lambda dvalue=1.0: (d * (share * dvalue),)

    mine, theirs = regressor(loss=squared).fit(X, Y), regressor().fit(X, Y)
    np.testing.assert_allclose(mine.coefs_[0], theirs.coefs_[0], rtol=1e-10)
    with pytest.raises(cr.ArgumentError, match=r"must return \(value, pullback\)"):
        regressor(loss=lambda *_, **__: 1.0).fit(X, Y)


@everywhere
def test_activations_by_layer_and_at_the_output(backend: str) -> None:
    e = regressor(
        activation=["gelu", cr.Tanh()], output_activation="softplus", backend=backend
    ).fit(X, Y)
    assert e.predict(X).min() >= 0
    assert e.out_activation_ == "softplus"
    hidden = e.hidden_activations(X)
    assert [h.shape for h in hidden] == [(60, 6), (60, 5)]
    assert np.abs(hidden[1]).max() <= 1
    z = hidden[1] @ e.coefs_[2] + e.intercepts_[2]
    np.testing.assert_allclose(np.logaddexp(z, 0)[:, 0], e.predict(X), rtol=1e-10)


def test_an_activation_of_ones_own() -> None:
    mine, ours = (
        regressor(activation=swish).fit(X, Y),
        regressor(activation="silu").fit(X, Y),
    )
    np.testing.assert_allclose(mine.coefs_[0], ours.coefs_[0], rtol=1e-10)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(cr.ArgumentError, match="one entry per hidden layer, 2; got 1"):
        regressor(activation=["relu"]).fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="one entry per hidden layer, 2; got 3"):
        regressor(dropout=[0.1, 0.1, 0.1]).fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="output_activation must be None or"):
        classifier(output_activation="tanh").fit(XC, YC)
    with pytest.raises(cr.ShapeError, match="network must have 3 outputs"):
        classifier(network=cr.MLP((4, 2))).fit(XC, YC)
    with pytest.raises(cr.ArgumentError, match="quantiles needs loss='quantile'"):
        regressor(quantiles=(0.1, 0.9)).fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="loss='quantile'; this one"):
        regressor().fit(X, Y).predict_interval(X)
    with pytest.raises(ValueError, match="'backend' parameter"):
        regressor(backend=3).fit(X, Y)
    with pytest.raises(cr.ArgumentTypeError, match="validation_data must be"):
        regressor(validation_data=(X,)).fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="an estimator is kept with pickle"):
        regressor(callbacks=[cr.callbacks.Checkpoint("x")]).fit(X, Y)
    with pytest.raises(ValueError, match="class_weight 'balanced' is not supported"):
        classifier(class_weight="balanced").partial_fit(XB, YB, classes=[0, 1])


@everywhere
def test_dropout_is_random_in_training_only(backend: str) -> None:
    e = regressor(dropout=0.5, backend=backend).fit(X, Y)
    other = regressor(dropout=0.5).fit(X, Y)
    np.testing.assert_allclose(e.coefs_[0], other.coefs_[0], atol=1e-9)
    assert np.abs(e.coefs_[0] - regressor().fit(X, Y).coefs_[0]).max() > 1e-3
    np.testing.assert_array_equal(e.predict(X), e.predict(X))


@everywhere
def test_a_network_of_ones_own(backend: str) -> None:
    network = cr.Sequential(cr.Dense(7), cr.BatchNorm(), cr.ReLU(), cr.Dense(3))
    e = classifier(network=network, backend=backend).fit(XC, YC)
    assert [c.shape for c in e.coefs_] == [(4, 7), (7, 3)]
    assert len(e.intercepts_) == 4  # two biases, the norm's gain and shift
    p = e.predict_proba(XC)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    np.testing.assert_allclose(
        e.jacobian(XC[:4]), differences(e.predict_proba, XC[:4]), atol=1e-8
    )
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(e)).predict_proba(XC), p)


def test_any_optimizer_and_schedule() -> None:
    schedule = cr.schedules.CosineDecay(0.05, decay_steps=15)
    a = regressor(optimizer=cr.AdamW(schedule)).fit(X, Y)
    assert a.loss_curve_[-1] < a.loss_curve_[0]
    # SGD without momentum is one definition: the solver's and the optimizer's agree.
    b = regressor(optimizer=cr.SGD(0.02)).fit(X, Y)
    c = regressor(solver="sgd", momentum=0).fit(X, Y)
    np.testing.assert_allclose(b.coefs_[0], c.coefs_[0], rtol=1e-10)
    assert hasattr(regressor(optimizer="lion", solver="lbfgs"), "partial_fit")


@everywhere
def test_optimizers_of_the_whole_problem(backend: str) -> None:
    a = regressor(optimizer=cr.LBFGS(), activation="tanh", backend=backend).fit(X, Y)
    assert a.loss_curve_[-1] < 0.5 * a.loss_curve_[0]
    assert a.predict(X).shape == (60,)
    params = {"loss": cr.losses.SquaredError(), "hidden_layer_sizes": (4,)}
    b = regressor(optimizer=cr.LevenbergMarquardt(), alpha=0, backend=backend, **params)
    assert b.fit(X, Y).loss_curve_[-1] < 0.5 * b.loss_curve_[0]
    with pytest.raises(cr.ArgumentError, match="alpha=0"):
        b.set_params(alpha=1e-4).fit(X, Y)


# Classifiers.


def test_class_weight_multiplies_sample_weight() -> None:
    weights = {0: 2.0, 1: 0.5}
    by_hand = np.where(YB == 0, 2.0, 0.5)
    a = classifier(class_weight=weights).fit(XB, YB)
    b = classifier().fit(XB, YB, by_hand)
    np.testing.assert_allclose(a.coefs_[0], b.coefs_[0], rtol=1e-12)
    skewed = np.r_[np.flatnonzero(YB == 0)[:5], np.flatnonzero(YB == 1)]
    plain = classifier(max_iter=60).fit(XB[skewed], YB[skewed])
    even = classifier(max_iter=60, class_weight="balanced").fit(XB[skewed], YB[skewed])
    assert even.predict_proba(XB)[:, 0].mean() > plain.predict_proba(XB)[:, 0].mean()


@pytest.mark.parametrize(
    "loss",
    [
        cr.losses.CrossEntropy(label_smoothing=0.1),
        "binary_cross_entropy",
        "squared_error",
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
@pytest.mark.parametrize("data", [(XB, YB), (XC, YC)], ids=["two", "three"])
def test_losses_of_classifiers(loss: Any, data: Any) -> None:
    e = classifier(loss=loss, max_iter=150).fit(*data)
    p = e.predict_proba(data[0])
    assert p.shape == (60, len(e.classes_))
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert e.score(*data) > 0.7
    np.testing.assert_array_equal(e.predict(data[0]), e.classes_[p.argmax(axis=1)])


# What a fitted network gives.


@everywhere
def test_jacobian(backend: str) -> None:
    for e, x in (
        (regressor(activation="tanh", backend=backend).fit(X, Y), X[:3]),
        (
            regressor(activation="tanh", loss="poisson", backend=backend).fit(
                X, abs(Y)
            ),
            X[:3],
        ),
    ):
        wanted = differences(e.predict, x)[:, None, :]
        np.testing.assert_allclose(e.jacobian(x), wanted, atol=1e-7)
    for data in ((XB, YB), (XC, YC)):
        c = classifier(activation="tanh", backend=backend).fit(*data)
        x = data[0][:3]
        wanted = differences(c.predict_proba, x)
        np.testing.assert_allclose(c.jacobian(x), wanted, atol=1e-7)


@everywhere
def test_prediction_intervals(backend: str) -> None:
    x = rng.uniform(-1, 1, size=(400, 1))
    y = x[:, 0] + (0.1 + 0.4 * (x[:, 0] > 0)) * rng.normal(size=400)
    e = regressor(
        loss="quantile", quantiles=(0.1, 0.5, 0.9), max_iter=60, backend=backend
    ).fit(x, y)
    low, high = e.predict_interval(x).T
    assert (low <= high).all()
    assert 0.65 < np.mean((low <= y) & (y <= high)) < 0.93
    assert (high - low)[x[:, 0] > 0].mean() > 1.5 * (high - low)[x[:, 0] < 0].mean()
    assert e.predict_quantiles(x).shape == (400, 3)
    assert e.predict(x).shape == (400,)
    assert e.jacobian(x).shape == (400, 1, 1)
    ends = regressor(loss="quantile", quantiles=np.array([0.1, 0.9]), max_iter=2)
    assert ends.fit(X, Y).predict_quantiles(X).shape == (60, 2)
    many = regressor(loss="quantile", max_iter=2).fit(X, np.c_[Y, -Y])
    assert many.predict(X).shape == (60, 2)
    assert many.predict_interval(X).shape == (60, 2, 2)


# Validation and stopping.


@everywhere
def test_validation_data(backend: str) -> None:
    e = regressor(validation_data=(X[:20], Y[:20]), backend=backend).fit(X, Y)
    assert len(e.validation_loss_curve_) == e.n_iter_
    wanted = 0.5 * np.mean((e.predict(X[:20]) - Y[:20]) ** 2)
    assert e.validation_loss_curve_[-1] == pytest.approx(wanted, rel=1e-9)
    plain = regressor().fit(X, Y)
    np.testing.assert_allclose(e.coefs_[0], plain.coefs_[0], rtol=1e-9)


def test_early_stopping_with_partial_fit() -> None:
    e = classifier(
        early_stopping=True, validation_data=(XC, YC), n_iter_no_change=3, tol=0.05
    )
    for _ in range(200):
        e.partial_fit(XC, YC, classes=[0, 1, 2])
        if e.stopped_:
            break
    assert e.stopped_
    assert (
        e.score(XC, YC) == e.best_validation_score_ == max(e.validation_scores_ or [])
    )
    before = e.coefs_[0].copy()
    e.partial_fit(XC, YC)
    np.testing.assert_array_equal(e.coefs_[0], before)


def test_a_scorer_for_early_stopping() -> None:
    from sklearn.metrics import mean_absolute_error

    frame = pd.DataFrame(X, columns=list("abcd"))
    e = regressor(
        early_stopping=True,
        scoring="neg_mean_absolute_error",
        validation_data=(frame, Y),
    ).fit(frame, Y)
    wanted = -mean_absolute_error(Y, e.predict(frame))
    assert e.best_validation_score_ == pytest.approx(wanted)
    by_loss = regressor(early_stopping=True, scoring="loss").fit(X, Y)
    np.testing.assert_allclose(
        by_loss.validation_scores_, -np.array(by_loss.validation_loss_curve_)
    )


@everywhere
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks(solver: str, backend: str) -> None:
    seen = []
    stop = cr.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append((epoch, sorted(logs)))
    )
    early = cr.EarlyStopping(monitor="val_loss", patience=2, min_delta=10.0)
    e = regressor(
        solver=solver,
        callbacks=[stop, early],
        validation_data=(X, Y),
        backend=backend,
    ).fit(X, Y)
    assert e.n_iter_ == 3
    assert seen[0] == (0, ["loss", "val_loss", "val_score"])
    assert len(seen) == 3
    # The best weights came back: those after the first epoch.
    wanted = e.validation_loss_curve_[0]
    assert 0.5 * np.mean((e.predict(X) - Y) ** 2) == pytest.approx(wanted, rel=1e-6)


def test_a_callback_changes_the_learning_rate() -> None:
    halve = cr.callbacks.ReduceLROnPlateau(
        monitor="loss", factor=0.5, patience=1, min_delta=100.0
    )
    a = regressor(callbacks=[halve], solver="sgd").fit(X, Y)
    b = regressor(solver="sgd").fit(X, Y)
    assert a.loss_curve_[0] == pytest.approx(b.loss_curve_[0])
    assert abs(a.loss_curve_[-1] - b.loss_curve_[-1]) > 1e-4


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    regressor(progress=True).fit(X, Y)
    assert "loss=" in capsys.readouterr().err
    regressor().fit(X, Y)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "params",
    [
        {"early_stopping": True, "n_iter_no_change": 2, "tol": 10.0},
        {"n_iter_no_change": 2, "tol": 10.0},
        {"solver": "lbfgs"},
    ],
)
def test_the_last_line_of_the_bar(
    params: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = regressor(progress=True, **params).fit(X, Y)
    line = capsys.readouterr().err.rstrip().rpartition("\r")[2]
    assert fitted.solver == "lbfgs" or fitted.n_iter_ < 15
    assert f"epoch {fitted.n_iter_}/15" in line
    if fitted.solver != "lbfgs":  # its last line search has no epoch of its own
        assert f"loss={fitted.loss_curve_[-1]:.3g}" in line
    if fitted.early_stopping:
        assert f"val_loss={fitted.validation_loss_curve_[-1]:.3g}" in line


@everywhere
@pytest.mark.parametrize("optimizer", [None, cr.Adam(), cr.RMSprop(), cr.Adagrad()])
def test_slots_that_overflow_are_told(backend: str, optimizer: Any) -> None:
    """A gradient of 2e21, whose square is not in float32: nothing moves ever after."""
    x = X.astype(np.float32)
    large = (x[:, 0] * 1e17).astype(np.float32)
    given: dict[str, Any] = {
        "hidden_layer_sizes": (),
        "backend": backend,
        "optimizer": optimizer,
    }
    fitted = regressor(**given)
    with pytest.raises(cr.DivergenceError, match=r"optimizer's slots .* overflowed"):
        fitted.fit(x * np.float32(1e3), large)
    assert np.isfinite(fitted.coefs_[0]).all()
    with pytest.raises(cr.DivergenceError, match="Scale X and y"):
        fitted.partial_fit(x * np.float32(1e3), large)
    before = fitted.coefs_[0].copy()
    fitted.partial_fit(x, Y)  # the optimizer has started anew
    assert (fitted.coefs_[0] != before).all()
    with pytest.warns(cr.ChainruleWarning, match="weights of the best epoch are kept"):
        regressor(early_stopping=True, **given).fit(x * np.float32(1e3), large)


@everywhere
@pytest.mark.parametrize("units", [10**12, 10**18])
@pytest.mark.parametrize("members", [None, 2])
def test_out_of_memory(
    backend: str, units: int, members: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = regressor(hidden_layer_sizes=(units,), backend=backend, members=members)
    match = r"^out of memory on .* in a fit: .*\. Use smaller hidden_layer_sizes"
    with pytest.raises(cr.OutOfMemoryError, match=match):
        large.fit(X, Y)
    fitted = regressor(backend=backend, members=members).fit(X, Y)

    def exhausted(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(chunks, "outputs", exhausted)
    with pytest.raises(cr.OutOfMemoryError, match=r"in predict. Hand in fewer rows"):
        fitted.predict(X)


# Between scikit-learn's estimators and ours.


@everywhere
@pytest.mark.parametrize(
    "params",
    [{}, {"solver": "sgd"}, {"solver": "lbfgs"}, {"early_stopping": True}],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_from_and_to_sklearn(params: dict[str, Any], backend: str) -> None:
    for kind, ours, data in (
        (TheirRegressor, MLPRegressor, (X, Y)),
        (TheirClassifier, MLPClassifier, (XC, YC)),
    ):
        theirs = kind(**{**SMALL, **params}).fit(*data)
        taken = from_sklearn(theirs, backend=backend)
        assert type(taken) is ours is type(ours.from_sklearn(theirs))
        given = taken.to_sklearn()
        assert type(given) is kind
        for e in (taken, given):
            output = "predict_proba" if kind is TheirClassifier else "predict"
            a, b = (getattr(m, output)(data[0]) for m in (theirs, e))
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
        if params.get("solver") == "lbfgs" or "early_stopping" in params:
            continue
        there = pickle.loads(pickle.dumps(theirs))
        for e in (there, taken, given):
            e.partial_fit(*data)
        back = taken.to_sklearn().partial_fit(*data)
        for e in (taken, given):
            np.testing.assert_allclose(e.coefs_[0], there.coefs_[0], rtol=1e-9)
        np.testing.assert_allclose(
            back.coefs_[0], there.partial_fit(*data).coefs_[0], rtol=1e-9
        )


def test_what_scikit_learn_has_not_cannot_be_given() -> None:
    e = regressor(activation="gelu", loss="huber").fit(X, Y)
    with pytest.raises(cr.ArgumentError, match="no activation='gelu', no loss='huber'"):
        e.to_sklearn()
    with pytest.raises(cr.ArgumentTypeError, match="must be a fitted MLPRegressor"):
        from_sklearn(e)
    with pytest.raises(NotFittedError):
        from_sklearn(TheirRegressor())
    with pytest.raises(cr.ArgumentTypeError, match="MLPClassifier cannot take over"):
        MLPClassifier.from_sklearn(TheirRegressor(**SMALL).fit(X, Y))


# Among scikit-learn's tools.


def test_tools() -> None:
    e = classifier(backend="numpy")
    pipeline = make_pipeline(StandardScaler(), e)
    assert len(cross_val_score(pipeline, XC, YC, cv=3, n_jobs=2)) == 3
    search = GridSearchCV(e, {"alpha": [1e-4, 1.0], "dropout": [0.0, 0.2]}, cv=2)
    assert search.fit(XC, YC).best_estimator_.score(XC, YC) > 0.3
    assert clone(search.best_estimator_).get_params()["backend"] == "numpy"
    assert "MLPClassifier" in e._repr_html_()


@everywhere
def test_pickle_goes_on_as_the_original(backend: str) -> None:
    e = classifier(backend=backend, early_stopping=False).fit(XC, YC)
    copy = pickle.loads(pickle.dumps(e))
    for m in (e, copy):
        m.partial_fit(XC, YC)
    np.testing.assert_array_equal(e.coefs_[0], copy.coefs_[0])


def test_a_module_as_backend_is_cloned_and_pickled() -> None:
    import array_api_strict

    e = clone(regressor(backend=array_api_strict)).fit(X, Y)
    assert e.backend is array_api_strict
    copy = pickle.loads(pickle.dumps(e))
    np.testing.assert_array_equal(copy.predict(X), e.predict(X))
    assert clone(copy).fit(X, Y).n_iter_ == e.n_iter_


def test_metadata_routing() -> None:
    weight = rng.rand(60)
    with sklearn.config_context(enable_metadata_routing=True):
        e = classifier().set_fit_request(sample_weight=True)
        e.set_score_request(sample_weight=True)
        search = GridSearchCV(e, {"alpha": [1e-4]}, cv=2)
        search.fit(XC, YC, sample_weight=weight)
    plain = classifier(alpha=1e-4).fit(XC, YC, weight)
    np.testing.assert_allclose(search.best_estimator_.coefs_[0], plain.coefs_[0])


def test_frames_and_strings() -> None:
    polars = pytest.importorskip("polars")
    names = np.array(["low", "mid", "high"], dtype=object)[YC]
    for frame in (
        pd.DataFrame(XC, columns=list("abcd")),
        polars.DataFrame(XC, schema=list("abcd")),
    ):
        e = classifier(early_stopping=True).fit(frame, names)
        assert list(e.feature_names_in_) == list("abcd")
        assert set(e.predict(frame)) <= {"low", "mid", "high"}
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            e.predict(XC)


def test_sparse() -> None:
    import scipy.sparse

    S = scipy.sparse.csr_array(XC)
    a, b = classifier().fit(S, YC), classifier().fit(XC, YC)
    np.testing.assert_array_equal(a.coefs_[0], b.coefs_[0])
    np.testing.assert_array_equal(a.predict_proba(S), b.predict_proba(XC))


@pytest.mark.skipif("jax" not in BACKENDS, reason="counts JAX's compilations")
def test_a_grid_search_compiles_only_for_new_shapes() -> None:
    import jax

    from chainrule.backends.jax import engine

    grid = {
        "alpha": [0.0, 1e-4, 1e-2],
        "learning_rate_init": [1e-3, 1e-2],
        "beta_1": [0.8, 0.9],
        "tol": [1e-4, 1e-3],
    }  # 24 candidates
    e = classifier(backend="jax", hidden_layer_sizes=(9,), max_iter=3)
    before = engine._compiled.cache_info().misses
    some = slice(0, 58)  # folds of 46 and 12 samples, and of 47 and 11
    one = {name: values[:1] for name, values in grid.items()}
    GridSearchCV(e, one, cv=5, refit=False).fit(XC[some], YC[some])
    # One stretch of epochs and one prediction, each for its shapes.
    assert engine._compiled.cache_info().misses - before == 2
    compiled: list[str] = []

    def note(event: str, duration: float, **_: Any) -> None:
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        jax.jit(lambda x: 3.0 * x)(np.ones(17))
        assert len(compiled) == 1, "the listener hears of compilations"
        search = GridSearchCV(e, grid, cv=5, refit=False).fit(XC[some], YC[some])
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert len(search.cv_results_["params"]) == 24
    assert len(compiled) == 1


# Arrays of other libraries.


@pytest.mark.skipif("torch" not in BACKENDS, reason="torch is missing")
def test_torch_in_torch_out() -> None:
    import torch

    x = torch.tensor(XC)
    host = classifier().fit(XC, YC)
    e = classifier().fit(x, torch.tensor(YC))
    assert all(isinstance(c, torch.Tensor) for c in e.coefs_)
    np.testing.assert_allclose(e.coefs_[0].numpy(), host.coefs_[0], rtol=1e-9)
    for method in ("predict", "predict_proba", "predict_log_proba", "jacobian"):
        found = getattr(e, method)(x)
        assert isinstance(found, torch.Tensor)
        np.testing.assert_allclose(found, getattr(host, method)(XC), atol=1e-9)
    assert e.score(x, torch.tensor(YC)) == host.score(XC, YC)
    # NumPy after torch is welcome: each X gets its own kind back.
    assert isinstance(e.predict_proba(XC), np.ndarray)
    with pytest.raises(ValueError, match="Expected 2D array, got 1D"):
        e.predict(x[0])
    with pytest.raises(ValueError, match="X has 2 features, but MLPClassifier"):
        e.predict(x[:, :2])
    with pytest.raises(ValueError, match="X must be finite"):
        e.predict(x / 0)
    r = regressor(early_stopping=True).fit(x, torch.tensor(Y))
    assert isinstance(r.predict(x), torch.Tensor)
    np.testing.assert_allclose(
        r.predict(x), regressor(early_stopping=True).fit(XC, Y).predict(XC), atol=1e-9
    )


@pytest.mark.skipif("jax" not in BACKENDS, reason="JAX is missing")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_jax_in_jax_out(solver: str) -> None:
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(XC)
    assert x.dtype == jnp.float32
    e = classifier(solver=solver).fit(x, jnp.asarray(YC))
    assert all(isinstance(c, jax.Array) for c in e.coefs_)
    host = classifier(solver=solver).fit(XC.astype(np.float32), YC)
    for method in ("predict", "predict_proba"):
        found = getattr(e, method)(x)
        assert isinstance(found, jax.Array)
        wanted = getattr(host, method)(XC.astype(np.float32))
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_strict_in_strict_out() -> None:
    import array_api_strict

    device = array_api_strict.Device("device1")
    x = array_api_strict.asarray(X, device=device)
    y = array_api_strict.asarray(Y, device=device)
    e = regressor(dropout=0.1).fit(x, y)
    z = e.predict(x)
    assert z.device == device
    assert e.coefs_[0].device == device
    wanted = regressor(dropout=0.1).fit(X, Y).predict(X)
    np.testing.assert_allclose(np.from_dlpack(z), wanted, atol=1e-9)


def test_without_scikit_learn_the_error_says_what_to_do() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import chainrule\n"
        "try:\n    import chainrule.sklearn\n"
        "except chainrule.BackendError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'chainrule[sklearn]'" in done.stdout


# Callbacks are parameters: a fit works on copies.


class Recorder(cr.callbacks.Callback):
    """A callback of one's own that writes into itself."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        self.seen.append(epoch)


@everywhere
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_fit_leaves_its_callbacks(solver: str, backend: str) -> None:
    given: list[Any] = [cr.EarlyStopping(patience=3), Recorder()]
    params: dict[str, Any] = {
        "solver": solver,
        "backend": backend,
        "hidden_layer_sizes": (64, 64),
    }
    e = regressor(callbacks=given, **params)
    before = pickle.dumps(e)
    e.fit(X, Y)
    assert e.callbacks == given
    assert len(pickle.dumps(clone(e))) == len(before)
    assert given[0].best_epoch is None
    assert given[1].seen == []
    stopping, recorder = e.callbacks_
    assert stopping.best_epoch is not None
    assert recorder.seen == list(range(e.n_iter_))
    plain = len(pickle.dumps(regressor(**params).fit(X, Y)))
    assert len(pickle.dumps(e)) < 1.2 * plain


def test_callbacks_go_on_between_partial_fits() -> None:
    """As one training: best values, epochs and rates; it ends when a callback ends it."""
    given = [
        cr.EarlyStopping(patience=4, min_delta=1e9),
        cr.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, min_delta=1e9),
        Recorder(),
    ]
    e, twin = (
        regressor(callbacks=given, solver="sgd", shuffle=False, tol=0.0)
        for _ in range(2)
    )
    twin.set_params(max_iter=9).fit(X, Y)
    for k in range(9):
        e.partial_fit(X, Y)
        if k == 2:
            e = pickle.loads(pickle.dumps(e))
    stopping, _, recorder = e.callbacks_
    assert recorder.seen == [0, 1, 2, 3, 4]
    assert stopping.stopped_epoch == 4
    assert (stopping.best, stopping.best_epoch) == (e.loss_curve_[0], 0)
    assert e.loss_curve_ == twin.loss_curve_
    for a, b in zip(e.coefs_, twin.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    # Other callbacks, or a fit, begin anew.
    e.set_params(callbacks=[Recorder()]).partial_fit(X, Y)
    assert e.callbacks_[0].seen == [5]
    e.set_params(max_iter=2).fit(X, Y)
    assert e.callbacks_[0].seen == [0, 1]


def test_a_lambda_keeps_its_functions() -> None:
    """What a method belongs to is the user's, and hears of the epochs."""
    recorder = Recorder()
    hook = cr.callbacks.LambdaCallback(on_epoch_end=recorder.on_epoch_end)
    regressor(callbacks=[hook], max_iter=2).fit(X, Y)
    assert recorder.seen == [0, 1]


@everywhere
@pytest.mark.parametrize(
    "params",
    [
        {"solver": "lbfgs"},
        {"optimizer": cr.LevenbergMarquardt(), "loss": cr.losses.SquaredError()},
    ],
    ids=["lbfgs", "lm"],
)
def test_a_plateau_without_a_rate(params: Any, backend: str) -> None:
    recorder = Recorder()
    plateau = cr.callbacks.ReduceLROnPlateau()
    hook = cr.callbacks.LambdaCallback(on_epoch_end=recorder.on_epoch_end)
    e = regressor(callbacks=[hook, plateau], backend=backend, **params)
    with pytest.raises(cr.ArgumentError, match="an optimizer with a learning rate"):
        e.fit(X, Y)
    assert recorder.seen == []


@everywhere
@pytest.mark.parametrize(
    "params",
    [
        {"solver": "lbfgs"},
        {"optimizer": cr.LBFGS()},
        {"optimizer": cr.LevenbergMarquardt(), "loss": cr.losses.SquaredError()},
    ],
    ids=["lbfgs", "LBFGS", "LevenbergMarquardt"],
)
def test_dropout_that_would_be_ignored(params: Any, backend: str) -> None:
    e = regressor(dropout=0.5, backend=backend, alpha=0, **params)
    with pytest.raises(cr.ArgumentError, match=r"Dropout\(rate=0.5\).*be ignored"):
        e.fit(X, Y)


@everywhere
def test_a_validation_score_is_to_rise(backend: str) -> None:
    seen: list[float] = []
    hook = cr.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(logs["val_score"])
    )
    stopping = cr.EarlyStopping("val_score", patience=3)
    e = regressor(
        callbacks=[stopping, hook],
        validation_data=(X[:20], Y[:20]),
        backend=backend,
        learning_rate_init=0.05,
    ).fit(X[20:], Y[20:])
    assert e.callbacks_[0].best == max(seen)
    assert e.score(X[:20], Y[:20]) == pytest.approx(max(seen), rel=1e-6)


@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
@pytest.mark.parametrize("make", [MLPRegressor, MLPClassifier])
def test_masked_entries_are_refused(make: Any, name: str) -> None:
    y = YB if make is MLPClassifier else Y
    given = {"X": X, "y": y, "sample_weight": np.ones(60)}
    estimator = make(**{**SMALL, "max_iter": 2})
    estimator.fit(*(np.ma.array(a) for a in given.values()))  # nothing is masked
    one = np.arange(given[name].size).reshape(given[name].shape) == 1
    given[name] = np.ma.array(given[name], mask=one)
    for method in (estimator.fit, estimator.score):
        with pytest.raises(cr.ArgumentError, match=f"^{name} has masked entries"):
            method(given["X"], given["y"], given["sample_weight"])
    if name == "X":
        with pytest.raises(cr.ArgumentError, match=r"^X has masked entries"):
            estimator.predict(given["X"])


@pytest.mark.parametrize("cls", [MLPRegressor, MLPClassifier])
@pytest.mark.parametrize(
    ("word", "wanted"),
    [("lr", "learning_rate_init"), ("epochs", "max_iter"), ("seed", "random_state")],
)
def test_words_of_others_are_told(cls: Any, word: str, wanted: str) -> None:
    match = f"^{cls.__name__} has no argument '{word}': write {wanted}="
    with pytest.raises(cr.ArgumentTypeError, match=match):
        cls(**{word: 1})
    assert wanted in cls().get_params()
