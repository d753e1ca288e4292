"""Time lower-precision products on the largest network against PyTorch in float32.

    python benchmarks/precision.py [--rounds 5] [--epochs 2]

chainrule in float32 ("highest"), "tf32" and "bfloat16" on each backend, beside PyTorch
in float32. Printed is how long a step takes and where the loss ends, both over
PyTorch's: half the time, with the loss within 2 %, is what bfloat16 is to reach on a
processor with AMX. A precision that a backend refuses is skipped by name.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterable

import common
import training_step
from common import Bar, compete, ratio, ratio_table, series
from contenders import CONTENDERS, Chainrule
from problems import LARGEST, PROBLEMS

PEER = "torch-eager"
TIME, LOSS = 0.5, 0.02  # of PyTorch's time at most; how far the loss may be from its
PRECISIONS = ("highest", "tf32", "bfloat16")

CONTENDERS |= {
    f"chainrule-{backend}-{precision}": functools.partial(
        Chainrule, backend=backend, precision=precision
    )
    for backend in ("numpy", "jax", "torch", "cupy")
    for precision in PRECISIONS
}
prepare = training_step.prepare


def main(argv: Iterable[str] | None = None) -> int:
    """Run the benchmark; return 1 if a contender failed."""
    names = [PEER, *(n for n in CONTENDERS if n.endswith(PRECISIONS))]
    parser = common.parser(__doc__, rounds=5, stem="precision")
    parser.add_argument("--contenders", nargs="+", choices=names, default=names)
    parser.add_argument("--problem", choices=PROBLEMS, default=LARGEST.name)
    parser.add_argument("--epochs", type=common.positive, default=2, help="of each fit")
    options = parser.parse_args(None if argv is None else list(argv))
    problem = PROBLEMS[options.problem]._replace(epochs=options.epochs)
    jobs = {n: {"problem": problem, "contender": n} for n in options.contenders}
    results = compete(__file__, jobs, options.rounds, problem.name)
    training_step.summarise(results)
    initial = problem.evaluate(problem.initial())
    print(training_step.lines(problem, initial, results))
    ratios = []
    for name in options.contenders:
        bar = TIME if name.endswith("bfloat16") else None
        pair = Bar(name, PEER, bar)
        if name == PEER or PEER not in results:
            continue
        us = [series(results[n], "us") for n in (name, PEER)]
        losses = [series(results[n], "loss") for n in (name, PEER)]
        if record := ratio(pair, *us, quantity="time"):
            ratios.append(record)
            value = statistics.median(losses[0]) / statistics.median(losses[1])
            ratios.append(
                ratio(pair._replace(limit=None), *losses, quantity="final loss")
                | {"bar": 1 + LOSS, "met": abs(value - 1) <= LOSS}
            )
    if ratios:
        print("\n" + ratio_table(ratios, "quantity"))
    report = {
        "problem": {**problem._asdict(), "initial_loss": initial},
        "contenders": results,
        "ratios": ratios,
    }
    common.write(options.out, "precision", options, report)
    return int(common.failed(report))


if __name__ == "__main__":
    common.run(main, prepare)
