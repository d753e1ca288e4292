"""Backends compared with one another, and the whole proof as a command."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import array_api_strict
import numpy as np
import pytest

import chainrule as cr
from chainrule import backends, optimizers
from chainrule.arrays import random
from chainrule.errors import ArgumentError, ArgumentTypeError, BackendError
from chainrule.network import Network
from chainrule.testing import Comparison, cases, compare_backends, proof
from chainrule.testing.__main__ import main

from tests.support.libraries import STRICT_DEVICE, here
from tests.support.models import standing

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 3)), RNG.normal(size=(12, 2))
STRICT = backends.get(array_api_strict, STRICT_DEVICE)
NETWORK = cr.Sequential(
    cr.Dense(4), cr.Tanh(), cr.Sequential(cr.Residual(cr.Dense(4)), cr.Dense(2))
)


def compare(
    target: Any = NETWORK, others: Any = (STRICT,), **options: Any
) -> Comparison:
    """Compare with NumPy, in few steps."""
    options = {"steps": 6, "batch_size": 6} | options
    return compare_backends(target, X, Y, ["numpy", *others], **options)


def test_backends_agree_and_the_table_says_where_it_looked() -> None:
    found = compare()
    assert found.ok
    assert found.backends == ("numpy", "array_api_strict")
    where = [(d.stage, d.where) for d in found.differences if d.dtype == "float64"]
    assert where == [
        ("forward", "0 Dense"),
        ("forward", "1 Tanh"),
        ("forward", "2.0.layer Dense"),
        ("forward", "2.0 Residual"),
        ("forward", "2.1 Dense"),
        ("forward", "loss"),
        ("gradient", "0.weight"),
        ("gradient", "0.bias"),
        ("gradient", "2.0.layer.weight"),
        ("gradient", "2.0.layer.bias"),
        ("gradient", "2.1.weight"),
        ("gradient", "2.1.bias"),
        ("training", "parameters"),
        ("training", "loss of 3 epochs"),
        ("training", "output of a training pass"),
        ("training", "prediction"),
    ]
    assert {d.dtype for d in found.differences} == {"float32", "float64"}


@pytest.mark.parametrize("name", [n for n in ("jax", "torch") if here(n)])
def test_other_libraries_agree(name: str) -> None:
    parts = cr.BatchNorm(), cr.Dropout(0.2), cr.Dense(2)
    # The bias before the norm has exactly no gradient: all is compared.
    found = compare(cr.Sequential(cr.Dense(4), *parts), [name])
    assert found.ok
    assert {"parameters", "prediction"} <= {d.where for d in found.differences}
    # This one's is zero but for rounding, of which Adam makes steps.
    found = compare(cr.Sequential(cr.Dense(4), cr.LeakyReLU(1.0), *parts), [name])
    assert found.ok
    places = {d.where for d in found.differences}
    assert "parameters, 1 without a gradient left out" in places
    assert "prediction" not in places


def test_all_that_are_here_by_default() -> None:
    available = backends.available()
    if len(available) < 2:
        with pytest.raises(ArgumentError, match="at least two backends; got numpy"):
            compare_backends(NETWORK, X, Y, steps=0)
        return
    found = compare_backends(cr.Dense(2), X, Y, steps=0, dtypes="float32")
    assert found.backends == tuple(available)
    assert set(found.missing) == set(available.missing)
    assert all(f"not here: {name}" in str(found) for name in found.missing)


def test_it_prints_as_a_table_and_turns_into_json() -> None:
    found = compare(cr.Dense(2), dtypes=("float64",), steps=0)
    lines = str(found).splitlines()
    assert lines[0].split() == [
        *("dtype", "stage", "where", "numpy", "-", "array_api_strict", "allowed")
    ]
    assert lines[1].startswith("float64  forward   Dense")
    assert lines[-1].startswith("the backends agree: worst")
    page = found._repr_html_()
    assert page.count("<tr>") == 1 + len(found.differences)
    assert json.loads(json.dumps(found.to_dict()))["ok"] is True


class Off(cr.Layer):
    """z = x, or a little more where the namespace is not NumPy's."""

    def forward(self, params: Any, x: Any, context: Any) -> Any:
        more = 1.0 if context.xp.module is np else 1.0 + 1e-3

        def pullback(dz: Any, dx: bool = True, dp: bool = True) -> Any:
            return (dz if dx else None), ()

        return x * more, pullback

    def __init__(self, *, trainable: bool = True) -> None:
        self._configure(trainable)


