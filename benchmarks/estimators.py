"""Whole fits of the estimators against scikit-learn's own, same data, same numbers.

``python benchmarks/estimators.py [--rounds 5]``: each round fits everything once, in
turn, after a first fit that compiles; what is printed are medians, and ratios within a
round, since clocks drift. Who ends at another loss than scikit-learn is flagged, and
the script returns 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from typing import Any

import numpy as np
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning

import chainrule.sklearn as ours

FOREVER = {"tol": 0.0, "n_iter_no_change": 10_000, "random_state": 0}
PARABOLA = np.linspace(-1, 1, 256, dtype=np.float32)[:, None]
PROBLEMS: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "x² 1-32-32-1, batch 32, 60 epochs": (
        "MLPRegressor",
        PARABOLA,
        PARABOLA[:, 0] ** 2,
        {
            **FOREVER,
            "hidden_layer_sizes": (32, 32),
            "activation": "tanh",
            "batch_size": 32,
            "max_iter": 60,
        },
    ),
    "iris, defaults, 200 epochs": (
        "MLPClassifier",
        *datasets.load_iris(return_X_y=True),
        FOREVER,
    ),
    "digits 64-64-10, 30 epochs": (
        "MLPClassifier",
        *datasets.load_digits(return_X_y=True),
        {**FOREVER, "hidden_layer_sizes": (64,), "max_iter": 30},
    ),
}


def seconds(estimator: Any, X: Any, y: Any) -> float:
    """Time one fit."""
    start = time.perf_counter()
    estimator.fit(X, y)
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    """Print a table; return 1 if somebody ended elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    wrong = 0
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name, (kind, X, y, params) in PROBLEMS.items():
        contenders = {
            "scikit-learn": getattr(neural_network, kind)(**params),
            "numpy": getattr(ours, kind)(**params),
            "jax": getattr(ours, kind)(backend="jax", **params),
        }
        taken: dict[str, list[float]] = {who: [] for who in contenders}
        for number in range(rounds + 1):
            for who, estimator in contenders.items():
                once = seconds(estimator, X, y)
                if number:  # the first fit compiles
                    taken[who].append(once)
        print(name)
        for who, times in taken.items():
            pairs = zip(times, taken["scikit-learn"], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            line = f"  {who:<13} {1e3 * statistics.median(times):8.1f} ms  {ratio:.3f}"
            wanted = contenders["scikit-learn"].loss_
            if not abs(contenders[who].loss_ - wanted) <= 1e-3 * wanted:
                line, wrong = line + "  ENDS ELSEWHERE", 1
            print(line)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
