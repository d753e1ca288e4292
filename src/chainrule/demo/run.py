"""The networks of ``python -m chainrule``: how they are trained, and judged.

Figure 2, f(x) = x² on [-1, 1], with the exact slope of the fit and the band of eight
networks, and figure 1, points on a sphere: a network from the two angles of a point to
its x, y and z. The third is a noisy curve with a gap in the data, where the band of an
ensemble opens.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import chainrule as cr
from chainrule.demo.tasks import GAP, Task
from chainrule.state.history import History

if TYPE_CHECKING:
    from chainrule.config.choices import BackendName

__all__ = ["Result", "compare", "slopes", "spread", "train", "verdict"]


# Epochs, of each figure's, after which backends are compared: later on, rounding has
# grown, since training amplifies it.
_COMPARED = 0.02


class Result(NamedTuple):
    """What a training run gave."""

    model: cr.Model
    history: History
    output: Any
    worst: float
    rate: float


def train(
    task: Task, backend: BackendName, seed: int, epochs: int | None = None
) -> Result:
    """Train one figure's network on one backend; only its first `epochs`, if given."""
    epochs = epochs or task.epochs
    steps = task.epochs * -(-len(task.x) // task.batch_size)
    schedule = cr.schedules.CosineDecay(
        task.learning_rate, steps, warmup_steps=steps // 20
    )
    network = cr.MLP(task.units, activation=task.activation)
    optimizer = cr.Adam(schedule)
    model = cr.Model(
        network,
        optimizer=optimizer,
        backend=backend,
        seed=seed,
        members=task.members,
    )
    start = time.perf_counter()
    history = model.fit(
        task.x,
        task.y,
        epochs=epochs,
        batch_size=task.batch_size,
        bootstrap=task.noisy,
    )
    seconds = time.perf_counter() - start
    output = model.predict(task.x)
    worst = float(np.linalg.norm(output - task.y, axis=1).max())
    rate = steps / task.epochs * epochs / seconds
    return Result(model, history, output, worst, rate)


def slopes(model: cr.Model, x: Any) -> Any:
    """Return each member's dy/dx at points x (n,), exact: (members, n)."""
    each = [model.member(k).jacobian(x[:, None]) for k in range(model.members)]
    return np.asarray(each, dtype=np.float64)[:, :, 0, 0]


def spread(model: cr.Model) -> tuple[float, float]:
    """Return an ensemble's standard deviation: median at the data, most in the gap."""
    x = np.linspace(-1.0, 1.0, 401)
    _, std = model.predict(x[:, None], return_std=True)
    inside = (x > GAP[0]) & (x < GAP[1])
    return float(np.median(std[~inside])), float(std[inside].max())


def verdict(task: Task, result: Result) -> str:
    """Say how good the result is."""
    if task.noisy:
        data, hole = spread(result.model)
        return f"standard deviation {data:.3f} at the data, {hole:.3f} in the gap"
    text = f"worst error {result.worst:.2e}"
    if task.name == "parabola":
        x = task.x[:, 0]
        slope = result.model.jacobian(task.x)[:, 0, 0]
        text += f", of the slope {np.abs(slope - 2.0 * x).max():.2e}"
    return text


def compare(task: Task, names: list[BackendName], seed: int) -> Iterator[str]:
    """Say how far backends are from the first one after a few epochs."""
    epochs = max(1, round(_COMPARED * task.epochs))
    steps = epochs * -(-len(task.x) // task.batch_size)
    first, *others = names
    wanted = train(task, first, seed, epochs).output
    for name in others:
        output = train(task, name, seed, epochs).output
        difference = float(np.max(np.abs(output - wanted)))
        yield (
            f"{task.name}: {name} and {first} differ by at most {difference:.1e} after "
            f"{steps:,} steps"
        )
