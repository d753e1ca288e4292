"""jit_compile=True: PyTorch's steps compiled, or a warning and steps as ever."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends

from tests.support.libraries import LIBRARIES, backend, here
from tests.support.models import host_slots

needs_torch = pytest.mark.skipif(not here("torch"), reason="needs PyTorch")
USUAL = "clang++" if sys.platform == "darwin" else "g++"
COMPILER = shutil.which(os.environ.get("CXX", USUAL))
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = np.tanh(X[:, :2])
W = RNG.uniform(0.5, 1.5, size=40)
LABELS = RNG.integers(0, 3, 40)


def plain() -> cr.Model:
    return model(cr.MLP((5, 2), activation="tanh"))


def model(network: Any, **options: Any) -> cr.Model:
    given: dict[str, Any] = {"backend": "torch", "jit_compile": True}
    return cr.Model(network, **(given | {"dtype": "float64"} | options))


def fit(m: cr.Model, y: Any = Y, epochs: int = 2, **more: Any) -> Any:
    # Batches of 16, 16 and 8.
    return m.fit(X, y, epochs=epochs, batch_size=16, progress=False, **more)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is compiled, from nothing; traced, but with Inductor left out."""
    import torch._inductor

    graphs: list[Any] = []

    def compile_(graph: Any, leaves: Any, options: Any = None) -> Any:
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch._inductor, "compile", compile_)
    from chainrule.backends.torch import compiled

    compiled._made.cache_clear()
    yield graphs
    compiled._made.cache_clear()


@needs_torch
@needs_compiler
@pytest.mark.parametrize(
    ("network", "options", "more"),
    [
        # Between them: masks, running statistics, frozen layers, weights, clipping,
        # decay, members with rates of their own, and both dtypes.
        (
            cr.Sequential(
                cr.Dense(4, trainable=False),
                cr.BatchNorm(),
                cr.Tanh(),
                cr.Dropout(0.25),
                cr.Dense(2),
            ),
            {"optimizer": cr.AdamW(1e-2, clip_norm=0.5)},
            {"sample_weight": W},
        ),
        (
            cr.MLP((4, 3)),
            {
                "members": 2,
                "optimizer": cr.SGD((0.1, 0.2), momentum=0.9, clip_norm=0.1),
                "loss": "cross_entropy",
                "dtype": "float32",
            },
            {"y": LABELS, "bootstrap": True},
        ),
    ],
    ids=["masks", "members"],
)
def test_compiled_is_what_is_not(network: Any, options: Any, more: Any) -> None:
    single = options.get("dtype") == "float32"
    found = []
    for choice in (
        {"jit_compile": True},
        {"jit_compile": None},
        {"backend": "numpy", "jit_compile": None},
    ):
        m = model(network, **(options | choice))
        losses = fit(m, **more)["loss"]
        found.append((*m.get_weights(), *host_slots(m), losses))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            tolerance = 1e-4 if single else 1e-10
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance / 10)


@needs_torch
@needs_compiler
def test_compiled_once_cut_and_resumed_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chainrule.backends.torch import compiled

    compile_, sizes = compiled._compile, []

    def count(step: Any, arguments: Any, leaves: Any) -> Any:
        sizes.append(arguments[1][0].shape[0])
        return compile_(step, arguments, leaves)

    monkeypatch.setattr(compiled, "_compile", count)
    compiled._made.cache_clear()
    whole, other = plain(), plain()
    fit(whole, epochs=4)
    assert sizes == [16, 8]
    path = tmp_path / "fit.ckpt"
    fit(other, callbacks=[cr.callbacks.Checkpoint(path, every_steps=2)])
    again = plain()
    fit(again, epochs=4, resume=path)
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sizes == [16, 8]
    loaded = cr.load(path, backend="torch")
    assert loaded.jit_compile is None
    other.jit_compile = None
    with pytest.raises(cr.ResumeError, match="jit_compile was True and is nothing"):
        fit(other, epochs=4, resume=path)


