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

from tests.support.compiled import RNG, X, Y, fit, model, needs_torch, plain
from tests.support.libraries import LIBRARIES, backend
from tests.support.models import host_slots

USUAL = "clang++" if sys.platform == "darwin" else "g++"

COMPILER = shutil.which(os.environ.get("CXX", USUAL))

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")

W = RNG.uniform(0.5, 1.5, size=40)

LABELS = RNG.integers(0, 3, 40)


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
            {"optimizer": cr.AdamW(1e-2, clip_norm=0.5, clip_value=0.1)},
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
    compiled.forget()
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


@needs_torch
def test_errors_of_ones_own_come_out(made: Any) -> None:
    m = model(cr.MLP((2,)), loss=Broken())
    with pytest.raises(LookupError, match="mine"):
        fit(m)
    assert not made


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
