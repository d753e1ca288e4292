"""scikit-learn's own checks of estimators, on every backend."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

from chainrule.sklearn import MLPClassifier, MLPRegressor

from tests.support.libraries import here

BACKENDS: list[Any] = [None, *[name for name in ("jax", "torch") if here(name)]]
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Can't check dok sparse"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        kind(max_iter=100, backend=backend)
        for kind in (MLPRegressor, MLPClassifier)
        for backend in BACKENDS
    ]
)
def test_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


ARRAY_API = """
import warnings
from sklearn.utils.estimator_checks import check_estimator
from chainrule.sklearn import MLPClassifier, MLPRegressor
warnings.simplefilter("ignore")
passed = 0
for estimator in (MLPRegressor(max_iter=60), MLPClassifier(max_iter=60)):
    for result in check_estimator(estimator, on_fail=None):
        assert result["status"] != "failed", (result["check_name"], result["exception"])
        if "array_api" in result["check_name"]:
            passed += result["status"] == "passed"
print(passed)
"""


def test_array_api_dispatch() -> None:
    """Dispatch is switched on by a variable that SciPy reads when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", ARRAY_API],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10
