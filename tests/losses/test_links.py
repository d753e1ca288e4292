"""A link that would be applied twice is refused, and both ways out are right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, rules
from chainrule.layers import Activation, Layer

from tests.support.libraries import LIBRARIES, backend, estimators

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 2))
LABELS = (X[:, 0] - X[:, 1] > 0).astype(int)

TWICE: list[tuple[str, Layer]] = [
    ("binary_cross_entropy", cr.Sigmoid()),
    ("binary_cross_entropy", cr.HardSigmoid()),
    ("binary_cross_entropy", cr.Softmax()),
    ("binary_cross_entropy", cr.LogSoftmax()),
    ("binary_cross_entropy", cr.Exp()),
    ("cross_entropy", cr.Softmax()),
    ("cross_entropy", cr.Sigmoid()),
    ("cross_entropy", cr.HardSigmoid()),
    ("poisson", cr.Exp()),
    ("poisson", cr.Softplus()),
    ("poisson", cr.Sigmoid()),
]
BEHIND: list[Any] = [
    lambda end: end,
    lambda end: cr.Sequential(cr.Dense(4), end),
    lambda end: cr.Sequential(cr.Dense(4), end, cr.Flatten()),
    lambda end: cr.Sequential(cr.Dense(4), end, cr.Dropout(0.1), cr.Identity()),
    lambda end: cr.Sequential(cr.Dense(4), cr.Sequential(cr.Tanh(), cr.Dense(2), end)),
    lambda end: cr.Sequential(
        cr.Sequential(cr.Dense(2), end), cr.Sequential(cr.Flatten())
    ),
]


class Squash(Activation):
    """A layer of one's own, of the library's rule."""

    rule = staticmethod(rules.sigmoid)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy", "poisson"])
@pytest.mark.parametrize("behind", range(len(BEHIND)))
def test_refused_wherever_it_stands(loss: Any, behind: int) -> None:
    for name, end in TWICE:
        if name != loss:
            continue
        match = rf"^loss: {loss} takes .* ends in {re.escape(repr(end))}.*Leave that"
        with pytest.raises(cr.ArgumentError, match=match) as caught:
            cr.Model(BEHIND[behind](end), loss=loss)
        assert "squared_error" in str(caught.value)


def test_losses_with_options_and_layers_of_ones_own() -> None:
    for loss in (
        losses.CrossEntropy(class_weight=[1, 2]),
        losses.BinaryCrossEntropy(label_smoothing=0.1),
    ):
        with pytest.raises(cr.ArgumentError, match="ends in Squash"):
            cr.Model(cr.Sequential(cr.Dense(2), Squash()), loss=loss)


@pytest.mark.parametrize(
    ("loss", "end"),
    [
        ("cross_entropy", cr.LogSoftmax()),  # softmax of log-softmax is softmax
        ("cross_entropy", cr.Tanh()),
        ("binary_cross_entropy", cr.Identity()),
        ("binary_cross_entropy", cr.Residual(cr.Sigmoid())),
        ("poisson", cr.LogSoftmax()),
        ("squared_error", cr.Sigmoid()),
        ("squared_error", cr.Softmax()),
        ("squared_error", cr.Exp()),
        ("absolute_error", cr.Softplus()),
        ("huber", cr.Sigmoid()),
    ],
)
def test_what_is_right_is_taken(loss: Any, end: Layer) -> None:
    network = cr.Sequential(cr.Dense(2), end)
    assert cr.Model(network, loss=loss).loss == losses.get(loss)
    inside = cr.Sequential(cr.Dense(2), end, cr.Dense(2))
    assert cr.Model(inside, loss=loss).built is False


def test_an_end_of_its_own_kind() -> None:
    assert cr.Dense(2).ending == cr.Dense(2)
    assert cr.MLP((3, 2)).ending == cr.Dense(2)
    assert cr.Sequential(cr.Flatten(), cr.Dropout(0.5)).ending is None
    assert isinstance(cr.Residual(cr.Sigmoid()).ending, cr.Residual)


def test_another_loss_later() -> None:
    model = cr.Model(cr.Sequential(cr.Dense(1), cr.Sigmoid()))
    with pytest.raises(cr.ArgumentError, match="binary_cross_entropy takes logits"):
        model.loss = "binary_cross_entropy"
    assert model.loss == losses.SquaredError()
    model.loss = "absolute_error"
    assert model.loss == losses.AbsoluteError()
    with pytest.raises(cr.ArgumentTypeError, match=r"^loss must be a name"):
        model.loss = 3  # type: ignore[assignment]


@pytest.mark.parametrize("name", LIBRARIES)
def test_both_ways_out_learn(name: Any) -> None:
    """What the error says leads to a network that knows the classes."""
    hidden = (cr.Dense(8), cr.Tanh(), cr.Dense(1))
    loss: Any
    for network, loss, half in (
        (cr.Sequential(*hidden), "binary_cross_entropy", 0.0),
        (cr.Sequential(*hidden, cr.Sigmoid()), "squared_error", 0.5),
    ):
        model = cr.Model(network, loss=loss, optimizer=cr.Adam(2e-2), **backend(name))
        model.fit(X, LABELS, epochs=60)
        found = np.asarray(model.predict(X))[:, 0] > half
        assert np.mean(found == LABELS) > 0.95


def test_files_of_such_networks_are_loaded_with_a_warning(tmp_path: Path) -> None:
    model = cr.Model(cr.Sequential(cr.Dense(1), cr.Sigmoid()), backend="numpy").build(2)
    # As it could be made before.
    model.spec = model.spec.replace(loss=losses.BinaryCrossEntropy())
    model.save(tmp_path / "old")
    with pytest.warns(cr.ChainruleWarning, match="ends in Sigmoid"):
        back = cr.load(tmp_path / "old")
    assert back.loss == model.loss
    np.testing.assert_array_equal(back.predict(X), model.predict(X))


def test_estimators_refuse_such_a_network() -> None:
    sklearn = estimators()
    for units, end in ((1, cr.Sigmoid()), (1, cr.Softmax())):
        network = cr.Sequential(cr.Dense(4), cr.Tanh(), cr.Dense(units), end)
        with pytest.raises(
            cr.ArgumentError, match=f"ends in {end!r}".replace("()", r"\(")
        ):
            sklearn.MLPClassifier(network=network).fit(X, LABELS)
    network = cr.Sequential(cr.Dense(1), cr.Exp())
    with pytest.raises(cr.ArgumentError, match="applies exp itself"):
        sklearn.MLPRegressor(loss="poisson", network=network).fit(X, LABELS)
    network = cr.Sequential(cr.Dense(3), cr.Softmax())
    with pytest.raises(cr.ArgumentError, match="applies softmax itself"):
        sklearn.MLPClassifier(network=network).fit(X, LABELS + (X[:, 0] > 1))
