"""``python -m chainrule``: the paper's two figures and a third, trained and drawn."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import chainrule as cr
from chainrule.config import console
from chainrule.demo import figures
from chainrule.demo.run import compare, train, verdict
from chainrule.demo.tasks import Task, gap, parabola, sphere
from chainrule.files import durable

if TYPE_CHECKING:
    from chainrule.config.choices import BackendName

__all__ = ["main"]


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
        names: list[BackendName] = [options.backend]
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
            _run(task, names, options)
    except BrokenPipeError:
        raise
    except (cr.ChainruleError, OSError) as error:
        console.say_error(error)
        return 1
    return 0


def _run(task: Task, names: list[BackendName], options: argparse.Namespace) -> None:
    """Train a task on the first backend, print and draw it; compare the others."""
    first = names[0]
    result = train(task, first, options.seed)
    print(
        f"{task.name}: backend {first}, {result.rate:,.0f} steps a second, "
        f"final loss {result.history['loss'][-1]:.2e}, {verdict(task, result)}",
        flush=True,
    )
    if len(names) > 1:
        for line in compare(task, names, options.seed):
            print(line, flush=True)
    try:
        print(f"wrote {figures.draw(task, result, options.out)}", flush=True)
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
