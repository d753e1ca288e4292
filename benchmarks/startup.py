"""Time what comes before training, and measure the memory that the largest fit takes.

    python benchmarks/startup.py [--rounds 7]

Each number is of a process of its own, in turn: how long an import takes, over numpy's;
how long until the first step of a small network is done, from before the imports on,
compilation included, and the same on JAX where an earlier run's compilations were kept
("cached"); the peak of resident memory of a fit of 2048x3, over PyTorch's.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import common
from common import STARTED, Bar, compete, ratio, series, summary, table

IMPORTS = ("numpy", "chainrule", "sklearn.neural_network", "jax", "torch", "keras")
FITS = (
    "chainrule-numpy", "chainrule-jax", "chainrule-torch", "chainrule-cupy",
    "scikit-learn", "torch-eager", "torch-compile", "optax-scan", "keras-jax",
)  # fmt: skip
MEMORY = (*FITS[:4], "torch-eager")
BARS = {
    "import": [Bar("chainrule", "numpy", 1.3)],
    "first step": [],
    "peak memory": [Bar(name, "torch-eager", 1.2) for name in FITS[:4]],
}
UNITS = {"import": "ms", "first step": "s", "peak memory": "MB"}


def prepare(
    what: str, name: str, problem: Any = None, cache: str | None = None
) -> Callable[[], dict[str, float]]:
    """Be a process that does one thing once."""
    if cache is not None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    if what == "import":
        return lambda: {"value": _import(name)}

    def measure() -> dict[str, float]:
        from contenders import CONTENDERS
        from problems import Problem

        rival = CONTENDERS[name](Problem(problem[0], tuple(problem[1]), *problem[2:]))
        rival.reset()
        rival.fit()
        seconds = time.perf_counter() - STARTED
        return {"value": seconds if what == "first step" else common.peak_memory()}

    return measure


def _import(name: str) -> float:
    common.need(name.partition(".")[0])
    os.environ["KERAS_BACKEND"] = "jax"
    start = time.perf_counter()
    importlib.import_module(name)
    return 1e3 * (time.perf_counter() - start)


def jobs(largest_epochs: int, cache: str) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return what is measured: quantity -> name -> job."""
    from problems import LARGEST, SMALL

    first = SMALL._replace(samples=SMALL.batch, epochs=1)
    largest = LARGEST._replace(epochs=largest_epochs)
    first_step = {n: {"what": "first step", "name": n, "problem": first} for n in FITS}
    first_step["chainrule-jax, cached"] = {
        **first_step["chainrule-jax"],
        "cache": cache,
    }
    return {
        "import": {n: {"what": "import", "name": n} for n in IMPORTS},
        "first step": first_step,
        "peak memory": {
            n: {"what": "peak memory", "name": n, "problem": largest} for n in MEMORY
        },
    }


def main(argv: Iterable[str] | None = None) -> int:
    """Run the benchmark; return 1 if a contender failed."""
    parser = common.parser(__doc__, rounds=7, stem="startup")
    parser.add_argument(
        "--quantities", nargs="+", choices=list(UNITS), default=list(UNITS)
    )
    parser.add_argument("--contenders", nargs="+", help="names; all by default")
    parser.add_argument(
        "--epochs", type=common.positive, default=1, help="of the largest fit"
    )
    options = parser.parse_args(None if argv is None else list(argv))
    with tempfile.TemporaryDirectory() as cache:
        report = _measured(options, jobs(options.epochs, cache))
    if report["ratios"]:
        print("\n" + common.ratio_table(report["ratios"], "quantity"))
    common.write(options.out, "startup", options, report)
    return int(common.failed(report))


def _measured(options: Any, quantities: Any) -> dict[str, Any]:
    report: dict[str, Any] = {"quantities": {}, "ratios": []}
    for what, all_jobs in quantities.items():
        if what not in options.quantities:
            continue
        wanted = options.contenders or list(all_jobs)
        some = {name: job for name, job in all_jobs.items() if name in wanted}
        # A peak does not vary as a time does, and that fit is a long one.
        turns = min(options.rounds, 2) if what == "peak memory" else options.rounds
        results = compete(__file__, some, turns, what, fresh=True)
        for result in results.values():
            if result.get("rounds"):
                result.update(summary(series(result, "value")))
        ratios = [
            ratio(
                bar,
                series(results.get(bar.ours, {}), "value"),
                series(results.get(bar.theirs, {}), "value"),
                quantity=what,
            )
            for bar in BARS[what]
        ]
        report["quantities"][what] = {"unit": UNITS[what], "contenders": results}
        report["ratios"] += [r for r in ratios if r]
        rows = [
            (name, *(f"{r[k]:,.4g}" for k in ("median", "min", "max")))
            for name, r in results.items()
            if "median" in r
        ]
        print("\n" + table((f"{what}, {UNITS[what]}", "median", "min", "max"), rows))
        print("\n".join(common.absent(results)))
    return report


if __name__ == "__main__":
    common.run(main, prepare)
