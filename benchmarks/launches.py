"""Count the kernels that a GPU runs for one training step, backend by backend.

    python benchmarks/launches.py [--problems 2-64-64-3] [--contenders chainrule-cupy]

On a GPU a small step costs its launches, whatever they compute. CUPTI, NVIDIA's own
tracing (``pip install cupti-python``), notes every kernel, copy and fill that the
process has the GPU run, whichever library asks for it: cuBLAS's and those inside CUDA
graphs too. A fit of twice as many epochs minus one of as many as the problem has, over
the steps between, leaves out what a fit does once. Without an NVIDIA GPU all are
skipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import common
from common import Missing, compete, need, series, summary, table
from contenders import Chainrule
from problems import PROBLEMS, Problem

CONTENDERS = {
    "chainrule-cupy": ("cupy", "cuda:0"),
    "chainrule-torch": ("torch", "cuda:0"),
    "chainrule-jax": ("jax", "gpu:0"),
}
KINDS = {"kernels": "CONCURRENT_KERNEL", "copies": "MEMCPY", "fills": "MEMSET"}
# Bytes of a buffer that CUPTI fills with records.
BUFFER = 8 << 20


class Trace:
    """What the GPU does for this process between `start` and `stop`."""

    def __init__(self) -> None:
        need("cupti")
        from cupti import cupti

        self._cupti = cupti
        self._kinds = {int(getattr(cupti.ActivityKind, k)): n for n, k in KINDS.items()}
        self._found: Counter[str] = Counter()
        try:
            cupti.activity_register_callbacks(lambda: (BUFFER, 0), self._note)
        except RuntimeError as error:
            msg = f"CUPTI is not to be had: {error}"
            raise Missing(msg) from error

    def _note(self, records: Iterable[Any]) -> None:
        self._found.update(self._kinds[int(r.kind)] for r in records)

    def start(self) -> None:
        """Begin to count."""
        self._cupti.activity_flush_all(1)
        self._found.clear()
        for kind in self._kinds:
            self._cupti.activity_enable(kind)

    def stop(self) -> Counter[str]:
        """Return the counts; the GPU must have finished."""
        for kind in self._kinds:
            self._cupti.activity_disable(kind)
        self._cupti.activity_flush_all(1)
        return self._found.copy()


def engine_of(contender: str) -> Any:
    """Return the backend on its GPU."""
    import chainrule as cr

    name, device = CONTENDERS[contender]
    try:
        return cr.backends.get(name, device)
    except cr.ChainruleError as error:
        msg = f"no GPU: {error}"
        raise Missing(msg) from error


def per_step(count: Callable[[int], Mapping[str, int]], problem: Problem) -> Any:
    """Return what a step has; ``count(epochs)`` counts a fit of so many epochs."""
    once, twice = count(problem.epochs), count(2 * problem.epochs)
    steps = problem.epochs * problem.steps
    return {k: (twice.get(k, 0) - once.get(k, 0)) / steps for k in KINDS}


def prepare(problem: Sequence[Any], contender: str) -> Callable[[], dict[str, float]]:
    """Be a contender: find the GPU, compile, warm up; return what counts."""
    it = Problem(*problem[:1], tuple(problem[1]), *problem[2:])
    engine = engine_of(contender)
    trace = Trace()

    def count(epochs: int) -> Mapping[str, int]:
        rival = Chainrule(it._replace(epochs=epochs), backend=engine)
        trace.start()
        rival.fit()
        engine.to_numpy(rival.model.theta)  # what was asked for is done by then
        return trace.stop()

    per_step(count, it)  # what is compiled, tuned or cached at the first time

    return lambda: per_step(count, it)


def lines(problem: Problem, results: Mapping[str, Any]) -> str:
    """Lay out what one problem gave."""
    rows = [
        (name, *(f"{r[kind]['median']:.2f}" for kind in KINDS))
        for name, r in results.items()
        if "kernels" in r
    ]
    title = f"{problem.name} {problem.activation}, batch {problem.batch}, Adam"
    body = [table(("a step", *KINDS), rows)] if rows else []
    return "\n".join(["", title, *body, *common.absent(results)])


def main(argv: Iterable[str] | None = None) -> int:
    """Run the benchmark; return 1 if a contender failed."""
    parser = common.parser(__doc__, rounds=1, stem="launches")
    parser.add_argument(
        "--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS)
    )
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS)
    )
    options = parser.parse_args(None if argv is None else list(argv))
    report: dict[str, Any] = {"problems": {}}
    for name in options.problems:
        problem = PROBLEMS[name]._replace(epochs=1)
        jobs = {n: {"problem": problem, "contender": n} for n in options.contenders}
        results = compete(__file__, jobs, options.rounds, name)
        for result in results.values():
            if result.get("rounds"):
                result |= {kind: summary(series(result, kind)) for kind in KINDS}
        report["problems"][name] = {**problem._asdict(), "contenders": results}
        print(lines(problem, results), flush=True)
    common.write(options.out, "launches", options, report)
    return int(common.failed(report))


if __name__ == "__main__":
    common.run(main, prepare)