def test_a_disagreement_is_found_where_it_arises() -> None:
    found = compare(cr.Sequential(cr.Dense(4), cr.Tanh(), Off(), cr.Dense(2)))
    assert not found.ok
    first = next(d for d in found.differences if not d.ok)
    assert (first.stage, first.where) == ("forward", "2 Off")
    assert first.difference == pytest.approx(1e-3, rel=1e-2)
    assert found.worst.dtype == "float64"
    assert found.largest.difference >= first.difference
    assert "THE BACKENDS DISAGREE" in str(found)
    assert " !" in str(found)
    assert found.to_dict()["ok"] is False


def test_a_trained_disagreement_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = optimizers.SGD.update

    def wrong(self: Any, xp: Any, s: Any, g: Any, *rest: Any) -> Any:
        return right(self, xp, s, g if xp.module is np else 1.01 * g, *rest)

    monkeypatch.setattr(optimizers.SGD, "update", wrong)
    found = compare(optimizer=cr.SGD(0.1))
    assert {d.stage for d in found.differences if not d.ok} == {"training"}


def test_nan_and_shapes_do_not_agree() -> None:
    from chainrule.testing.agreement import _gap

    assert _gap([1.0, np.nan], [1.0, 2.0]) == np.inf
    assert _gap([1.0, np.nan], [1.0, np.nan]) == 0.0
    assert _gap([1.0], [1.0, 1.0]) == np.inf
    assert _gap([2.0, 4.0], [2.0, 5.0]) == 0.25


def test_a_model_brings_its_own_and_stays_as_it_is() -> None:
    model = cr.Model(NETWORK, loss="huber", optimizer=cr.SGD(0.1), seed=3)
    model.fit(X, Y, epochs=2, progress=False)
    before, step = model.get_weights()[0].copy(), standing(model).step
    found = compare(model)
    assert found.ok
    np.testing.assert_array_equal(model.get_weights()[0], before)
    assert standing(model).step == step
    assert compare(Network(NETWORK, (3,))).ok


def test_bad_arguments() -> None:
    with pytest.raises(ArgumentError, match="at least two backends; got numpy"):
        compare_backends(NETWORK, X, Y, "numpy")
    with pytest.raises(ArgumentTypeError, match="takes a model, a layer or a network"):
        compare(3)
    if not here("cupy"):
        with pytest.raises(BackendError, match="cupy"):
            compare(NETWORK, ["cupy"])


# The command
# -----------------------------------------------------------------------------


def test_the_whole_proof_on_numpy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    # L-BFGS is SciPy's.
    count = len(proof.tasks()) - (not here("scipy"))
    assert f"numpy: {count} of {count} hold" in out
    assert "everything holds" in out
    row = next(line for line in out.splitlines() if line.strip().startswith("dense  "))
    assert row.split() == ["dense", "pswdlt--"]


