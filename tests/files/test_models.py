"""Model files: what comes back, on which backend, from which version."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.files import codec, container
from chainrule.files.registry import _builtin
from chainrule.network import Network

from tests.support.files import X, Y, new_model
from tests.support.libraries import LIBRARIES, backend, need
from tests.support.models import standing

FILES = Path(__file__).parent


@pytest.mark.parametrize("origin", LIBRARIES)
def test_a_model_comes_back_on_every_backend(origin: str, path: Path) -> None:
    model = new_model(origin)
    model.save(path)
    want = model.predict(X)
    for name in LIBRARIES:
        back = cr.load(path, **backend(name))
        assert back.backend == cr.backends.get(*backend(name).values())
        got = back.predict(X)
        if name == origin:
            assert got.tobytes() == want.tobytes()
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        for a, b in zip(back.get_weights(), model.get_weights(), strict=True):
            assert a.tobytes() == b.tobytes()
        assert (back.network, back.loss, back.optimizer) == (
            model.network,
            model.loss,
            model.optimizer,
        )
        assert list(back.metrics) == ["r2"]
        assert (back.seed, back.dtype, back.precision) == (7, "float32", "highest")
        assert not back.history


@pytest.mark.parametrize("name", LIBRARIES)
def test_training_goes_on(name: str, path: Path) -> None:
    """With its optimizer a model trains on as if it had never been a file."""
    model = new_model(name)
    model.learning_rate = 0.02
    model.save(path, include_optimizer=True)
    back = cr.load(path, **backend(name))
    assert back.learning_rate == model.learning_rate
    for each in (model, back):
        each.fit(X, Y, epochs=2, batch_size=8)
    assert [a.tobytes() for a in back.get_weights()] == [
        a.tobytes() for a in model.get_weights()
    ]


def test_without_its_optimizer_training_starts_anew(path: Path) -> None:
    model = new_model()
    model.save(path)
    back = cr.load(path)
    assert (standing(back).step, standing(back).epoch) == (0, 0)
    assert not any(np.any(a) for a in standing(back).slots)
    assert back.learning_rate == 0.01


def test_no_backend_is_numpy(path: Path) -> None:
    new_model(LIBRARIES[-1]).save(path)
    assert cr.load(path).backend.name == "numpy"


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = new_model()
    files = [tmp_path / name for name in "abcde"]
    model.save(files[0], include_optimizer=True)
    model.save(files[1], include_optimizer=True)
    cr.load(files[0]).save(files[2], include_optimizer=True)
    names = [str(files[0]), str(files[3])]
    code = "import chainrule as cr; cr.load({!r}).save({!r}, include_optimizer=True)"
    code = code.format(*names)
    subprocess.run([sys.executable, "-c", code], check=True)
    model.to(**backend(LIBRARIES[-1])).save(files[4], include_optimizer=True)
    assert len({file.read_bytes() for file in files}) == 1


def test_safetensors_reads_the_parameters_by_name(path: Path) -> None:
    from safetensors import safe_open

    model = new_model()
    model.save(path, include_optimizer=True)
    with safe_open(path, framework="np") as file:
        assert list(file.metadata()) == ["chainrule"]
        about = json.loads(file.metadata()["chainrule"])
        for name, a in model.parameters.items():
            assert np.array_equal(file.get_tensor(name), a)
        assert {"state/1.mean", "state/1.var", "optimizer/m", "optimizer/v"} == set(
            file.keys()
        ) - set(model.parameters)
    assert (about["format"], about["version"]) == (1, cr.__version__)
    assert about["model"]["input_shape"] == [3]


def test_special_values_survive(path: Path) -> None:
    model = cr.Model(cr.MLP((3,)), dtype="float64", backend="numpy").build(2)
    theta, state = model.get_weights()
    theta[:] = [np.nan, np.inf, -np.inf, -0.0, 5e-324, 1e308, 0.1, 1 / 3, 2**-1074]
    model.set_weights
    model.training = standing(model)._replace(theta=theta, state=state)
    model.save(path)
    assert cr.load(path).get_weights()[0].tobytes() == theta.tobytes()


def test_every_array_layout_is_written_as_it_is(path: Path) -> None:
    a = np.arange(24.0).reshape(4, 6)
    tensors = {
        "transposed": a.T,
        "backwards": a[::-1, ::-2],
        "broadcast": np.broadcast_to(a[0], (3, 6)),
        "big-endian": a.astype(">f8"),
        "0-d": np.array(3.0),
        "empty": np.zeros((0, 3), np.float32),
        "bool": a > 3,
        "int": a.astype(np.int16),
    }
    container.write_file(path, {}, tensors)
    config, back = container.read_file(path)
    assert config["version"] == cr.__version__
    assert set(back) == set(tensors)
    for name, want in tensors.items():
        assert back[name].shape == want.shape
        assert back[name].dtype == want.dtype.newbyteorder("=")
        assert np.array_equal(back[name], want)
    with pytest.raises(cr.SerializationError, match=r"a cannot be saved.*complex128"):
        container.write_file(path, {}, {"a": a + 1j})


NEEDED: dict[str, tuple[Any, ...]] = {
    "Dense": (3,),
    "Dropout": (0.5,),
    "Residual": (cr.Tanh(),),
    "Sequential": (cr.Tanh(), cr.Sequential(cr.Dense(2))),
    "schedules.Constant": (0.1,),
    "ExponentialDecay": (0.1, 5, 0.5),
    "CosineDecay": (0.1, 5),
    "StepDecay": (0.1, 5),
    "InverseTimeDecay": (0.1, 5),
    "PolynomialDecay": (0.1, 5, 2.0),
    "LinearWarmup": (cr.schedules.StepDecay(0.1, 5), 3),
    "PolynomialWarmup": (0.1, 5),
    "OneCycle": (0.1, 50),
    "CosineRestarts": (0.1, 5, 2),
    "schedules.Join": ((0.1, cr.schedules.CosineDecay(0.2, 9)), (4,)),
    "Metric": ("r2",),
}


@pytest.mark.parametrize("name", sorted(_builtin()))
def test_every_public_class_comes_back(name: str) -> None:
    import inspect

    thing = _builtin()[name]
    if not isinstance(thing, type):
        made = thing
    else:
        arguments = NEEDED.get(name, NEEDED.get(name.partition(".")[2], ()))
        try:
            inspect.signature(thing).bind(*arguments)
        except (TypeError, ValueError):
            if vars(thing).get("__init__") is not None:
                pytest.fail(f"say in NEEDED how to make {name}")
        made = thing(*arguments)
    text = json.dumps(codec.encode(made, "it"), allow_nan=False)
    assert codec.decode(json.loads(text), "it") == made


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        2**200,
        0.1,
        -0.0,
        float("inf"),
        -float("inf"),
        "text",
        [1, [2.5]],
        (1, (2, [3])),
        {"a": (1, None), "b": {"c": float("inf")}},
    ],
)
def test_plain_values_come_back(value: Any) -> None:
    text = json.dumps(codec.encode(value, "it"), allow_nan=False)
    back = codec.decode(json.loads(text), "it")
    assert repr(back) == repr(value)


def test_arrays_are_stored_beside() -> None:
    tensors: dict[str, Any] = {}
    a, b = np.ones(3), np.zeros((2, 2))
    coded = json.loads(json.dumps(codec.encode({"a": (a, 1), "b": [b]}, "s", tensors)))
    assert set(tensors) == {"s/a/0", "s/b/0"}
    back = codec.decode(coded, "s", tensors)
    assert back["a"][0] is a
    assert back["a"][1] == 1
    assert back["b"][0] is b
    assert not tensors


def test_loading_draws_no_weights(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_model().save(path)

    def never(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(Network, "initial", never)
    assert cr.load(path).built


def test_files_of_old_formats(tmp_path: Path) -> None:
    """One file of every format there ever was."""
    formats = sorted(int(file.stem[1:]) for file in FILES.glob("v*.safetensors"))
    assert formats == list(range(1, container.FORMAT + 1))
    for number in formats:
        want = json.loads((FILES / f"v{number}.json").read_text())
        model = cr.load(FILES / f"v{number}.safetensors")
        got = model.predict(np.array(want["x"], np.float32))
        np.testing.assert_allclose(got, want["prediction"], rtol=1e-5, atol=1e-6)
        assert standing(model).step == want["step"]
        model.fit(X, Y, epochs=1)


@pytest.mark.parametrize(
    ("given", "include"),
    [
        ({"members": 3}, True),
        ({"members": 3, "optimizer": cr.AdamW(cr.schedules.StepDecay(0.01, 3))}, True),
        ({"optimizer": cr.LBFGS()}, True),
        ({"optimizer": cr.LevenbergMarquardt()}, True),
        (
            {"optimizer": cr.SGD(cr.schedules.CosineDecay(0.01, 9, warmup_steps=2))},
            True,
        ),
        ({"members": 3}, False),
    ],
    ids=repr,
)
def test_every_kind_of_training_goes_on(
    given: dict[str, Any], include: bool, path: Path
) -> None:
    model = cr.Model(cr.MLP((4, 2)), backend="numpy", seed=3, **given)
    if isinstance(model.optimizer, cr.LBFGS):
        need("scipy")
    model.fit(X, Y, epochs=2)
    model.save(path, include_optimizer=include)
    back = cr.load(path)
    assert back.predict(X).tobytes() == model.predict(X).tobytes()
    assert (back.members, back.optimizer) == (model.members, model.optimizer)
    if include:
        for each in (model, back):
            each.fit(X, Y, epochs=2)
        assert [a.tobytes() for a in back.get_weights()] == [
            a.tobytes() for a in model.get_weights()
        ]