@needs_torch
def test_without_a_compiler_a_warning_and_the_same_fit(tmp_path: Path) -> None:
    code = """
import warnings, numpy as np, chainrule as cr
x = np.linspace(-1, 1, 20)[:, None]
found = []
for choice in (True, None):
    m = cr.Model(cr.MLP((3, 1)), backend="torch", dtype="float64", jit_compile=choice)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        m.fit(x, x * x, epochs=2, batch_size=8, progress=False)
        print([str(w.message) for w in seen if w.category is cr.ChainruleWarning])
    found.append(m.get_weights()[0])
print((found[0] == found[1]).all())
"""
    env = {
        **os.environ,
        "CXX": str(tmp_path / "none"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, same = done.stdout.splitlines()
    assert re.search(r"could not compile the training step \(.*C\+\+ compiler", first)
    assert "steps run uncompiled" in first
    # Of each cause one, though there are two epochs and two sizes of batches.
    assert first.count("jit_compile=True") == 1
    assert second == "[]"
    assert same == "True"


@needs_torch
def test_many_structures_and_settings_have_their_own(made: Any) -> None:
    for units in range(1, 12):  # more than Dynamo keeps of one piece of code
        m = model(cr.MLP((units, 2)))
        for _ in range(2):
            m.fit(X, Y, epochs=1, batch_size=20, progress=False)
        assert len(made) == units
    m = model(cr.MLP((11, 2)), optimizer=cr.SGD(0.1))  # another optimizer,
    m.fit(X, Y, epochs=1, batch_size=20, progress=False)
    assert len(made) == 12
    m = model(cr.MLP((11, 2)), optimizer=cr.SGD(0.2))  # other numbers,
    m.fit(X, Y, epochs=1, batch_size=20, progress=False)
    assert len(made) == 12
    for precision in ("highest", "bfloat16"):  # and another arithmetic
        m = model(cr.MLP((11, 2)), precision=precision, dtype="float32")
        m.fit(X, Y, epochs=1, batch_size=20, progress=False)
    assert len(made) == 14
    products = [str(graph.code).count("bfloat16") for graph in made[-2:]]
    assert products[0] == 0 < products[1]


@needs_torch
def test_threads_share_what_is_compiled(made: Any) -> None:
    models = [plain() for _ in range(4)]
    threads = [threading.Thread(target=fit, args=(m,)) for m in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2
    for m in models[1:]:
        np.testing.assert_array_equal(m.theta, models[0].theta)


class Broken(cr.losses.Loss):
    """Raises an error of its own."""

    def __call__(self, z: Any, t: Any, *rest: Any, **more: Any) -> Any:
        msg = "mine"
        raise LookupError(msg)


class Looking(cr.losses.SquaredError):
    """Looks at a value, which no traced function can."""

    def __call__(self, z: Any, t: Any, *rest: Any, **more: Any) -> Any:
        if float(t[0, 0]) > 1e9:
            raise AssertionError
        return super().__call__(z, t, *rest, **more)


@needs_torch
def test_errors_of_ones_own_come_out(made: Any) -> None:
    m = model(cr.MLP((2,)), loss=Broken())
    with pytest.raises(LookupError, match="mine"):
        fit(m)
    assert not made


class Unhashable(cr.losses.SquaredError):
    """Cannot be a key."""

    __hash__ = None  # type: ignore[assignment]


ACTIVATIONS = [
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
@pytest.mark.parametrize("loss", [Looking(), Unhashable()])
def test_what_cannot_be_traced_runs_uncompiled(made: Any, loss: Any) -> None:
    m, other = model(cr.MLP((2,)), loss=loss), model(cr.MLP((2,)))
    other.jit_compile = None
    for _ in range(2):  # each fit says it, once
        with pytest.warns(cr.ChainruleWarning, match="could not compile") as seen:
            fit(m)
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


@pytest.mark.gpu
@needs_torch
def test_compiled_on_a_gpu_trains_as_numpy_does() -> None:
    try:
        engine = backends.get("torch", "cuda:0")
    except cr.ChainruleError as error:
        pytest.skip(str(error))
    network = cr.Sequential(cr.Dense(16), cr.Tanh(), cr.Dropout(0.2), cr.Dense(2))
    ours, numpy = (
        model(network, backend=engine),
        model(network, backend="numpy", jit_compile=None),
    )
    for m in (ours, numpy):
        fit(m, epochs=5)
    np.testing.assert_allclose(
        ours.get_weights()[0], numpy.get_weights()[0], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", LIBRARIES)
def test_refusals(name: str) -> None:
    where = backend(name)
    allowed = {"jax": (None, True), "torch": (None, True, False)}
    for choice in (None, True, False):
        if choice in allowed.get(name, (None, False)):
            assert cr.Model(cr.MLP((1,)), jit_compile=choice, **where)
            continue
        with pytest.raises(
            cr.ArgumentError,
            match=rf"jit_compile must be one of .*{name}.*got {choice}. Leave it out",
        ):
            cr.Model(cr.MLP((1,)), jit_compile=choice, **where)
    # Nothing was said of a backend yet: the data decide, and then it is refused.
    m = cr.Model(cr.MLP((2,)), jit_compile=True)
    with pytest.raises(cr.ArgumentError, match="numpy backend, which cannot compile"):
        fit(m)
    assert not m.built


@needs_torch
def test_where_the_choice_goes_along(tmp_path: Path) -> None:
    m = model(cr.MLP((2,)), members=2)
    m.build(3)
    assert m.member(1).jit_compile is True
    assert m.to("torch").jit_compile is True
    assert pickle.loads(pickle.dumps(m)).jit_compile is True
    assert m.to("numpy").jit_compile is None
    m.save(tmp_path / "m")
    assert cr.load(tmp_path / "m").jit_compile is None
