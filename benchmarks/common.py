"""What the benchmarks share: contenders in processes that take turns, numbers, tables.

A script defines ``prepare(**job) -> measure``. `compete` starts one process a contender
(``script.py --serve JOB``), which imports, compiles and warms up, and then answers each
turn with what ``measure()`` returns; between its turns it sleeps. Nothing but the
standard library is imported before a worker's clock starts.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

STARTED = time.perf_counter()

HERE = Path(__file__).resolve().parent
LIBRARIES = (
    "numpy", "scipy", "jax", "jaxlib", "torch", "cupy", "scikit-learn", "optax",
    "keras",
)  # fmt: skip
# What decides how fast a processor multiplies, and what its threads were told.
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS")


class Missing(Exception):
    """A contender cannot be had on this machine; the message says why."""


def need(*modules: str) -> None:
    """Raise `Missing` if a module cannot be imported."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            msg = f"{module} is not installed"
            raise Missing(msg)


# Processes.


def serve(prepare: Callable[..., Callable[[], Any]], job: Mapping[str, Any]) -> None:
    """Be a worker: prepare, then answer each line of the input with a measurement."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what libraries print does not mix with the answers

        def answer(**message: Any) -> None:
            print(json.dumps(message), file=out, flush=True)

        try:
            measure = prepare(**job)
            answer(ready=True)
            for _ in sys.stdin:
                answer(measured=measure())
        except (Missing, ImportError) as reason:
            answer(skipped=str(reason).partition("\n")[0])
        except Exception as error:
            traceback.print_exc()
            answer(failed=f"{type(error).__name__}: {error}".partition("\n")[0])


class Worker:
    """A contender's process, asleep between its turns."""

    def __init__(self, script: str, job: Mapping[str, Any]) -> None:
        # Modules are compiled once and kept, as for users.
        keeps = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self._process = subprocess.Popen(
            [sys.executable, script, "--serve", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if not os.environ.get("BENCHMARK_DEBUG") else None,
            text=True,
            env=keeps,
        )

    def read(self) -> dict[str, Any]:
        """Wait for the next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        return {"failed": f"the process ended with status {self._process.wait()}"}

    def turn(self) -> dict[str, Any]:
        """Ask for one measurement."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def compete(
    script: str,
    jobs: Mapping[str, Mapping[str, Any]],
    rounds: int,
    what: str = "",
    *,
    fresh: bool = False,
) -> dict[str, dict[str, Any]]:
    """Let contenders take turns, and return what each measured.

    Parameters
    ----------
    script : str
        Path of the script whose ``prepare`` the workers call.
    jobs : mapping
        Name of a contender -> keyword arguments of ``prepare``.
    rounds : int
        Measurements of each contender; a round is one of every contender, in turn.
    what : str
        Shown beside the progress.
    fresh : bool
        Whether each turn has a new process: for what happens once in a process. A
        first one, which finds no compiled modules and cold files, does not count.

    Returns
    -------
    dict
        Name -> ``{"rounds": [...]}``, ``{"skipped": why}`` or ``{"failed": why}``.
    """
    from tqdm import tqdm

    found: dict[str, dict[str, Any]] = {name: {"rounds": []} for name in jobs}
    workers: dict[str, Worker] = {}
    bar = tqdm(total=len(jobs) * (rounds + 1), leave=False, dynamic_ncols=True)

    def start(name: str) -> None:
        bar.set_description(f"{what} {name}: prepares".strip())
        workers[name] = Worker(script, jobs[name])
        note(name, workers[name].read())

    def note(name: str, answer: dict[str, Any]) -> None:
        if "measured" in answer:
            found[name]["rounds"].append(answer["measured"])
        elif "ready" not in answer:
            found[name] = answer
            workers.pop(name).close()

    try:
        for name in jobs:
            start(name)
            if fresh and name in workers:
                answer = workers[name].turn()
                if "measured" in answer:
                    workers.pop(name).close()
                else:
                    note(name, answer)
            bar.update()
        for r in range(rounds):
            for name in jobs:
                if fresh and "rounds" in found[name]:
                    start(name)
                bar.set_description(f"{what} {name}: round {r + 1}".strip())
                if name in workers:
                    note(name, workers[name].turn())
                if fresh and name in workers:
                    workers.pop(name).close()
                bar.update()
    finally:
        for worker in workers.values():
            worker.close()
        bar.close()
    return found


# The machine.


