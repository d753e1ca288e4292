"""Time what a trained network is asked for: outputs of one row and many, Jacobians.

    python benchmarks/inference.py [--rounds 7]

On 2-64-64-3 tanh: predict of 1 row and of 10,000, and the Jacobian of 1,000 rows.
Contenders take turns, each in a process of its own; a turn calls until a tenth of a
second has passed. Everyone gets and gives arrays of its own kind (NumPy's for
scikit-learn and Keras), and is held to a float64 reference.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import common
import numpy as np
from common import Bar, compete, need, ratio, series, summary, table
from contenders import CONTENDERS
from problems import SMALL

TASKS = {"predict 1 row": 1, "predict 10,000 rows": 10_000, "jacobian 1,000 rows": 1000}
ONE_ROW = 12.0  # µs, on NumPy
BACKENDS = ("numpy", "jax", "torch", "cupy")
PEERS = ("scikit-learn", "keras-predict", "keras-on-batch", "torch-eager")
BARS = {
    "predict 1 row": [Bar("chainrule-numpy", peer, 1.0) for peer in PEERS],
    "predict 10,000 rows": [Bar("chainrule-numpy", peer, None) for peer in PEERS],
    "jacobian 1,000 rows": [
        Bar("chainrule-numpy", "torch-eager", None),
        Bar("chainrule-numpy", "torch-compile", None),
        Bar("chainrule-jax", "jax-jit", None),
        Bar("chainrule-torch", "torch-eager", None),
        Bar("chainrule-torch", "torch-compile", None),
    ],
}
TOLERANCE = 1e-4  # of float32's answers, where they are of size 1
SECONDS = 0.1  # of one turn


def outputs(x: Any, layers: Any) -> Any:
    """Return the network's output by plain NumPy."""
    for k, (w, b) in enumerate(layers):
        x = x @ w.T + b
        x = np.tanh(x) if k < len(layers) - 1 else x
    return x


def jacobian(x: Any, layers: Any) -> Any:
    """Return ∂Z/∂X (rows, m, n) by plain NumPy, forward from the input."""
    j = np.broadcast_to(np.eye(x.shape[1], dtype=x.dtype), (len(x), *[x.shape[1]] * 2))
    for k, (w, b) in enumerate(layers):
        x, j = x @ w.T + b, w @ j
        if k < len(layers) - 1:
            x = np.tanh(x)
            j = (1 - x * x)[:, :, None] * j
    return j


def by_chainrule(task: str, x: Any, backend: str) -> Callable[[], Any]:
    model = CONTENDERS[f"chainrule-{backend}"](SMALL).model
    if backend != "numpy":
        need(backend)
        x = model.backend.asarray(x)
    f = model.jacobian if task.startswith("jacobian") else model.predict
    if backend != "jax":
        return lambda: f(x)
    return lambda: f(x).block_until_ready()


def by_numpy(task: str, x: Any) -> Callable[[], Any]:
    layers = SMALL.initial()
    f = jacobian if task.startswith("jacobian") else outputs
    return lambda: f(x, layers)


def by_scikit_learn(task: str, x: Any) -> Callable[[], Any]:
    rival = CONTENDERS["scikit-learn"](SMALL)
    rival.reset()
    return lambda: rival.model.predict(x)


def by_keras(task: str, x: Any, method: str) -> Callable[[], Any]:
    rival = CONTENDERS["keras-jax"](SMALL)
    rival.reset()
    if method == "predict":
        return lambda: rival.model.predict(x, verbose=0)
    return lambda: rival.model.predict_on_batch(x)


def by_torch(task: str, x: Any, *, compiled: bool) -> Callable[[], Any]:
    rival = CONTENDERS["torch-eager"](SMALL)
    rival.reset()
    import torch

    f, x = rival.net.requires_grad_(False), torch.from_numpy(x)
    if task.startswith("jacobian"):
        f = torch.func.vmap(torch.func.jacrev(rival.net))
    if compiled:
        f = torch.compile(f, fullgraph=True, dynamic=False)

    def call() -> Any:
        with torch.no_grad():
            return f(x)

    return call


