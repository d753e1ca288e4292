"""Default devices, derived arrays, forks, tracers: what surrounds a model."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends

from tests.support.libraries import need
from tests.support.settings import X, Y, needs_jax, needs_torch


@needs_jax
def test_the_default_device_of_jax_is_the_present_one() -> None:
    code = """
import jax, numpy as np, chainrule as cr
from chainrule import backends
one, two = jax.devices()
def place(**options):
    model = cr.Model(cr.MLP((4, 1)), **options).build(1)
    return next(iter(model.theta.devices())), model
assert place(backend="jax")[0] == one
x = np.ones((3, 1), "f4")
with jax.default_device(two):
    where, model = place(backend="jax")
    assert where == two
    assert place(backend="jax", device="cpu:0")[0] == one
    assert backends.get("jax").device == two
    assert place(backend=jax.numpy)[0] == two
with jax.default_device("cpu"):
    assert place(backend="jax")[0] == one
assert model.backend.device == two
model.fit(x, x, epochs=1)  # stays where it is
assert next(iter(model.theta.devices())) == two
jax.config.update("jax_default_device", two)
assert place(backend="jax")[0] == two
assert model.to("jax").backend.device == two
"""
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@needs_torch
def test_the_default_device_of_torch_is_the_present_one() -> None:
    import torch

    model = cr.Model(cr.MLP((4, 1)), backend="torch").build(4)
    want = model.predict(X)
    with torch.device("meta"):
        with pytest.raises(cr.DeviceError, match="meta device"):
            backends.get("torch")
        with pytest.raises(cr.DeviceError, match="meta device"):
            cr.Model(cr.MLP((4, 1)), backend="torch")
        assert backends.get("torch", "cpu").device.type == "cpu"
        np.testing.assert_array_equal(model.predict(X), want)
        model.fit(X, Y, epochs=1)


@needs_torch
def test_derived_tensors_are_tensors() -> None:
    import torch

    class Boxes(torch.Tensor):  # type: ignore[misc]
        """As torchvision's: what is computed with it is one, too."""

    given = torch.tensor(X).as_subclass(Boxes)
    constant = torch.nn.Parameter(torch.tensor(X), requires_grad=False)
    model = cr.Model(cr.MLP((4, 1)), backend="torch").build(4)
    for x in (given, constant):
        assert backends.of(x) == backends.get("torch", "cpu")
        z = model.predict(x)
        assert type(z) is torch.Tensor
        np.testing.assert_array_equal(z, model.predict(X))
        follows = cr.Model(cr.MLP((4, 1)))
        follows.fit(x, x[:, :1], epochs=1)
        assert follows.backend.name == "torch"
        assert type(follows.theta) is torch.Tensor


@needs_torch
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_after_torch_was_used(tmp_path: Path) -> None:
    code = f"""
import os, numpy as np, torch, chainrule as cr
torch.set_num_threads(2)
x = np.random.default_rng(0).normal(size=(4096, 64)).astype("f4"); y = x[:, :1]
model = cr.Model(cr.MLP((64, 1), "tanh"), backend="torch")
model.fit(x, y, epochs=1, batch_size=1024); want = model.predict(x)
pid = os.fork()
if not pid:
    np.testing.assert_allclose(model.predict(x), want, rtol=1e-4, atol=1e-5)
    model.fit(x, y, epochs=1, batch_size=1024)
    open({str(tmp_path / "done")!r}, "w").close()
    os._exit(0)
print(pid, flush=True); os.waitpid(pid, 0)
assert torch.get_num_threads() == 2
"""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        end = time.monotonic() + 120
        while parent.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        if parent.poll() is None:
            os.kill(child, signal.SIGKILL)
    assert (tmp_path / "done").exists()
    assert parent.returncode == 0


@needs_jax
def test_tracers_are_told_of_the_function() -> None:
    jax = need("jax")
    model = cr.Model(cr.MLP((4, 1), "tanh"), backend="jax").build(4)
    host = cr.Model(cr.MLP((4, 1), "tanh"), backend="numpy").build(4)
    x = jax.numpy.asarray(X)
    calls: list[Callable[[Any, Any], Any]] = [
        lambda m, x: m.predict(x).sum(),
        lambda m, x: m.jacobian(x).sum(),
        lambda m, x: m.evaluate(x, Y)["loss"],
        lambda m, x: m.evaluate(X, x)["loss"],
        lambda m, x: m.fit(x, Y, epochs=1)["loss"][0],
        lambda m, x: m.jvp(X, x).sum(),
    ]
    for m in (model, host):
        for call in calls:
            f = functools.partial(call, m)
            for transformed in (jax.grad(f), jax.jit(f)):
                with pytest.raises(cr.ArgumentTypeError, match=r"model\.function\(\)"):
                    transformed(x)
    with pytest.raises(cr.ArgumentTypeError, match=r"x is a tracer.*model\.function"):
        jax.vmap(model.predict)(x[:, None, :])


@needs_torch
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.filterwarnings("ignore:.torch.jit.trace")
def test_transformed_tensors_are_told_of_the_function() -> None:
    torch = need("torch")
    model = cr.Model(cr.MLP((4, 1), "tanh"), backend="torch").build(4)
    x = torch.tensor(X)
    for transformed in (
        torch.func.grad(lambda x: model.predict(x).sum()),
        lambda x: torch.func.jvp(model.predict, (x,), (x,)),
        lambda x: torch.vmap(model.predict)(x[:, None, :]),
        torch.func.jacrev(model.predict),
        lambda x: torch.jit.trace(model.predict, x),
    ):
        with pytest.raises(cr.ArgumentTypeError, match=r"model\.function\(\)"):
            transformed(x)
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode() as mode:
        fake = mode.from_tensor(x)
        with pytest.raises(cr.ArgumentTypeError, match="FakeTensor"):
            model.predict(fake)


@needs_torch
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_a_graph_that_ends_here_is_warned_of() -> None:
    torch = need("torch")
    from torch.autograd import forward_ad

    model = cr.Model(cr.MLP((4, 1), "tanh"), backend="torch").build(4)
    host = cr.Model(cr.MLP((4, 1), "tanh"), backend="numpy").build(4)
    x = torch.tensor(X, requires_grad=True)
    want = model.predict(X)
    for m in (model, host):
        for call in (m.predict, m.jacobian, lambda x, m=m: m.evaluate(x, Y)):
            with pytest.warns(
                cr.ChainruleWarning, match=r"x is part of .*function\(\)"
            ):
                call(x)
            with pytest.warns(cr.ChainruleWarning, match=r"graph, which ends here"):
                call(2 * x)
            call(x.detach())
            with torch.no_grad():
                call(x)
            with torch.inference_mode():
                call(x)
        with pytest.warns(cr.ChainruleWarning):
            z = m.predict(x)
        assert not z.requires_grad
        np.testing.assert_allclose(z, want, rtol=1e-5, atol=1e-6)
    with forward_ad.dual_level():
        plain = torch.tensor(X)
        model.predict(plain)
        with pytest.warns(cr.ChainruleWarning, match="ends here"):
            model.predict(forward_ad.make_dual(plain, plain))
