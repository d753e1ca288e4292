"""Measure how the cost of training grows with width, depth, batch and samples.

    python benchmarks/scaling.py [--backends numpy jax] [--axes width]

One quantity is varied, the others stand still, on a tanh network. A slope is that of a
straight line through (log size, log time): 0 where overhead rules, 1 where work grows
in proportion, 2 for width, whose matrices grow in both directions. Printed are the
slope of the line through all sizes and that between the two largest. Time is that of a
step; for samples, that of an epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
from common import compete, series, summary, table
from contenders import CONTENDERS
from problems import Problem


class Axis(NamedTuple):
    """A quantity and its sizes; what is timed, and the slope that work alone has."""

    sizes: tuple[int, ...]
    per: str
    slope: int


AXES = {
    "width": Axis((16, 64, 256, 1024), "step", 2),
    "depth": Axis((1, 2, 4, 8, 16), "step", 1),
    "batch": Axis((16, 64, 256, 1024, 4096), "step", 1),
    "samples": Axis((512, 2048, 8192, 32768), "epoch", 1),
}
BACKENDS = ("numpy", "jax", "torch", "cupy")
SECONDS = 0.2  # of one turn, about


def problem(axis: str, size: int) -> Problem:
    """Return the network of one point: elsewhere 64 wide, 2 layers deep, batch 128."""
    at = {"width": 64, "depth": 2, "batch": 128, "samples": 0} | {axis: size}
    units = (8, *[at["width"]] * at["depth"], 8)
    samples = at["samples"] or 4 * at["batch"]
    return Problem(
        f"{axis} {size}", units, "tanh", at["batch"], samples, "squared_error", 1
    )


def prepare(backend: str, axis: str, size: int) -> Callable[[], dict[str, float]]:
    """Be a backend on one network: warm up; return the timed fit."""
    it = problem(axis, size)
    rival = CONTENDERS[f"chainrule-{backend}"](it)
    rival.fit()
    start = time.perf_counter()
    rival.fit()
    epochs = int(min(200, max(1, SECONDS / (time.perf_counter() - start))))
    rival.problem = it._replace(epochs=epochs)
    parts = epochs * (it.steps if AXES[axis].per == "step" else 1)

    def measure() -> dict[str, float]:
        start = time.perf_counter()
        rival.fit()
        return {"us": 1e6 * (time.perf_counter() - start) / parts}

    return measure


def slopes(sizes: list[int], times: list[float]) -> dict[str, float] | None:
    """Return the log-log slopes: through all points, and between the last two."""
    if len(sizes) < 2:
        return None
    x, y = np.log(sizes), np.log(times)
    last = (y[-1] - y[-2]) / (x[-1] - x[-2])
    return {"all": float(np.polyfit(x, y, 1)[0]), "last": float(last)}


def plot(path: Path, report: Mapping[str, Any]) -> None:
    """Draw a panel for each axis, a line for each backend, on logarithmic axes."""
    from matplotlib import pyplot as plt

    colours = {
        "numpy": "#2563a8",
        "jax": "#e07b39",
        "torch": "#b0413e",
        "cupy": "#3b8132",
    }
    axes_of = report["axes"]
    style = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(style):
        columns = min(2, len(axes_of))
        rows = -(-len(axes_of) // columns)
        figure, panels = plt.subplots(
            rows, columns, figsize=(4.6 * columns, 3.5 * rows), squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for panel, (axis, found) in zip(panels.flat, axes_of.items(), strict=False):
            for backend, curve in found.items():
                x = [point["size"] for point in curve["points"]]
                y, low, high = (
                    [point["us"][k] for point in curve["points"]]
                    for k in ("median", "min", "max")
                )
                label = backend
                if curve["slope"]:
                    label += f" (slope at the end {curve['slope']['last']:.2f})"
                panel.fill_between(
                    x, low, high, color=colours[backend], alpha=0.15, lw=0
                )
                panel.plot(x, y, "o-", ms=4.5, color=colours[backend], label=label)
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.set_xticks(AXES[axis].sizes)
            panel.minorticks_off()
            panel.grid(color="#e6e8eb")
            panel.set_axisbelow(True)
            panel.set(xlabel=axis, ylabel=f"µs per {AXES[axis].per}")
            panel.legend(frameon=False, fontsize=8.5)
        figure.suptitle(
            "How the cost of training grows", x=0.01, ha="left", fontweight="bold"
        )
        figure.savefig(path, dpi=140)
        plt.close(figure)
    print(f"written: {path}")


def main(argv: Iterable[str] | None = None) -> int:
    """Run the benchmark; return 1 if a backend failed."""
    parser = common.parser(__doc__, rounds=3, stem="scaling")
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument(
        "--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS)
    )
    parser.add_argument("--points", type=common.positive, help="the first sizes only")
    options = parser.parse_args(None if argv is None else list(argv))
    report: dict[str, Any] = {"axes": {}, "absent": {}}
    rows = []
    for axis in options.axes:
        curves: dict[str, Any] = {}
        for size in AXES[axis].sizes[: options.points]:
            jobs = {
                backend: {"backend": backend, "axis": axis, "size": size}
                for backend in options.backends
                if backend not in report["absent"]
            }
            results = compete(__file__, jobs, options.rounds, f"{axis} {size}")
            for backend, result in results.items():
                if not result.get("rounds"):
                    report["absent"][backend] = result
                    continue
                curve = curves.setdefault(backend, {"points": []})
                point = {"size": size, "us": summary(series(result, "us"))}
                curve["points"].append(point)
        for backend, curve in curves.items():
            sizes = [point["size"] for point in curve["points"]]
            times = [point["us"]["median"] for point in curve["points"]]
            slope = curve["slope"] = slopes(sizes, times)
            cells = [f"{slope[k]:.2f}" for k in ("all", "last")] if slope else ["", ""]
            per = f"{times[0]:,.0f} to {times[-1]:,.0f}"
            span = f"{sizes[0]} to {sizes[-1]}"
            rows.append((f"{axis} on {backend}", span, per, *cells, AXES[axis].slope))
        report["axes"][axis] = curves
    header = ("", "sizes", "µs (median)", "slope", "at the end", "work's own")
    print(table(header, rows))
    print("\n".join(common.absent(report["absent"])))
    common.write(options.out, "scaling", options, report)
    try:
        plot(options.out.with_suffix(".png"), report)
    except ImportError as reason:
        print(f"no plot: {reason}")
    return int(common.failed(report))


if __name__ == "__main__":
    common.run(main, prepare)
