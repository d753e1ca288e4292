"""Time training steps of small and large networks against the peers, in one run.

    python benchmarks/training_step.py [--problems 2-64-64-3] [--contenders numpy-bare]

Contenders take turns, each in a process of its own. A turn is one whole fit from the
initial parameters, after a warm-up fit of the same shapes. Printed are medians of
microseconds a step with their spread, the loss that each ends with, measured by the
same code for all, and the ratios that chainrule is to reach beside their bars. Whoever
ends with another loss than the rest is flagged: nobody wins by computing less.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import common
from common import STARTED, Bar, compete, ratio, ratio_table, series, summary, table
from contenders import CONTENDERS, OWN_ORDER
from problems import PROBLEMS, Problem

# How far a final loss may be from the others': rounding alone, or another order.
# (Keras, whose order differs each time, ends up to a quarter apart from itself.)
SAME_BATCHES, OTHER_BATCHES = 1e-3, 0.4

LIMIT = "limit"  # the fastest of the three libraries' matrix products
BARS = {
    ("chainrule-numpy", "scikit-learn"): (0.32, 0.50, 0.45, 0.60, 0.65),
    ("chainrule-numpy", "torch-eager"): (0.24, 0.40, 0.40, 1.10, 1.20),
    ("chainrule-numpy", "numpy-bare"): (1.2, 1.1, 1.1, 1.0, 0.85),
    ("chainrule-jax", "optax-scan"): (0.62, 0.88, 0.85, 1.0, 1.0),
    ("chainrule-jax", "torch-eager"): (0.035, 0.16, 0.15, 1.0, 1.1),
    ("chainrule-torch", "torch-eager"): (0.45, 0.60, 0.65, 1.0, 1.0),
    ("chainrule-torch-compiled", "torch-eager"): (0.45, 0.60, 0.65, 1.0, 1.0),
    ("chainrule-numpy", LIMIT): (None, None, None, None, 1.3),
    # Without a bar, for those who would choose between them.
    ("chainrule-jax", "optax-loop"): (None,) * 5,
    ("chainrule-jax", "keras-jax"): (None,) * 5,
    ("chainrule-torch", "torch-compile"): (None,) * 5,
    ("chainrule-torch-compiled", "torch-compile"): (None,) * 5,
    ("chainrule-cupy", "torch-eager"): (None,) * 5,
}


def prepare(problem: Sequence[Any], contender: str) -> Callable[[], dict[str, float]]:
    """Be a contender: import, compile, warm up; return the timed fit."""
    it = Problem(*problem[:1], tuple(problem[1]), *problem[2:])
    rival = CONTENDERS[contender](it)
    rival.reset()
    rival.fit()
    first = time.perf_counter() - STARTED

    def measure() -> dict[str, float]:
        rival.reset()
        gc.collect()
        start = time.perf_counter()
        rival.fit()
        seconds = time.perf_counter() - start
        peak = common.peak_memory()
        layers = rival.layers()
        found = {
            "us": 1e6 * seconds / (it.epochs * it.steps),
            "first_fit_s": first,
            "peak_MB": peak,
        }
        return found if layers is None else found | {"loss": it.evaluate(layers)}

    return measure


def summarise(results: Mapping[str, Any]) -> None:
    """Add each contender's median and spread, and its median loss, to the results."""
    for result in results.values():
        if result.get("rounds"):
            result["us"] = summary(series(result, "us"))
            if losses := [m["loss"] for m in result["rounds"] if "loss" in m]:
                result["loss"] = statistics.median(losses)


def judge(results: Mapping[str, Any]) -> None:
    """Say in the results whether each ended where the others did."""
    losses = {name: r["loss"] for name, r in results.items() if "loss" in r}
    same = [loss for name, loss in losses.items() if name not in OWN_ORDER]
    typical = statistics.median(same or losses.values() or [0.0])
    for name, loss in losses.items():
        allowed = OTHER_BATCHES if name in OWN_ORDER else SAME_BATCHES
        results[name]["loss_agrees"] = abs(loss - typical) <= allowed * typical


