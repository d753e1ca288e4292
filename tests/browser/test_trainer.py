"""The page's Python on this machine's own NumPy: what it trains and hands on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr

from tests.support.live import trainer

live = trainer()


def trained(seconds: float, epochs: int, **changes: Any) -> Any:
    settings = {
        "problem": "parabola",
        "units": 8,
        "activation": "tanh",
        "learning_rate": 0.01,
        "seed": 3,
        **changes,
    }
    run = live.Run(**settings)
    while run.epoch < epochs:
        run.train(seconds)
    return run


def test_slices_are_one_fit() -> None:
    run = trained(0.0, 6)
    assert run.epoch == 6
    task = live.PROBLEMS["parabola"]().task
    steps = 1000 * 8
    whole = cr.Model(
        cr.MLP((8, 8, 1), "tanh"),
        optimizer=cr.Adam(cr.schedules.CosineDecay(0.01, steps, warmup_steps=400)),
        backend="numpy",
        seed=3,
    )
    history = whole.fit(task.x, task.y, epochs=6, batch_size=32, progress=False)
    assert np.array_equal(run.model.theta, whole.theta)
    assert list(run.model.history["loss"]) == list(history["loss"])


@pytest.mark.parametrize("problem", ["parabola", "sphere"])
def test_frames_have_what_is_drawn(problem: str) -> None:
    run = live.Run(problem, 4, "tanh", 0.01, 0)
    first, frame = run.start(), run.train(0.0)
    shown = run.problem
    assert first["epoch"] == 0
    assert first["losses"] == []
    assert frame["epoch"] == 1
    assert len(frame["losses"]) == 1
    assert not frame["done"]
    assert frame["rate"] > 0
    output = run.model.predict(shown.inputs)
    wanted = np.linalg.norm(output - shown.targets, axis=1)
    assert np.allclose(frame["error"], wanted)
    assert frame["worst"] == pytest.approx(wanted.max())
    for value in [*first.values(), *frame.values()]:
        if isinstance(value, np.ndarray):  # it becomes a Float32Array
            assert value.dtype == np.float32
            assert value.ndim == 1


def test_the_slope_is_that_of_the_fit() -> None:
    run = trained(0.0, 2)
    frame = run.frame()
    h = 1e-2
    x = run.problem.inputs.astype(np.float64)
    network = cr.Model(run.model.spec.network, dtype="float64", backend="numpy")
    theta, state = run.model.get_weights()
    network.build((1,)).set_weights((theta.astype(np.float64), state))
    difference = (network.predict(x + h) - network.predict(x - h)) / (2 * h)
    assert np.abs(frame["slope"] - difference[:, 0]).max() < 1e-3


@pytest.mark.slow
def test_the_readmes_settings_fit_both() -> None:
    curve = trained(5.0, 1000, units=32).frame()
    assert curve["done"]
    assert curve["worst"] < 0.05
    ball = trained(5.0, 200, problem="sphere", units=48, activation="gelu_tanh").frame()
    assert ball["worst"] < 0.05
