"""Train x² or the sphere a little at a time: the Python of the page "Train it here".

It runs in a worker of the browser (worker.js calls it), and in any Python that has
chainrule. A worker hears nothing while Python runs, so a `Run` trains for a fraction of
a second and comes back: many short fits of one model are bit for bit one long fit.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr
from chainrule.demo import tasks

__all__ = ["PROBLEMS", "Problem", "Run", "versions"]


class Problem(NamedTuple):
    """What can be trained: the samples are those of ``python -m chainrule``."""

    task: tasks.Task
    hidden: int
    epochs: int
    # Where the fit is drawn.
    inputs: Any
    targets: Any


def _parabola() -> Problem:
    x = np.linspace(-1.0, 1.0, 201)[:, None]
    return Problem(tasks.parabola(None), 2, 1000, x, x**2)


def _sphere() -> Problem:
    task = tasks.sphere(None)
    return Problem(task, 3, 200, task.x, task.y)


PROBLEMS: dict[str, Callable[[], Problem]] = {"parabola": _parabola, "sphere": _sphere}


class Slice(cr.callbacks.Callback):
    """Keep the losses, and end the fit when its time is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.losses: list[float] = []

    def on_train_begin(self, logs: dict[str, Any]) -> None:
        """Start the clock."""
        self.end = time.perf_counter() + self.seconds

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Take the epoch's loss, and look at the clock."""
        self.losses.append(float(logs["loss"]))
        if time.perf_counter() >= self.end:
            self.session.stop()


class Run:
    """One training run of the page.

    Parameters
    ----------
    problem : str
        "parabola" or "sphere".
    units : int
        Width of each hidden layer: two of them for x², three for the sphere.
    activation : str
        A rule's name.
    learning_rate : float
        Of Adam. It is warmed up over the first twentieth of the steps, and falls to 0
        along a cosine.
    seed : int
        Of the weights and of the order of the batches.
    """

    def __init__(
        self,
        problem: str,
        units: int,
        activation: str,
        learning_rate: float,
        seed: int,
    ) -> None:
        self.name = problem
        self.problem = PROBLEMS[problem]()
        task = self.problem.task
        outputs = self.problem.targets.shape[1]
        network = cr.MLP((units,) * self.problem.hidden + (outputs,), activation)
        steps = self.problem.epochs * -(-len(task.x) // task.batch_size)
        rate = cr.schedules.CosineDecay(
            learning_rate, steps, warmup_steps=max(1, steps // 20)
        )
        self.model = cr.Model(
            network, optimizer=cr.Adam(rate), backend="numpy", seed=seed
        ).build(task.x.shape[1:])

    @property
    def epoch(self) -> int:
        """How many epochs are trained."""
        return self.model.training.epoch

    def train(self, seconds: float) -> dict[str, Any]:
        """Train whole epochs for so long, one at least, and return a `frame`."""
        task, part = self.problem.task, Slice(seconds)
        before = self.model.training.step
        start = time.perf_counter()
        self.model.fit(
            task.x,
            task.y,
            epochs=self.problem.epochs - self.epoch,
            batch_size=task.batch_size,
            callbacks=[part],
            progress=False,
        )
        taken = time.perf_counter() - start
        frame = self.frame(part.losses)
        frame["rate"] = (self.model.training.step - before) / taken
        return frame

    def frame(self, losses: list[float] | None = None) -> dict[str, Any]:
        """Return what the page draws: where the fit stands, and how good it is."""
        problem = self.problem
        output = self.model.predict(problem.inputs)
        error = np.linalg.norm(output - problem.targets, axis=1)
        frame = {
            "epoch": self.epoch,
            "epochs": problem.epochs,
            "done": self.epoch >= problem.epochs,
            "losses": losses or [],
            "output": np.ravel(output).astype(np.float32),
            "error": error.astype(np.float32),
            "worst": float(error.max()),
        }
        if self.name == "parabola":
            slope = self.model.jacobian(problem.inputs)[:, 0, 0]
            frame["slope"] = slope.astype(np.float32)
            wanted = 2.0 * problem.inputs[:, 0]
            frame["worstSlope"] = float(np.abs(slope - wanted).max())
        return frame

    def start(self) -> dict[str, Any]:
        """Return what stays the same during the run, and the first `frame`."""
        return {
            "inputs": np.ravel(self.problem.inputs).astype(np.float32),
            "targets": np.ravel(self.problem.targets).astype(np.float32),
            "parameters": int(self.model.theta.size),
            **self.frame(),
        }


def versions() -> dict[str, str]:
    """Return what runs here."""
    return {
        "chainrule": cr.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