def machine() -> dict[str, Any]:
    """Say what this machine is, and how busy it is just now."""
    import numpy as np

    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    info = _cpuinfo()
    flags = info.get("flags", info.get("Features", "")).split()
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "blas": f"{built['name']} {built['version']}",
        "system": platform.platform(),
        "threads": {k: os.environ[k] for k in THREADS if k in os.environ},
        "load": [round(x, 2) for x in os.getloadavg()],
    }


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    pairs = [line.partition(":") for line in path.read_text("utf-8").splitlines()]
    return {key.strip(): value.strip() for key, _, value in reversed(pairs)}


def versions() -> dict[str, str]:
    """Return the versions of what took part, and this repository's commit."""
    import chainrule

    found = {"python": platform.python_version(), "chainrule": chainrule.__version__}
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run(git, capture_output=True, text=True, check=True)
        found["commit"] = done.stdout.strip()
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def peak_memory() -> float:
    """Return the largest resident size that this process had, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage's number is inherited from the process that started this one.
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    import resource

    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


# Numbers.


def summary(values: Iterable[float]) -> dict[str, float]:
    """Median and spread."""
    values = list(values)
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
    }


def series(result: Mapping[str, Any], key: str) -> list[float]:
    """Return one number of each round; none if the contender did not take part."""
    return [measured[key] for measured in result.get("rounds", ())]


class Bar(NamedTuple):
    """A ratio that is to be reached: ours / theirs at most `limit`."""

    ours: str
    theirs: str
    limit: float | None


def ratio(bar: Bar, ours: list[float], theirs: list[float], **where: Any) -> Any:
    """Return the ratio of the medians, and its spread over the rounds, as a record.

    None if one of both did not take part.
    """
    if not ours or not theirs:
        return None
    value = statistics.median(ours) / statistics.median(theirs)
    turns = [a / b for a, b in zip(ours, theirs, strict=False)]
    return {
        "ratio": f"{bar.ours} / {bar.theirs}",
        **where,
        "value": value,
        "low": min(turns),
        "high": max(turns),
        "bar": bar.limit,
        "met": None if bar.limit is None else value <= bar.limit,
    }


# What is printed and written.


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Lay out rows of text: the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (list(header), *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def ratio_table(ratios: Iterable[Mapping[str, Any]], where: str) -> str:
    """Lay out ratios: a row each, a column for each place, beside their bars.

    ``0.31 <= 0.32`` is met, ``0.40 > 0.32`` is not, ``0.5`` has no bar.
    """
    ratios = list(ratios)
    places = list(dict.fromkeys(r[where] for r in ratios))
    cells = {(r["ratio"], r[where]): r for r in ratios}
    rows = [
        (name, *(_cell(cells.get((name, place))) for place in places))
        for name in dict.fromkeys(r["ratio"] for r in ratios)
    ]
    return table(("ratio, smaller is better", *places), rows)


def _cell(r: Mapping[str, Any] | None) -> str:
    if r is None:
        return ""
    if r["bar"] is None:
        return f"{r['value']:.3g}"
    return f"{r['value']:.3g} {'<=' if r['met'] else '> '} {r['bar']:g}"


def absent(results: Mapping[str, Mapping[str, Any]], where: str = "") -> list[str]:
    """Say who did not take part, and why."""
    place = f" on {where}" if where else ""
    return [
        f"{name}{place} {state}: {result[state]}"
        for name, result in results.items()
        for state in ("skipped", "failed")
        if state in result
    ]


def failed(report: Any) -> bool:
    """Whether anywhere in a report a contender failed."""
    if isinstance(report, Mapping):
        return "failed" in report or any(failed(part) for part in report.values())
    return False


def parser(doc: str | None, *, rounds: int, stem: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(
        description=(doc or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument("--rounds", type=positive, default=rounds, help="turns of each")
    made.add_argument(
        "--out",
        type=Path,
        default=HERE / "results" / f"{stem}.json",
        help="the JSON that is written; a plot stands beside it",
    )
    return made


def positive(text: str) -> int:
    """Read an option that counts something."""
    number = int(text)
    if number < 1:
        msg = f"must be at least 1; got {number}"
        raise argparse.ArgumentTypeError(msg)
    return number


def write(path: Path, benchmark: str, options: Any, report: dict[str, Any]) -> None:
    """Write a report as JSON, with the machine and the versions."""
    given = {k: v for k, v in vars(options).items() if k != "out"}
    head = {
        "benchmark": benchmark,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "options": given,
        "machine": machine(),
        "versions": versions(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(head | report, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")


def run(main: Callable[[], int], prepare: Callable[..., Any]) -> None:
    """Be the script: the main program, or one of its workers."""
    if sys.argv[1:2] == ["--serve"]:
        serve(prepare, json.loads(sys.argv[2]))
    else:
        sys.exit(main())