@pytest.mark.parametrize(
    "name", ["array_api_strict", *[n for n in ("jax", "torch") if here(n)]]
)
def test_the_command_on_others(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["--only", "softplus", "--only", "dense, no bias", "--only", "nadam"]
    assert main(["--backend", name, *only, "--only", "bit for bit"]) == 0
    out = capsys.readouterr().out
    assert f"{name}: 6 of 6 hold" in out
    cell = "ps-d--ca" if name == "jax" else "ps-dlt-a"
    row = next(line for line in out.splitlines() if line.startswith("  softplus"))
    assert row.split() == ["softplus", cell]


def test_a_wrong_rule_fails_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cases.RULES["tanh"]

    def wrong(x: Any, *, xp: Any = None) -> Any:
        z, pullback = case.rule(x, xp=xp)
        return z, lambda dz: (1.001 * pullback(dz)[0],)

    monkeypatch.setitem(cases.RULES, "tanh", case._replace(rule=wrong))
    monkeypatch.setattr("chainrule.testing.cases.unlisted", lambda: {"rules": ["new"]})
    assert main(["--backend", "numpy", "--only", "tanh"]) == 1
    out = capsys.readouterr().out
    assert (
        "FAILED tanh on numpy: wrong: the gradient of argument 0 (x) disagrees" in out
    )
    assert "FAILED new: public, but not in the registry" in out
    assert "SOMETHING FALLS SHORT" in out
    row = next(line for line in out.splitlines() if line.startswith("  tanh"))
    assert "!" in row


def test_what_crashes_falls_short(monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases.RULES["tanh"]
    crash = case._replace(rule=lambda x, *, xp=None: 1 / 0)
    monkeypatch.setitem(cases.RULES, "tanh", crash)
    (task,) = (t for t in proof.tasks(["tanh"]) if t.name == "tanh")
    result = proof.prove(task, "numpy", backends.get("numpy"))
    assert result.failure is not None
    assert result.failure.startswith("ZeroDivisionError")


def test_a_disagreement_falls_short(monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases.RULES["tanh"]

    def off(x: Any, *, xp: Any) -> Any:
        z, pullback = case.rule(x, xp=xp)
        more = 1.0 if xp.module is np else 1.0 + 1e-6
        return z * more, lambda dz: (more * pullback(dz)[0],)

    monkeypatch.setitem(cases.RULES, "tanh", case._replace(rule=off))
    task = next(t for t in proof.tasks(["tanh"]) if t.kind == "rules")
    result = proof.prove(task, "strict", STRICT)
    assert result.failure is not None
    assert "the value in float64 with leading axes is not NumPy's" in result.failure
    assert proof.prove(task, "numpy", backends.get("numpy")).failure is None


@pytest.mark.parametrize("name", ["threefry", "bit for bit", "SGD, momentum"])
def test_other_numbers_fall_short(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (task,) = proof.tasks([name])
    assert proof.prove(task, "strict", STRICT).failure is None
    right, update = random.threefry, optimizers.SGD.update

    def wrong(key: Any, counter: Any, *, xp: Any = None) -> Any:
        a, b = right(key, counter, xp=xp)
        return (a, b) if xp is None or xp.module is np else (b, a)

    def faster(self: Any, xp: Any, s: Any, g: Any, *rest: Any) -> Any:
        return update(self, xp, s, g if xp.module is np else 1.01 * g, *rest)

    monkeypatch.setattr(random, "threefry", wrong)
    monkeypatch.setattr(optimizers.SGD, "update", faster)
    assert proof.prove(task, "strict", STRICT).failure is not None


def test_an_optimizer_that_does_not_descend_falls_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        optimizers.SGD, "update", lambda self, xp, s, g, decay, *arrays: arrays
    )
    (task,) = proof.tasks(["SGD, momentum"])
    result = proof.prove(task, "numpy", backends.get("numpy"))
    assert result.failure is not None
    assert "the loss does not fall" in result.failure


def test_the_command_says_what_it_cannot_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--only", "no such rule", "--backend", "numpy"]) == 1
    assert "nothing is called no such rule" in capsys.readouterr().err
    assert main(["--backend", "tensorflow"]) == 1
    assert "backend must be one of" in capsys.readouterr().err


def test_missing_backends_are_named_and_not_counted() -> None:
    found = proof.Proof({"cupy": "no GPU"}, [])
    assert not found.ok  # nothing was checked
    assert "cupy: not here, not counted. no GPU" in str(found)


def test_testing_is_loaded_when_it_is_asked_for() -> None:
    code = (
        "import sys, chainrule; before = 'chainrule.testing' in sys.modules; "
        "print(before, callable(chainrule.testing.check_gradients))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cr.nothing  # type: ignore[attr-defined]
