"""What users set in JAX and PyTorch changes nothing here, and stays as they set it."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends

from tests.support.settings import X, Y, needs_jax, needs_torch


def everything(name: Any) -> dict[str, Any]:
    """What a model computes, on the host."""

    def make(optimizer: Any = None, *layers: cr.Layer, **options: Any) -> cr.Model:
        network = cr.Sequential(cr.Dense(16), *layers, cr.Tanh(), cr.Dense(1))
        optimizer = optimizer or cr.Adam(1e-3)
        model = cr.Model(network, optimizer=optimizer, backend=name, **options)
        return model.build(4)

    model = make()
    found: dict[str, Any] = {"loss": model.fit(X, Y, epochs=2)["loss"]}
    found |= {
        what: getattr(model, what)(X)
        for what in ("predict", "jacobian", "hessian", "parameter_jacobian")
    }
    found["evaluate"] = model.evaluate(X, Y)["loss"]
    found["gradients"] = model.sample_gradients(X, Y)
    found["jvp"] = model.jvp(X, X)
    many = make(None, cr.BatchNorm(), cr.Dropout(0.2), members=2)
    found["members"] = many.fit(X, Y, epochs=2, bootstrap=True)["member_loss"][-1]
    found["std"] = many.predict(X, return_std=True)[1]
    double = make(cr.LevenbergMarquardt(), dtype="float64")
    found["second"] = double.fit(X, Y, epochs=3)["loss"]
    slopes = make(cr.SGD(1e-3, momentum=0.9, clip_norm=1.0))
    found["slopes"] = slopes.fit(X, Y, slopes=2 * X, epochs=2)["loss"]
    return found


@pytest.fixture(scope="module")
def wanted() -> Callable[[str], dict[str, Any]]:
    """What `everything` gives where nothing is set."""
    known: dict[str, dict[str, Any]] = {}

    def get(name: str) -> dict[str, Any]:
        if name not in known:
            known[name] = everything(name)
        return known[name]

    return get


def same(found: dict[str, Any], want: dict[str, Any]) -> None:
    for what, value in want.items():
        assert np.asarray(found[what]).dtype == np.asarray(value).dtype, what
        np.testing.assert_allclose(
            found[what], value, rtol=1e-5, atol=1e-6, err_msg=what
        )


@contextlib.contextmanager
def config(setting: str, value: Any) -> Iterator[None]:
    """Set JAX's configuration of the process."""
    import jax

    before = getattr(jax.config, setting)
    jax.config.update(setting, value)
    try:
        yield
    finally:
        jax.config.update(setting, before)


JAX_SETTINGS = [
    ("jax_enable_x64", True),
    ("jax_default_matmul_precision", "bfloat16"),
    ("jax_numpy_dtype_promotion", "strict"),
    ("jax_numpy_rank_promotion", "raise"),
    ("jax_debug_nans", True),
    ("jax_debug_infs", True),
    ("jax_transfer_guard", "disallow"),
    ("jax_check_tracer_leaks", True),
]


@needs_jax
@pytest.mark.parametrize(("setting", "value"), JAX_SETTINGS)
def test_settings_of_jax(
    setting: str, value: Any, wanted: Callable[[str], dict[str, Any]]
) -> None:
    import jax

    want = wanted("jax")
    with config(setting, value):
        same(everything("jax"), want)
        now = getattr(jax.config, setting)
        assert now == value


@needs_jax
def test_jax_without_jit() -> None:
    import jax

    model = cr.Model(cr.MLP((8, 1), "tanh"), backend="jax").build(4)
    want = model.predict(X[:5])
    loss = cr.Model(cr.MLP((8, 1), "tanh"), backend="jax").fit(X[:9], Y[:9], epochs=1)
    with jax.disable_jit():
        np.testing.assert_allclose(model.predict(X[:5]), want, rtol=1e-6)
        again = cr.Model(cr.MLP((8, 1), "tanh"), backend="jax")
        np.testing.assert_allclose(
            again.fit(X[:9], Y[:9], epochs=1)["loss"], loss["loss"], rtol=1e-5
        )


@needs_jax
def test_divergence_is_no_error_of_jax() -> None:
    model = cr.Model(cr.MLP((8, 1)), optimizer=cr.SGD(1e30), backend="jax")
    with config("jax_debug_nans", True), pytest.raises(cr.DivergenceError):
        model.fit(X, Y, epochs=20)


@needs_jax
def test_values_inside_a_traced_function() -> None:
    """A model used on values while JAX traces is a constant of what is traced."""
    import jax

    model = cr.Model(cr.MLP((8, 1), "tanh"), backend="jax").build(4)
    want = model.predict(X)

    def f(k: Any) -> Any:
        model.fit(X, Y, epochs=0)
        return k * model.predict(X)

    np.testing.assert_allclose(jax.jit(f)(2.0), 2 * want, rtol=1e-6)


