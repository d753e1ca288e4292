"""Files of earlier versions: models predict and train on as there, fits are resumed.

The folders in `written/` hold what earlier versions wrote, and what came of it there.
The parameters come back bit for bit. What is computed from them is compared to
rounding: a processor with other vector units adds in another order.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import chainrule as cr
from chainrule import layers, losses, optimizers

from tests.files.written.make import FITS, MORE, models
from tests.files.written.make import fitted as refit
from tests.support.libraries import LIBRARIES, backend, need

WRITTEN = Path(__file__).parent / "written"
FOLDERS = sorted(path for path in WRITTEN.iterdir() if (path / "expected.npz").exists())
MODELS = models()

each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
each_model = pytest.mark.parametrize("name", MODELS)


def _expected(folder: Path, name: str, kind: str) -> Any:
    with np.load(folder / "expected.npz") as found:
        return found[f"{name}/{kind}"]


def _near(name: str) -> Any:
    single = name == "single"
    return {"rtol": 1e-4, "atol": 1e-5} if single else {"rtol": 1e-8, "atol": 1e-10}


@each_folder
@each_model
@pytest.mark.parametrize("library", LIBRARIES)
def test_it_predicts_as_it_did(folder: Path, name: str, library: str) -> None:
    if name == "lbfgs":
        need("scipy")
    where = cr.backends.get(**backend(library))
    model = cr.load(folder / f"{name}.model", backend=where)
    theta = np.asarray(model.to("numpy").theta)
    assert_array_equal(theta, _expected(folder, name, "theta"))
    got = model.predict(MODELS[name][1])
    assert_allclose(got, _expected(folder, name, "prediction"), **_near(name))


@each_folder
@each_model
def test_training_goes_on_as_it_did(folder: Path, name: str) -> None:
    if name == "lbfgs":
        need("scipy")
    model = cr.load(folder / f"{name}.model")
    _, x, y = MODELS[name]
    history = model.fit(x, y, epochs=MORE, batch_size=8, progress=False)
    near = _near(name) if name != "lbfgs" else {"rtol": 1e-5, "atol": 1e-6}
    assert_allclose(model.theta, _expected(folder, name, "again"), **near)
    assert_allclose(history["loss"], _expected(folder, name, "loss"), **near)


# It was written on another machine, with other versions and threads.
@pytest.mark.filterwarnings("ignore:.*other surroundings:chainrule.ChainruleWarning")
@each_folder
@pytest.mark.parametrize("name", FITS)
def test_a_fit_is_resumed(folder: Path, name: str, tmp_path: Path) -> None:
    path = Path(shutil.copy(folder / f"{name}.checkpoint", tmp_path))
    model = refit(name, path, 5, resume=path)
    near: Any = {"rtol": 1e-8, "atol": 1e-10}
    assert_allclose(model.theta, _expected(folder, name, "resumed"), **near)
    assert_allclose(
        model.history["val_loss"], _expected(folder, name, "history"), **near
    )


@each_folder
def test_without_the_optimizer(folder: Path) -> None:
    model = cr.load(folder / "plain.model")
    assert_array_equal(model.theta, _expected(folder, "deep", "theta"))
    _, x, y = MODELS["deep"]
    assert model.evaluate(x, y).keys() == {"loss", "r2", "mean_absolute_error"}
    model.fit(x, y, epochs=1, progress=False)


@each_folder
def test_columns_are_known(folder: Path) -> None:
    pandas = need("pandas")
    model = cr.load(folder / "columns.model")
    frame = pandas.DataFrame(MODELS["deep"][1], columns=list("abc"))
    got = model.predict(frame)
    assert_allclose(got, _expected(folder, "columns", "prediction"), rtol=1e-8)
    with pytest.raises(cr.ChainruleError, match="columns"):
        model.predict(frame[["b", "a", "c"]])


# Losses that are younger than the last folder.
YOUNGER = {
    "BinaryFocal",
    "CosineDistance",
    "Focal",
    "GaussianNLL",
    "Hinge",
    "KullbackLeibler",
    "LogCosh",
    "MixtureDensity",
    "NegativeBinomial",
    "StudentT",
}


def test_the_files_name_every_class() -> None:
    """What is public, and older than the last folder, is in it."""
    text = "".join(json.dumps(str(f.read_bytes())) for f in FOLDERS[-1].glob("*.model"))
    for module, left_out in (
        (layers, {"Layer", "Activation", "Variable"}),
        (losses, {"Loss", *YOUNGER}),
        (optimizers, {"BaseOptimizer", "Optimizer", "ProblemOptimizer", "Iteration"}),
    ):
        classes = {n for n in module.__all__ if isinstance(getattr(module, n), type)}
        missing = {n for n in classes - left_out if f".{n}" not in text}
        assert not missing
