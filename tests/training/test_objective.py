"""Objectives: value and gradient of parts, by shares of mass, are those of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.arrays.share import Fraction
from chainrule.network import Network
from chainrule.training.objective import LossObjective, Objective
from chainrule.training.slopes import SlopeObjective

RNG = np.random.default_rng(3)
N = 7
X = RNG.normal(size=(N, 2))
T = RNG.normal(size=(N, 3))
LABELS = RNG.integers(0, 3, N).astype("int32")
S = RNG.normal(size=(N, 3, 2))
W = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 0.0, 3.0])
PARTS = [slice(0, 3), slice(3, 4), slice(4, N)]
NETWORK = Network(cr.Sequential(cr.Dense(4), cr.Tanh(), cr.Dense(3)), (2,))
THETA = np.random.default_rng(1).normal(size=NETWORK.size)
WEIGHTED = cr.losses.CrossEntropy(class_weight=(1.0, 2.0, 0.5))

CASES: dict[str, tuple[Objective, tuple[Any, ...]]] = {
    "loss": (LossObjective(cr.losses.Huber()), (X, T)),
    "classes": (LossObjective(WEIGHTED), (X, LABELS)),
    "slopes": (SlopeObjective(cr.losses.SquaredError(), 0.7), (X, T, S)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weight", [None, W], ids=["plain", "weighted"])
@pytest.mark.parametrize("penalty", [None, 0.3])
def test_parts_add_up_to_the_whole(
    name: str, weight: Any, penalty: Any, where: dict[str, Any]
) -> None:
    engine = cr.backends.get(where["backend"], where.get("device"))
    it, (x, t, *more) = CASES[name]
    with engine.scope("float64"):

        def placed(a: Any) -> Any:
            return None if a is None else engine.asarray(a)

        f = it.build(engine, NETWORK, train=True)
        params = NETWORK.unflatten(placed(THETA), engine.xp)

        def call(part: slice, **given: Any) -> Any:
            batch = [None if a is None else placed(a[part]) for a in (x, t, weight)]
            batch += [placed(a[part]) for a in more]
            found = f(params, placed(np.zeros(0)), batch, penalty=penalty, **given)
            value = engine.to_numpy(found.value)
            gradient = engine.to_numpy(NETWORK.join(found.pieces, engine.xp))
            samples = len(x[part])
            mass = samples if found.mass is None else engine.to_numpy(found.mass)
            return value, gradient, float(mass)

        value, gradient, mass = call(slice(None))
        masses = [call(part)[2] for part in PARTS]
        assert sum(masses) == pytest.approx(mass, rel=1e-14)
        parts = [
            call(part, share=Fraction(m / mass))
            for part, m in zip(PARTS, masses, strict=True)
        ]
    np.testing.assert_allclose(sum(p[0] for p in parts), value, rtol=1e-13)
    np.testing.assert_allclose(
        sum(p[1] for p in parts), gradient, rtol=1e-10, atol=1e-13
    )


def test_they_compare_by_what_they_hold() -> None:
    loss = cr.losses.SquaredError()
    assert LossObjective(loss) == LossObjective(cr.losses.SquaredError())
    assert hash(SlopeObjective(loss, 0.5)) == hash(SlopeObjective(loss, 0.5))
    assert SlopeObjective(loss, 0.5) != SlopeObjective(loss, 1.0)
    assert SlopeObjective(loss, 0.5) != LossObjective(loss)


def test_the_plain_step_imports_no_duals() -> None:
    """What a plain fit loads of training knows nothing of slopes."""
    import ast
    from pathlib import Path

    from chainrule import training

    folder = Path(str(training.__file__)).parent
    for stem in ("objective", "step", "epoch", "minibatch", "plan"):
        text = (folder / f"{stem}.py").read_text(encoding="utf-8")
        names = {
            str(node.module)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ImportFrom)
        }
        refused = ("derivatives", "dual", "slopes")
        assert not [n for n in names if any(word in n for word in refused)]