def products() -> Any:
    import torch

    places: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]
    try:
        old: Any = torch.get_float32_matmul_precision()
    except RuntimeError:
        old = RuntimeError
    return old, [getattr(place, "fp32_precision", None) for place in places]


def _default_dtype() -> Any:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    return lambda: torch.set_default_dtype(before)


def _default_half() -> Any:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    return lambda: torch.set_default_dtype(before)


def _deterministic() -> Any:
    import torch

    torch.use_deterministic_algorithms(True)
    return lambda: torch.use_deterministic_algorithms(False)


def _legacy(value: str) -> Any:
    def setting() -> Any:
        import torch

        torch.set_float32_matmul_precision(value)
        return lambda: torch.set_float32_matmul_precision("highest")

    return setting


def _place(where: str, value: str = "tf32") -> Any:
    def setting() -> Any:
        import torch

        place: Any = torch
        for part in where.split("."):
            place = getattr(place, part)
        if not hasattr(place, "fp32_precision"):
            pytest.skip("this torch has one setting for all")
        place.fp32_precision = value

        def undo() -> None:
            place.fp32_precision = "none"

        return undo

    return setting


def _within(make: Callable[[Any], Any]) -> Any:
    def setting() -> Any:
        import torch

        context = make(torch)
        context.__enter__()
        return lambda: context.__exit__(None, None, None)

    return setting


TORCH_SETTINGS: dict[str, Callable[[], Any]] = {
    "autocast": _within(lambda torch: torch.autocast("cpu", dtype=torch.bfloat16)),
    "inference_mode": _within(lambda torch: torch.inference_mode()),
    "no_grad": _within(lambda torch: torch.no_grad()),
    "enable_grad": _within(lambda torch: torch.enable_grad()),
    "detect_anomaly": _within(
        lambda torch: torch.autograd.set_detect_anomaly(True)  # warns by itself
    ),
    "default device": _within(lambda torch: torch.device("meta")),
    "default float64": _default_dtype,
    "default float16": _default_half,
    "deterministic": _deterministic,
    "high": _legacy("high"),
    "medium": _legacy("medium"),
    "fp32_precision": _place("backends"),
    "cuda's": _place("backends.cuda.matmul"),
    "mkldnn's": _place("backends.mkldnn.matmul", "bf16"),
    "cudnn's": _place("backends.cudnn"),
}


@needs_torch
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("setting", TORCH_SETTINGS)
def test_settings_of_torch(
    setting: str, wanted: Callable[[str], dict[str, Any]]
) -> None:
    want = wanted("torch")
    if setting == "default device":  # which a new model would follow
        with pytest.MonkeyPatch.context() as patch:
            engine = backends.get("torch", "cpu")
            patch.setattr(backends, "get", _always(engine))
            _compared(setting, want)
    else:
        _compared(setting, want)


def _always(engine: Any) -> Any:
    real = backends.get

    def get(backend: Any, device: Any = None) -> Any:
        return engine if backend == "torch" else real(backend, device)

    return get


def _compared(setting: str, want: Any) -> None:
    undo = TORCH_SETTINGS[setting]()
    try:
        before = products()
        found = everything("torch")
        assert products() == before
    finally:
        undo()
    same(found, want)


@needs_torch
def test_precision_follows_a_wider_setting_again() -> None:
    import torch

    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has one setting for all")
    code = (
        "import torch, chainrule as cr; g, m = torch.backends, "
        "torch.backends.cuda.matmul;"
        "b = cr.backends.get('torch'); g.fp32_precision = 'tf32';\n"
        "with b.scope('float32'): assert m.fp32_precision == 'ieee'\n"
        "assert m.fp32_precision == 'tf32'; g.fp32_precision = 'ieee';"
        "assert m.fp32_precision == 'ieee'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_torch
@pytest.mark.parametrize("how", ["built", "loaded", "unpickled", "moved", "fitted"])
def test_models_of_inference_mode_can_be_trained(how: str, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "model.safetensors"
    first = cr.Model(cr.MLP((8, 1), "tanh"), backend="torch")
    first.fit(X, Y, epochs=2)
    first.save(path, include_optimizer=True)

    def make() -> cr.Model:
        if how == "loaded":
            return cr.load(path, backend="torch")  # type: ignore[no-any-return]
        if how == "unpickled":
            return pickle.loads(pickle.dumps(first))  # type: ignore[no-any-return]
        if how == "moved":
            return first.to("torch")
        model = cr.Model(cr.MLP((8, 1), "tanh"), backend="torch").build(4)
        if how == "fitted":
            model.fit(X, Y, epochs=1)
        return model

    with torch.inference_mode():
        inside = make()
        given = torch.tensor(X)
        z = inside.predict(given)
    assert not z.is_inference()
    np.testing.assert_array_equal(inside.predict(given), inside.predict(X))
    assert inside.fit(X, Y, epochs=2)["loss"] == make().fit(X, Y, epochs=2)["loss"]
    inside.fit(given, torch.tensor(Y), epochs=1)
