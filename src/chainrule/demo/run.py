"""``python -m chainrule``: the paper's two figures and a third, trained and drawn.

Figure 2, f(x) = x² on [-1, 1], with the exact slope of the fit and the band of eight
networks, and figure 1, points on a sphere: a network from the two angles of a point to
its x, y and z. The third is a noisy curve with a gap in the data, where the band of an
ensemble opens.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr
from chainrule.config import console
from chainrule.demo.tasks import GAP, Task, curve, gap, parabola, sphere
from chainrule.files import durable

__all__ = ["main"]


# Epochs, of each figure's, after which backends are compared: later on, rounding has
# grown, since training amplifies it.
COMPARED = 0.02


class Result(NamedTuple):
    """What a training run gave."""

    model: Any
    history: Any
    output: Any
    worst: float
    rate: float


def train(task: Task, backend: str, seed: int, epochs: int | None = None) -> Result:
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


def slopes(model: Any, x: Any) -> Any:
    """Return each member's dy/dx at points x (n,), exact: (members, n)."""
    each = [model.member(k).jacobian(x[:, None]) for k in range(model.members)]
    return np.asarray(each, dtype=np.float64)[:, :, 0, 0]


def spread(model: Any) -> tuple[float, float]:
    """Return an ensemble's deviation: median at the data, largest in the gap."""
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


def draw(task: Task, result: Result, folder: Path) -> Path:
    """Write the task's picture."""
    from chainrule.demo import figures

    path = folder / f"{task.name}.png"
    worst = f"worst error {result.worst:.1e}"
    if task.name == "parabola":
        x = np.linspace(-1.0, 1.0, 1001)
        values = np.asarray(result.model.predict_members(x[:, None]), dtype=np.float64)
        samples = np.hstack([task.x, task.y])[::15]
        title = f"{task.members} networks, {worst}"
        figures.parabola(
            x, values[..., 0], slopes(result.model, x), samples, path, title
        )
    elif task.name == "gap":
        x = np.linspace(-1.1, 1.1, 601)
        members = np.asarray(result.model.predict_members(x[:, None]))[..., 0]
        samples = np.hstack([task.x, task.y])
        title = f"{task.members} networks: their curves, and the band of those"
        figures.gap(x, curve(x), members, samples, GAP, path, title)
    else:
        error = np.linalg.norm(result.output - task.y, axis=1)
        losses = result.history["loss"]
        figures.sphere(
            result.output,
            error,
            losses,
            path,
            f"Sphere from two angles: {worst}",
        )
    return path


@console.command
def main(arguments: list[str] | None = None) -> int:
    """Train, print and draw; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m chainrule",
        description="Train three figures, f(x) = x**2, points on a sphere, and an "
        "ensemble on a noisy curve with a gap, and write parabola.png, sphere.png and "
        "gap.png.",
    )
    parser.add_argument(
        "--backend",
        default="numpy",
        help="numpy (default), jax, torch, cupy, or all: the first trains, and every "
        "other one that is here is compared with it",
    )
    parser.add_argument("--epochs", type=int, help="epochs of each figure")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument(
        "--out", type=Path, default=Path(), help="folder of the pictures (default: .)"
    )
    options = parser.parse_args(arguments)
    if options.epochs is not None and options.epochs < 1:
        parser.error(f"--epochs must be at least 1; got {options.epochs}")
    try:
        names = [options.backend]
        if options.backend == "all":
            here = cr.backends.available()
            names = list(here)
            print(here, flush=True)
        for name in names:
            cr.backends.get(name)
        options.out.mkdir(parents=True, exist_ok=True)
        tasks = [f(options.epochs) for f in (parabola, sphere, gap)]
        for task in tasks:  # before the work
            durable.check_writable(options.out / f"{task.name}.png")
        for task in tasks:
            run(task, names, options)
    except BrokenPipeError:
        raise
    except (cr.ChainruleError, OSError) as error:
        console.say_error(error)
        return 1
    return 0


def run(task: Task, names: list[str], options: argparse.Namespace) -> None:
    """Train a task on the first backend, print and draw it; compare the others."""
    first, *others = names
    result = train(task, first, options.seed)
    print(
        f"{task.name}: backend {first}, {result.rate:,.0f} steps a second, "
        f"final loss {result.history['loss'][-1]:.2e}, {verdict(task, result)}",
        flush=True,
    )
    if others:
        compare(task, names, options.seed)
    try:
        print(f"wrote {draw(task, result, options.out)}", flush=True)
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)


def compare(task: Task, names: list[str], seed: int) -> None:
    """Print how far backends are from the first one after some steps."""
    epochs = max(1, round(COMPARED * task.epochs))
    steps = epochs * -(-len(task.x) // task.batch_size)
    first, *others = names
    wanted = train(task, first, seed, epochs).output
    for name in others:
        output = train(task, name, seed, epochs).output
        gap = float(np.max(np.abs(output - wanted)))
        print(
            f"{task.name}: {name} and {first} differ by at most {gap:.1e} after "
            f"{steps:,} steps",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
