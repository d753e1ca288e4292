"""Words of other libraries: taken where they mean the same, else told what to write."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

import chainrule as cr
from chainrule import initializers, layers, losses, metrics, optimizers
from chainrule.config import hints, words
from chainrule.metrics.table import NAMES as METRICS

from tests.support.libraries import LIBRARIES, backend, estimators, here
from tests.support.words import X, Y, new_model, trained


@pytest.mark.parametrize(
    ("get", "alias", "wanted"),
    [
        *((losses.get, w, losses.SquaredError()) for w in ("mse", "MSE", "l2")),
        (losses.get, "mean_squared_error", losses.SquaredError()),
        (losses.get, "SquaredError", losses.SquaredError()),
        (losses.get, "mae", losses.AbsoluteError()),
        (losses.get, "huber_loss", losses.Huber()),
        (losses.get, "binary-cross-entropy", losses.BinaryCrossEntropy()),
        (layers.activations.get, "swish", cr.SiLU()),
        (layers.activations.get, "Swish", cr.SiLU()),
        (layers.activations.get, "LeakyReLU", cr.LeakyReLU()),
        (layers.activations.get, "leaky-relu", cr.LeakyReLU()),
        (layers.activations.get, "ReLU", cr.ReLU()),
        (layers.activations.get, "linear", cr.Identity()),
        (layers.activations.get, "logistic", cr.Sigmoid()),
        (optimizers.get, "Adam", cr.Adam()),
        (optimizers.get, "AdamW", cr.AdamW()),
        (optimizers.get, "RMSProp", cr.RMSprop()),
    ],
)
def test_names_that_mean_the_same(get: Any, alias: str, wanted: Any) -> None:
    assert get(alias) == wanted


def test_metrics_that_mean_the_same() -> None:
    assert metrics.get("mae")[0] == "mean_absolute_error"
    assert metrics.get("acc")[0] == "accuracy"


def test_one_word_stands_for_one_name() -> None:
    """No alias shadows a name, and each leads to a name that there is."""
    names: dict[str, Any] = {
        "loss": losses._NAMES,
        "metric": METRICS,
        "activation": layers.activations._NAMES,
        "optimizer": optimizers._NAMES,
        "initializer": initializers._NAMES,
        "backend": ["numpy", "jax", "torch", "cupy", "cuda"],  # and a device
    }
    assert set(names) == set(words.ADVICE)
    for kind, table in names.items():
        own = {hints.letters(name) for name in table}
        assert len(own) == len(table)
        for alias, name in words.ALIASES.get(kind, {}).items():
            assert name in table
            assert hints.letters(alias) not in own
        for told in words.ADVICE[kind].values():
            for quoted in re.findall(r"'(\w+)'", told):
                assert any(quoted in each for each in names.values()), quoted


TOLD: dict[str, tuple[Callable[[], Any], str]] = {
    "verbose": (
        lambda: trained(verbose=0),
        "^fit has no argument 'verbose'.*progress=",
    ),
    "class_weight": (
        lambda: trained(class_weight={0: 1}),
        r"CrossEntropy\(class_weight",
    ),
    "fit lr": (lambda: trained(lr=1e-3), "^fit has no argument 'lr'.*optimizer="),
    "validation_freq": (lambda: trained(validation_freq=2), "after each epoch"),
    "steps": (lambda: trained(steps_per_epoch=2), "every sample once"),
    "epoch": (lambda: trained(epoch=2), "did you mean epochs="),
    "by position": (
        lambda: new_model().fit(X, Y, 32),  # type: ignore[call-arg]
        "takes 2 .*epochs=, batch_size=",
    ),  # type: ignore[misc]
    "no y": (lambda: new_model().fit(X), r"^fit needs y\.$"),
    "activation": (
        lambda: cr.Dense(8, activation="relu"),  # type: ignore[call-arg]
        r"^Dense has no argument 'activation': .*Sequential\(Dense\(8\), Tanh",
    ),
    "inputs and units": (
        lambda: cr.Dense(3, 4),  # type: ignore[arg-type]
        r"units alone; got 3 and 4.*Dense\(4\)",
    ),
    "a device": (lambda: new_model().to("cuda"), "backend='torch', device='cuda'"),  # type: ignore[arg-type]
    "another library": (
        lambda: cr.Model(cr.Dense(1), backend="tensorflow"),  # type: ignore[arg-type]
        "Take 'jax'",
    ),
    "second place": (lambda: cr.Dense(8, "relu"), "bias .*'relu'.*activation is a lay"),  # type: ignore[arg-type]
    "input_shape": (lambda: cr.Dense(8, input_shape=(2,)), "leave it out: the first f"),  # type: ignore[call-arg]
    "input_dim": (lambda: cr.Dense(8, input_dim=2), "leave it out: the first fit"),  # type: ignore[call-arg]
    "name": (lambda: cr.Tanh(name="t"), "^Tanh has no argument 'name'"),  # type: ignore[call-arg]
    "p": (lambda: cr.Dropout(p=0.5), "^Dropout has no argument 'p': write rate="),  # type: ignore[call-arg]
    "lr": (lambda: cr.Adam(lr=1e-3), "^Adam has no argument 'lr': write learning_rate"),  # type: ignore[call-arg]
    "betas": (lambda: cr.AdamW(betas=(0.9, 0.99)), "write beta_1= and beta_2="),  # type: ignore[call-arg]
    "eps": (lambda: cr.RMSprop(eps=1e-3), "write epsilon="),  # type: ignore[call-arg]
    "nesterov": (lambda: cr.SGD(0.1, 0.9, "no"), "^SGD: nesterov must be True or F"),  # type: ignore[arg-type]
    "epsilon_hat": (lambda: cr.Adam(epsilon_hat="no"), "epsilon_hat must be True or"),  # type: ignore[arg-type]
    "MLP": (lambda: cr.MLP(32, 1), r"units must be a sequence such as \(32, 32, 1\)"),  # type: ignore[arg-type]
    "MLP hidden": (lambda: cr.MLP(hidden_layer_sizes=(3,)), "write units="),  # type: ignore[call-arg]
    "Model lr": (lambda: new_model(lr=1e-3), "^Model has no argument 'lr'.*optimizer="),
    "Model epochs": (lambda: new_model(epochs=3), "'epochs': it belongs to fit"),
    "Model by position": (
        lambda: cr.Model(cr.MLP((1,)), "mse"),  # type: ignore[misc]
        "^Model takes 1 argument by position; got 2. Name the others: loss=",
    ),
    "layers": (lambda: cr.Model([cr.Dense(1)]), r"Sequential\(\*layers\)"),  # type: ignore[arg-type]
    "loss class": (lambda: new_model(loss=losses.Huber), r"Write Huber\("),
    "optimizer class": (lambda: new_model(optimizer=cr.Adam), r"Write Adam\("),
    "bce": (
        lambda: new_model(loss="bce"),
        "'binary_cross_entropy', which takes logits",
    ),
    "keras bce": (lambda: new_model(loss="binary_crossentropy"), "without Sigmoid"),
    "keras cce": (
        lambda: new_model(loss="categorical_crossentropy"),
        "without Softmax",
    ),
    "sparse": (
        lambda: new_model(loss="sparse_categorical_crossentropy"),
        "'cross_entropy', which takes logits",
    ),
    "xavier": (
        lambda: cr.Dense(2, kernel_initializer="xavier_uniform"),  # type: ignore[arg-type]
        "Write 'glorot_uniform'",
    ),
    "momentum": (
        lambda: new_model(optimizer="momentum"),
        r"Write chainrule\.SGD\(1e-2, momentum=0\.9\)",
    ),
    "reduction": (lambda: losses.Huber(reduction="sum"), "it is a mean"),  # type: ignore[call-arg]
    "early stopping": (lambda: cr.Checkpoint("it", best="no"), "best must be True or"),  # type: ignore[arg-type]
    "save_best_only": (
        lambda: cr.Checkpoint("it", save_best_only=True),  # type: ignore[call-arg]
        "^Checkpoint has no argument 'save_best_only': write best=",
    ),
    "callback's verbose": (
        lambda: cr.EarlyStopping(verbose=1),  # type: ignore[call-arg]
        "^EarlyStopping has no argument 'verbose'",
    ),
    "predict batch_size": (
        lambda: new_model().predict(X, batch_size=3),  # type: ignore[call-overload]
        "^predict has no argument 'batch_size': leave it out",
    ),
    "evaluate verbose": (
        lambda: new_model().evaluate(X, Y, verbose=0),  # type: ignore[call-arg]
        "^evaluate has no argument 'verbose': leave it out",
    ),
    "evaluate without y": (lambda: new_model().evaluate(X), "^evaluate needs y"),  # type: ignore[call-arg]
    "jacobian of nothing": (lambda: new_model().jacobian(), "^jacobian needs x"),  # type: ignore[call-overload]
    "covariance": (
        lambda: new_model().parameter_covariance(X, Y, cov=1),  # type: ignore[call-arg]
        "^parameter_covariance has no argument 'cov'",
    ),
    "input_shape of build": (
        lambda: new_model().build(input_shape=(2,)),  # type: ignore[call-arg]
        "^build has no argument 'input_shape': write sample_shape=",
    ),
    "filepath": (
        lambda: new_model().save(filepath="it"),  # type: ignore[call-arg]
        "^save has no argument 'filepath': write path=",
    ),
    "map_location": (
        lambda: cr.load("it", map_location="cpu"),  # type: ignore[call-arg]
        "^load has no argument 'map_location': write device=",
    ),
    "a model is called": (lambda: new_model()(X), r"call predict\(x\)"),
    "features of LayerNorm": (lambda: cr.LayerNorm(16), "number of features is left"),
    "features of BatchNorm": (
        lambda: cr.BatchNorm(0.1, 16),
        "number of features is left out",
    ),
    "a loss without options": (
        lambda: losses.SquaredError(reduction="sum"),  # type: ignore[call-arg]
        "^SquaredError has no argument 'reduction': .* it is a mean",
    ),
    "a loss by position": (
        lambda: losses.Poisson(True),  # type: ignore[call-arg]
        "^Poisson takes 0 arguments by position; got 1",
    ),
    "a callback without options": (
        lambda: cr.callbacks.Callback(3),  # type: ignore[call-arg]
        "^Callback takes 0 arguments",
    ),
    "restore": (
        lambda: cr.EarlyStopping(restore_best_weights=1),  # type: ignore[arg-type]
        "restore_best_weights must be True or False",
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_to_write(case: str) -> None:
    call, match = TOLD[case]
    with pytest.raises(cr.ChainruleError, match=match):
        call()


@pytest.mark.parametrize("case", [k for k in TOLD if "has no" in TOLD[k][1]])
def test_an_unknown_keyword_stays_a_type_error(case: str) -> None:
    with pytest.raises(TypeError):
        TOLD[case][0]()


def test_a_list_of_layers() -> None:
    parts = [cr.Dense(3), cr.Tanh(), cr.Dense(1)]
    assert cr.Sequential(parts) == cr.Sequential(*parts) == cr.Sequential(tuple(parts))
    with pytest.raises(cr.ArgumentError, match="at least one layer"):
        cr.Sequential([])
    with pytest.raises(cr.ArgumentTypeError, match=r"write Tanh\(\)"):
        cr.Sequential([cr.Dense(1), cr.Tanh])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("owner", "name", "match"),
    [
        (cr, "Linear", r"^module 'chainrule' has no .*take chainrule\.Dense\(units\)"),
        (cr, "BatchNorm1d", r"BatchNorm\(\)"),
        (cr, "nn", "own names"),
        (cr, "Desne", "Did you mean 'Dense'"),
        (
            cr.layers,
            "Linear",
            r"'chainrule\.layers' has no .*chainrule\.Dense\(units\)",
        ),
        (cr.losses, "MSELoss", r"SquaredError\(\)"),
        (cr.optimizers, "Adma", "Did you mean 'Adam'"),
        (cr.schedules, "CosineAnnealingLR", r"CosineDecay\(rate, decay_steps\)"),
        (cr.schedules, "CosineAnnealingWarmRestarts", r"CosineRestarts\(rate, first"),
        (cr.schedules, "OneCycleLR", r"OneCycle\(max_learning_rate, steps\)"),
        (cr.metrics, "Accuracy", "Did you mean 'accuracy'"),
        (cr.callbacks, "ModelCheckpoint", r"chainrule\.Checkpoint\(path\)"),
        (cr.callbacks, "LearningRateScheduler", "a schedule: "),
        (new_model(), "compile", r"^Model has no attribute 'compile'; hand loss="),
        (new_model(), "state_dict", r"get_weights\(\)"),
        (new_model(), "pedict", "Did you mean 'predict'"),
        (new_model(), "_anything", "^Model has no attribute '_anything'.$"),
    ],
)
def test_attributes_of_others(owner: Any, name: str, match: str) -> None:
    assert not hasattr(owner, name)
    with pytest.raises(AttributeError, match=match):
        getattr(owner, name)


def test_what_is_advised_is_there() -> None:
    told = [
        *(text for table in words.ADVICE.values() for text in table.values()),
        *(text for table in words.KEYWORDS.values() for text in table.values()),
        *words.ATTRIBUTES.values(),
        *words.METHODS.values(),
    ]
    for text in told:
        for path in re.findall(r"chainrule\.([A-Za-z]\w*(?:\.[A-Za-z]\w*)*)", text):
            if path.startswith("sklearn") and not here("sklearn"):
                continue
            found: Any = cr
            for name in path.split("."):
                __import__("chainrule.sklearn") if name == "sklearn" else None
                found = getattr(found, name)
    for name in words.METHODS:
        assert not hasattr(cr.Model, name)
    for name in words.ATTRIBUTES:
        assert name not in cr.__all__


def test_advice_on_keywords_names_arguments_that_there_are() -> None:
    estimator = estimators().MLPRegressor
    owners = {
        "fit": cr.Model.fit,
        "MLP": cr.MLP,
        "MultilayerPerceptron": estimator,
    }
    for owner, table in words.KEYWORDS.items():
        thing: Any = owners.get(owner) or getattr(cr, owner, None)
        thing = thing or getattr(cr.Model, owner, None)
        thing = thing or getattr(losses, owner, None)
        thing = thing or getattr(optimizers, owner, None) or cr.callbacks.Callback
        names = set(inspect.signature(thing).parameters)
        assert not names & set(table), owner
        for text in table.values():
            if match := re.match(r"write (\w+)=(?: and (\w+)=)?", text):
                if "of fit" in text or "of Model" in text or "of the op" in text:
                    continue
                wanted = {name for name in match.groups() if name}
                if owner in ("Optimizer", "Loss"):
                    names |= set(inspect.signature(cr.Adam).parameters)
                    names |= set(inspect.signature(losses.CrossEntropy).parameters)
                assert wanted <= names, (owner, text)


def test_signatures_stay_what_they_are() -> None:
    assert list(inspect.signature(cr.Dense).parameters)[:2] == ["units", "bias"]
    assert list(inspect.signature(cr.Model).parameters)[:2] == ["network", "loss"]
    assert list(inspect.signature(cr.Model.fit).parameters)[:3] == ["self", "x", "y"]
    assert not inspect.signature(cr.losses.SquaredError).parameters


def test_networks_of_others() -> None:
    here("torch") or pytest.skip("needs torch")
    import torch

    with pytest.raises(cr.ArgumentTypeError, match=r"one of PyTorch's; take chainr"):
        cr.Model(torch.nn.Linear(2, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LIBRARIES)
def test_aliases_train_the_same(name: Any) -> None:
    others: tuple[Any, ...] = ("swish", "mse", "Adam")
    one, two = (
        cr.Model(cr.MLP((3, 1), act), loss=loss, optimizer=opt, **backend(name))
        for act, loss, opt in (others, ("silu", "squared_error", "adam"))
    )
    assert one.fit(X, Y, epochs=2) == two.fit(X, Y, epochs=2)
