"""What PyTorch traces is the step; what it cannot trace runs uncompiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.config.choices import ActivationName

from tests.support.compiled import X, Y, fit, model, needs_torch, plain


class Looking(cr.losses.SquaredError):
    """Looks at a value, which no traced function can."""

    def __call__(self, z: Any, t: Any, *rest: Any, **more: Any) -> Any:
        if float(t[0, 0]) > 1e9:
            raise AssertionError
        return super().__call__(z, t, *rest, **more)


class Unhashable(cr.losses.SquaredError):
    """Cannot be a key."""

    __hash__ = None  # type: ignore[assignment]


ACTIVATIONS: list[ActivationName] = [
    "celu",
    "elu",
    "exp",
    "gelu",
    "gelu_tanh",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "identity",
    "leaky_relu",
    "log_softmax",
    "mish",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]

OPTIMIZERS = (cr.SGD, cr.Adam, cr.AdamW, cr.RMSprop, cr.Adagrad, cr.NAdam, cr.Lion)

TRACED: dict[str, dict[str, Any]] = {
    **{name: {"network": cr.MLP((4, 2), name)} for name in ACTIVATIONS},
    **{
        optimizer.__name__: {
            "network": cr.MLP((4, 2)),
            "members": 2,
            "optimizer": optimizer((1e-2, 2e-2), weight_decay=0.1, clip_norm=0.1),
        }
        for optimizer in OPTIMIZERS
    },
    **{
        name: {"network": cr.MLP((4, 2)), "loss": name}
        for name in ("absolute_error", "huber", "quantile", "poisson")
    },
    "layers": {
        "network": cr.Sequential(
            cr.Dense(4),
            cr.LayerNorm(),
            cr.Residual(cr.Dense(4)),
            cr.Dropout(0.5),
            cr.Dense(2),
        )
    },
}


@needs_torch
@pytest.mark.parametrize("case", TRACED)
def test_what_is_traced_is_the_step(made: Any, case: str) -> None:
    """Of all that there is: nothing is left to a fallback."""
    found = []
    for choice in (True, None):
        m = model(**TRACED[case], jit_compile=choice)
        fit(m, np.abs(Y))
        found.append(m.get_weights()[0])
    assert len(made) == 2
    # A scalar is a tensor here, a number there: the last bits may differ.
    np.testing.assert_allclose(found[0], found[1], rtol=1e-11, atol=1e-13)


@needs_torch
def test_slopes_are_traced(made: Any) -> None:
    m, other = plain(), plain()
    other.jit_compile = None
    for one in (m, other):
        fit(one, slopes=np.zeros((40, 2, 3)))
    assert len(made) == 2
    np.testing.assert_array_equal(m.theta, other.theta)


@needs_torch
def test_a_loss_without_a_hash_is_known_by_what_it_holds(made: Any) -> None:
    m, other = (model(cr.MLP((2,)), loss=Unhashable()) for _ in range(2))
    other.jit_compile = None
    for _ in range(2):
        fit(m)
    fit(other, epochs=4)
    assert len(made) == 2  # for batches of 16 and of 8, once
    np.testing.assert_array_equal(m.theta, other.theta)


@needs_torch
def test_what_cannot_be_traced_runs_uncompiled(made: Any) -> None:
    m, other = model(cr.MLP((2,)), loss=Looking()), model(cr.MLP((2,)))
    other.jit_compile = None
    for _ in range(2):  # each fit says it, once
        with pytest.warns(cr.ChainruleWarning, match="could not compile") as seen:
            m.fit(X, Y, epochs=2, batch_size=16, progress=False)
        assert [Path(w.filename).name for w in seen] == [Path(__file__).name]
    fit(other, epochs=4)
    np.testing.assert_array_equal(m.theta, other.theta)
    assert not made


@needs_torch
def test_members_with_rates_of_their_own_run_uncompiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And memory that did not suffice once is asked for again by the next fit."""
    import torch

    from chainrule.backends.torch import compiled

    def exhausted(*_: Any) -> Any:
        calls.append(1)
        raise torch.OutOfMemoryError

    calls: list[int] = []
    monkeypatch.setattr(compiled, "_compile", exhausted)
    rates = cr.Adam((0.1, 0.2), beta_1=0.77)
    several = {"optimizer": rates, "members": 2}
    m, other = (model(cr.MLP((2,)), **several) for _ in range(2))
    other.jit_compile = None
    for k in (1, 2):
        with pytest.warns(cr.ChainruleWarning, match="OutOfMemoryError"):
            fit(m)
        assert len(calls) >= k
    fit(other, epochs=4)
    np.testing.assert_array_equal(m.theta, other.theta)


@needs_torch
def test_a_recorded_step_works_at_its_own_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CUDA graphs, with a stand-in that repeats what it saw; a GPU's are below."""
    import contextlib

    import torch

    from chainrule.backends.torch.compiled import _recorded

    seen: list[Any] = []

    class Graph:
        def replay(self) -> None:
            a, b, out = seen[-1]
            a.mul_(2)
            out.copy_((a * b).sum())

    class Stream:
        def wait_stream(self, other: Any) -> None:
            pass

    def run(a: Any, b: Any) -> Any:
        a.mul_(2)
        seen.append((a, b, (a * b).sum()))
        return seen[-1][-1:]

    def nothing(*_: Any, **__: Any) -> Any:
        return contextlib.nullcontext()

    for name, value in {
        "CUDAGraph": Graph,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": nothing,
        "graph": nothing,
        "device": nothing,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    a, b = torch.ones(3), torch.arange(3.0)
    replay = _recorded(run, [a, b])
    np.testing.assert_array_equal(a, np.ones(3))  # making it changes nothing
    outs = [replay(a, b)[0], replay(a, b + 1)[0]]
    assert [float(v) for v in outs] == [6.0, 24.0]
    np.testing.assert_array_equal(a, np.full(3, 4.0))
    np.testing.assert_array_equal(b, np.arange(3.0))
    other = torch.full((3,), 10.0)
    assert float(replay(other, b)[0]) == 60.0
    np.testing.assert_array_equal(a, np.full(3, 4.0))