def ratios_of(problem: Problem, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the ratios of one problem, those that it has."""
    times = {name: series(result, "us") for name, result in results.items()}
    limits = [t for name, t in times.items() if name.startswith(LIMIT) and t]
    times[LIMIT] = min(limits, key=statistics.median, default=[])
    column = list(PROBLEMS).index(problem.name)
    found = [
        ratio(
            Bar(*pair, bars[column]),
            times.get(pair[0], []),
            times.get(pair[1], []),
            problem=problem.name,
        )
        for pair, bars in BARS.items()
    ]
    return [r for r in found if r]


def lines(problem: Problem, initial: float, results: Mapping[str, Any]) -> str:
    """Lay out what one problem gave, the fastest first."""
    there = {n: r for n, r in results.items() if "us" in r}
    rows = []
    for name, r in sorted(there.items(), key=lambda item: item[1]["us"]["median"]):
        us = r["us"]
        loss = f"{r['loss']:.4g}" if "loss" in r else "-"
        flag = "" if r.get("loss_agrees", True) else "  <- another loss than the others"
        rows.append(
            (name, *(f"{us[k]:,.1f}" for k in ("median", "min", "max")), loss + flag)
        )
    title = (
        f"{problem.name} {problem.activation}, batch {problem.batch}, "
        f"{problem.samples:,} samples, {problem.loss} {initial:.4g} at the start, "
        f"{problem.epochs * problem.steps} steps a fit"
    )
    body = table(("µs a step", "median", "min", "max", "final loss"), rows)
    return "\n".join(["", title, body, *common.absent(results)])


def plot(path: Path, report: Mapping[str, Any]) -> None:
    """Draw a panel for each problem: µs a step of each contender, median and spread."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    blue, orange, grey, black = "#2563a8", "#e07b39", "#8a8f98", "#22262b"

    def colour(name: str) -> str:
        if name.startswith("chainrule"):
            return blue
        if name == "numpy-bare":
            return orange
        return black if name == LIMIT else grey

    def short(value: float, _: Any = None) -> str:
        return f"{value / 1000:g} ms" if value >= 1000 else f"{value:g} µs"

    problems = {n: _plotted(p["contenders"]) for n, p in report["problems"].items()}
    names = [n for n in (*CONTENDERS, LIMIT) if any(n in p for p in problems.values())]
    height = {name: len(names) - k for k, name in enumerate(names)}
    style = {"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(style):
        figure, axes = plt.subplots(
            1,
            len(problems),
            figsize=(1.6 + 2.6 * max(2, len(problems)), 1.6 + 0.34 * len(names)),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for ax, (problem, there) in zip(axes[0], problems.items(), strict=True):
            for name, us in there.items():
                y, c = height[name], colour(name)
                ax.plot([us["min"], us["max"]], [y, y], color=c, lw=4, alpha=0.3)
                ax.plot(us["median"], y, "o", ms=6.5, color=c)
                ax.annotate(
                    f"{us['median']:,.0f}" if us["median"] < 10000
                    else f"{us['median'] / 1000:,.0f} ms",
                    (us["median"], y), (0, 5), textcoords="offset points",
                    ha="center", va="bottom", fontsize=7.5, color=c,
                )  # fmt: skip
            ends = [us[k] for us in there.values() for k in ("min", "max")] or [1.0]
            if LIMIT in there:
                ax.axvline(there[LIMIT]["median"], color=black, lw=0.8, ls=":")
            ax.set_xscale("log")
            ax.set_xlim(min(ends) / 1.5, max(ends) * 1.6)
            span = max(ends) / min(ends)
            ax.xaxis.set_major_locator(
                MaxNLocator(3)  # too few of the powers of ten would be in sight
                if span < 3
                else LogLocator(
                    subs=(1.0,) if span > 12 else (1.0, 2.0, 5.0), numticks=8
                )
            )
            ax.xaxis.set_minor_locator(LogLocator(subs="auto", numticks=8))
            ax.xaxis.set_major_formatter(FuncFormatter(short))
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.grid(axis="x", color="#e6e8eb")
            ax.set_axisbelow(True)
            ax.tick_params(axis="y", length=0)
            p = PROBLEMS[problem]
            ax.set_title(
                f"{problem}\n{p.activation}, batch {p.batch}", fontsize=10, loc="left"
            )
        axes[0][0].set_yticks(list(height.values()), list(height))
        axes[0][0].set_ylim(0.4, len(names) + 0.8)
        for label in axes[0][0].get_yticklabels():
            label.set_color(colour(label.get_text()))
        cpu = common.machine()
        figure.suptitle(
            "Time of one training step (logarithmic; further left is faster)\n"
            f"{cpu['cpu']}, {cpu['cores']} cores, Adam, float32",
            x=0.01, ha="left", fontsize=10.5, fontweight="bold",
        )  # fmt: skip
        figure.savefig(path, dpi=140)
        plt.close(figure)
    print(f"written: {path}")


def _plotted(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contenders' spreads; of the limits, the best."""
    there = {name: r["us"] for name, r in results.items() if "us" in r}
    limits = [there.pop(name) for name in list(there) if name.startswith(LIMIT)]
    if limits:
        there[LIMIT] = min(limits, key=lambda us: us["median"])
    return there


def main(argv: Iterable[str] | None = None) -> int:
    """Run the benchmark; return 1 if a contender failed or ended elsewhere."""
    parser = common.parser(__doc__, rounds=5, stem="training_step")
    parser.add_argument(
        "--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS)
    )
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS)
    )
    parser.add_argument(
        "--epochs", type=common.positive, help="of each fit, instead of the problem's"
    )
    options = parser.parse_args(None if argv is None else list(argv))
    report: dict[str, Any] = {"problems": {}, "ratios": []}
    for name in options.problems:
        problem = PROBLEMS[name]
        if options.epochs:
            problem = problem._replace(epochs=options.epochs)
        jobs = {n: {"problem": problem, "contender": n} for n in options.contenders}
        results = compete(__file__, jobs, options.rounds, name)
        summarise(results)
        judge(results)
        initial = problem.evaluate(problem.initial())
        report["problems"][name] = {
            **problem._asdict(),
            "initial_loss": initial,
            "contenders": results,
        }
        report["ratios"] += ratios_of(problem, results)
        print(lines(problem, initial, results), flush=True)
    if report["ratios"]:
        print("\n" + ratio_table(report["ratios"], "problem"))
    common.write(options.out, "training_step", options, report)
    try:
        plot(options.out.with_suffix(".png"), report)
    except ImportError as reason:
        print(f"no plot: {reason}")
    elsewhere = [
        r for p in report["problems"].values() for r in p["contenders"].values()
        if not r.get("loss_agrees", True)
    ]  # fmt: skip
    return int(common.failed(report) or bool(elsewhere))


if __name__ == "__main__":
    common.run(main, prepare)