def by_jax(task: str, x: Any) -> Callable[[], Any]:
    need("jax")
    import jax
    import jax.numpy as jnp

    layers = [(jnp.array(w), jnp.array(b)) for w, b in SMALL.initial()]

    def f(layers: Any, x: Any) -> Any:
        for k, (w, b) in enumerate(layers):
            x = x @ w.T + b
            x = jnp.tanh(x) if k < len(layers) - 1 else x
        return x

    x = jnp.array(x)
    if task.startswith("jacobian"):
        f = jax.vmap(jax.jacrev(f, argnums=1), in_axes=(None, 0))
    run = jax.jit(f)
    return lambda: run(layers, x).block_until_ready()


RIVALS: dict[str, Callable[[str, Any], Callable[[], Any]]] = {
    **{
        f"chainrule-{name}": lambda task, x, name=name: by_chainrule(task, x, name)
        for name in BACKENDS
    },
    "scikit-learn": by_scikit_learn,
    "keras-predict": lambda task, x: by_keras(task, x, "predict"),
    "keras-on-batch": lambda task, x: by_keras(task, x, "predict_on_batch"),
    "torch-eager": lambda task, x: by_torch(task, x, compiled=False),
    "torch-compile": lambda task, x: by_torch(task, x, compiled=True),
    "jax-jit": by_jax,
    "numpy-bare": by_numpy,
}
NO_JACOBIAN = ("scikit-learn", "keras-predict", "keras-on-batch")


def rivals(task: str) -> list[str]:
    """Return who can do a task."""
    jacobians = task.startswith("jacobian")
    return [name for name in RIVALS if not (jacobians and name in NO_JACOBIAN)]


def prepare(task: str, contender: str) -> Callable[[], dict[str, float]]:
    """Be a contender: import, compile, warm up; return the timed loop."""
    os.environ["KERAS_BACKEND"] = "jax"
    x = np.random.default_rng(2).uniform(-1, 1, (TASKS[task], 2)).astype(np.float32)
    call = RIVALS[contender](task, x)
    exact = [(w.astype(np.float64), b.astype(np.float64)) for w, b in SMALL.initial()]
    reference = jacobian if task.startswith("jacobian") else outputs
    answer = call()
    host = np.asarray(answer.get() if hasattr(answer, "get") else answer)
    error = float(np.abs(host - reference(x.astype(np.float64), exact)).max())
    number = 1
    while _loop(call, number) < SECONDS / 4:
        number *= 2
    number *= 4

    def measure() -> dict[str, float]:
        return {"us": 1e6 * _loop(call, number) / number, "error": error}

    return measure


def _loop(call: Callable[[], Any], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        call()
    return time.perf_counter() - start


def main(argv: Iterable[str] | None = None) -> int:
    """Run the benchmark; return 1 if a contender failed or answered wrongly."""
    parser = common.parser(__doc__, rounds=7, stem="inference")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--contenders", nargs="+", choices=RIVALS, default=list(RIVALS))
    options = parser.parse_args(None if argv is None else list(argv))
    report: dict[str, Any] = {"tasks": {}, "ratios": []}
    wrong = False
    for task in options.tasks:
        names = [name for name in rivals(task) if name in options.contenders]
        jobs = {name: {"task": task, "contender": name} for name in names}
        results = compete(__file__, jobs, options.rounds, task)
        rows = []
        for name, result in results.items():
            if result.get("rounds"):
                us = result["us"] = summary(series(result, "us"))
                result["error"] = max(series(result, "error"))
                result["agrees"] = result["error"] <= TOLERANCE
                flag = "" if result["agrees"] else "  <- another answer"
                wrong |= not result["agrees"]
                cells = [f"{us[k]:,.1f}" for k in ("median", "min", "max")]
                rows.append((name, *cells, f"{result['error']:.1e}{flag}"))
        print("\n" + table((f"{task}, µs", "median", "min", "max", "error"), rows))
        print("\n".join(common.absent(results)), flush=True)
        times = {name: series(result, "us") for name, result in results.items()}
        found = [
            ratio(bar, times.get(bar.ours, []), times.get(bar.theirs, []), task=task)
            for bar in BARS[task]
        ]
        if task == "predict 1 row":
            bar = Bar("chainrule-numpy", f"{ONE_ROW:g} µs", 1.0)
            ours = times.get(bar.ours, [])
            found.append(ratio(bar, ours, [ONE_ROW] * len(ours), task=task))
        report["tasks"][task] = results
        report["ratios"] += [r for r in found if r]
    if report["ratios"]:
        print("\n" + common.ratio_table(report["ratios"], "task"))
    common.write(options.out, "inference", options, report)
    return int(common.failed(report) or wrong)


if __name__ == "__main__":
    common.run(main, prepare)
