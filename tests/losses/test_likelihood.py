"""Losses of a distribution as configuration: heads, targets, spreads, draws."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import losses, rules
from chainrule.losses import (
    GaussianNLL,
    Loss,
    MixtureDensity,
    NegativeBinomial,
    StudentT,
)

from tests.support.libraries import Library, need

NAMES: dict[str, type[Loss]] = {
    "gaussian_nll": GaussianNLL,
    "student_t": StudentT,
    "negative_binomial": NegativeBinomial,
    "mixture_density": MixtureDensity,
}
LOSSES: list[Loss] = [
    GaussianNLL(),
    GaussianNLL(0.5),
    StudentT(4.5),
    StudentT(None),
    NegativeBinomial(),
    NegativeBinomial(0.3),
    MixtureDensity(1),
    MixtureDensity(3),
]
each = pytest.mark.parametrize("loss", LOSSES, ids=repr)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", NAMES)
def test_names(name: Any) -> None:
    loss = losses.get(name)
    assert type(loss) is NAMES[name]
    assert loss.name == name
    assert loss.has_spread
    assert pickle.loads(pickle.dumps(loss)) == loss
    assert loss.rule is getattr(rules, name)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: GaussianNLL(-0.1), r"^GaussianNLL: beta .*\[0, 1\]; got -0.1"),
        (lambda: GaussianNLL(1.1), r"^GaussianNLL: beta .*got 1.1"),
        (lambda: StudentT(0.0), "^StudentT: df .*above 0; got 0.0"),
        (lambda: StudentT(math.inf), "^StudentT: df .*got inf"),
        (lambda: NegativeBinomial(0.0), "^NegativeBinomial: dispersion .*got 0"),
        (lambda: MixtureDensity(0), "^MixtureDensity: components .*got 0"),
        (lambda: MixtureDensity(2.5), "^MixtureDensity: components .*got 2.5"),  # type: ignore[arg-type]
    ],
    ids=range(7),
)
def test_bad_options(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(cr.ChainruleError, match=match):
        make()


@pytest.mark.parametrize("columns", [1, 3])
@each
def test_targets_have_their_own_width(loss: Loss, columns: int, lib: Library) -> None:
    units, y = loss.units(columns), lib.array(np.ones((4, columns)))
    assert loss.target(y, (units,), xp=lib.xp).shape == (4, columns)
    for shape in ((units + 1,), (units - 1,), ()):
        with pytest.raises(cr.ShapeError, match=f"^loss: .*units={units}.$"):
            loss.target(y, shape, xp=lib.xp)
    if columns == 1:  # a flat target is a column, and never broadcast
        flat = lib.array(np.ones(4))
        assert loss.target(flat, (units,), xp=lib.xp).shape == (4, 1)
    long = lib.array(np.ones((4, 5, columns)))
    assert loss.target(long, (5, units), xp=lib.xp).shape == (4, 5, columns)
    with pytest.raises(cr.ShapeError, match=r"^y must have samples of shape \("):
        loss.target(long, (4, units), xp=lib.xp)


def test_variance_heads_of_the_wrong_width() -> None:
    x, y = RNG.normal(size=(8, 2)), RNG.normal(size=(8, 3))
    model = cr.Model(cr.MLP((4, 4)), loss="gaussian_nll")
    match = (
        r"^loss: gaussian_nll needs a last layer of 6 units for targets of 3 columns: "
        r"first means, then log-variances, each of 3 columns. The network's output is "
        r"\(4,\). Give its last layer units=6.$"
    )
    with pytest.raises(cr.ShapeError, match=match):
        model.fit(x, y, epochs=1)


def test_counts_are_not_negative() -> None:
    with pytest.raises(cr.ArgumentError, match="not be negative for negative_binomial"):
        NegativeBinomial().target(np.array([1.0, -1.0]), (2,), xp=np)


def _outputs(loss: Loss, rows: int, columns: int) -> Any:
    return 0.5 * np.random.default_rng(1).normal(size=(rows, loss.units(columns)))


@pytest.mark.parametrize("members", [(), (2,)], ids=["one", "members"])
@each
def test_sequences_are_rows(loss: Loss, members: tuple[int, ...], lib: Library) -> None:
    batch, time, m = 4, 3, 2
    z = np.stack([_outputs(loss, batch * time, m) * (1 + i) for i in range(2)])
    z = z.reshape(2, batch, time, -1) if members else z[0].reshape(batch, time, -1)
    t = np.random.default_rng(2).integers(0, 5, (batch, time, m)).astype(float)
    w = np.array([1.0, 0.0, 2.0, 0.5])
    z_, t_, w_ = (lib.array(a) for a in (z, t, w))
    value, pull = loss(z_, t_, w_, z.shape[-2:], xp=lib.xp)
    options = {name: getattr(loss, name) for name in loss.options}
    want, back = type(loss).rule(
        z.reshape(*members, batch * time, -1),
        t.reshape(batch * time, m),
        np.repeat(w, time),
        **options,
    )
    np.testing.assert_allclose(lib.host(value), want, rtol=1e-12)
    np.testing.assert_allclose(
        lib.host(pull()[0]), back()[0].reshape(z.shape), rtol=1e-10, atol=1e-14
    )


@each
def test_mean_and_spread_are_those_of_the_draws(loss: Loss, lib: Library) -> None:
    z = _outputs(loss, 3, 2)
    if isinstance(loss, StudentT) and loss.df is None:
        z[:, 4:] = 2.0  # tails that a mean square forgives
    mean, variance = (lib.host(a) for a in loss.spread(lib.array(z), xp=lib.xp))
    np.testing.assert_allclose(lib.host(loss.mean(lib.array(z), xp=lib.xp)), mean)
    generator = np.random.default_rng(3)
    draws = loss.draw(np.repeat(z[None], 200_000, axis=0), generator)
    assert draws.shape == (200_000, 3, 2)
    np.testing.assert_allclose(
        draws.mean(axis=0), mean, atol=6 * np.sqrt(variance.max() / 200_000)
    )
    np.testing.assert_allclose(draws.var(axis=0), variance, rtol=0.15)


@pytest.mark.parametrize(
    "loss", [GaussianNLL(), StudentT(None), MixtureDensity(3)], ids=repr
)
def test_draws_have_the_losss_density(loss: Loss) -> None:
    """A histogram of draws against exp(-loss)."""
    need("scipy")
    z = _outputs(loss, 1, 1)
    draws = loss.draw(np.repeat(z, 200_000, axis=0), np.random.default_rng(4))[:, 0]
    edges = np.linspace(-2.0, 2.0, 21)
    found, _ = np.histogram(draws, edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    xp: Any = np
    density = [
        np.exp(-loss(z, np.full((1, 1), v), None, z.shape[1:], xp=xp)[0])
        for v in middle
    ]
    wanted = np.array(density) * 0.2 * 200_000
    np.testing.assert_allclose(found, wanted, rtol=0.1, atol=300)


def test_few_degrees_of_freedom_have_no_variance() -> None:
    z = np.zeros((1, 2))
    assert np.isinf(StudentT(2.0).spread(z, xp=np)[1])
    assert StudentT(4.0).spread(z, xp=np)[1] == 2.0


def test_estimators_refuse_several_heads() -> None:
    sklearn = pytest.importorskip("chainrule.sklearn")
    x, y = RNG.normal(size=(8, 2)), RNG.normal(size=8)
    with pytest.raises(cr.ArgumentError, match=r"one output for each target.*needs 2"):
        sklearn.MLPRegressor(loss=GaussianNLL()).fit(x, y)
