"""Time an ensemble against its members trained one by one.

    python benchmarks/ensemble.py [--rounds 5] [--epochs 10] [--members 32] [--out
    r.json]

1-32-32-1, tanh, batch 32, Adam, float32, 1,024 samples. The two take turns, each in a
process of its own, after a warm-up fit of the same shapes. Printed are the medians of
the seconds for all members, their ratio, and how far apart the two end: they do the
same work, since member k of the ensemble is the k-th lone model.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import chainrule as cr

SAMPLES, BATCH, UNITS = 1024, 32, (32, 32, 1)


def one(which, options):
    """Train all members, in one pass or one by one; return seconds and losses."""
    x = np.linspace(-1, 1, SAMPLES, dtype=np.float32)[:, None]
    y = x**2

    def models():
        ensemble = cr.Model(
            cr.MLP(UNITS, activation="tanh"),
            optimizer=cr.Adam(1e-3),
            backend=options.backend,
            members=options.members,
        ).build(1)
        if which == "ensemble":
            return [ensemble]
        return [ensemble.member(k) for k in range(options.members)]

    def fit(models, epochs):
        start = time.perf_counter()
        for model in models:
            model.fit(x, y, epochs=epochs, batch_size=BATCH, progress=False)
        return time.perf_counter() - start

    fit(models()[:1], 2)
    trained = models()
    seconds = fit(trained, options.epochs)
    if which == "ensemble":
        losses = trained[0].history["member_loss"][-1].tolist()
    else:
        losses = [model.history["loss"][-1] for model in trained]
    return {"seconds": seconds, "losses": losses}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--members", type=int, default=32)
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options)))
        return
    runs = {"ensemble": [], "one by one": []}
    shared = ["epochs", "members", "backend"]
    arguments = [f"--{name}={getattr(options, name)}" for name in shared]
    for _ in range(options.rounds):
        for name, rows in runs.items():
            command = [sys.executable, __file__, "--one", name, *arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            rows.append(json.loads(done.stdout))
    seconds = {
        name: statistics.median(row["seconds"] for row in rows)
        for name, rows in runs.items()
    }
    ratio = seconds["ensemble"] / seconds["one by one"]
    ours, theirs = (np.array(rows[0]["losses"]) for rows in runs.values())
    gap = float(np.max(np.abs(ours / theirs - 1.0)))
    steps = options.epochs * SAMPLES // BATCH
    print(f"{options.members} members, {steps} steps, {options.backend}, float32")
    for name, value in seconds.items():
        spread = [row["seconds"] for row in runs[name]]
        print(f"{name:<11} {value:.3f} s ({min(spread):.3f} to {max(spread):.3f})")
    print(f"ratio {ratio:.3f}; final losses differ by at most {gap:.1e}, relative")
    if options.out:
        report = {
            "versions": {"python": platform.python_version(), "numpy": np.__version__},
            "options": {name: getattr(options, name) for name in shared},
            "runs": runs,
            "seconds": seconds,
            "ratio": ratio,
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
