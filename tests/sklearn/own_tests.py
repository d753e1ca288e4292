"""Run scikit-learn's own tests of its perceptrons with our classes in their place.

``python tests/sklearn/own_tests.py [pytest's options]``, or ``nox -s sklearn-tests``.
Everything has to pass but what `EXPECTED` lists; and what it lists has to fail.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import sklearn
from sklearn.neural_network.tests import test_mlp

import chainrule.sklearn

# Name of the test -> why it cannot pass here.
EXPECTED = {
    "test_gradient": (
        "calls the private method _loss_grad_lbfgs with buffers of its own; the "
        "gradient is checked against differences in tests/sklearn/test_losses.py"
    ),
}


class InPlace:
    """A pytest plugin: our classes under the names of theirs, and what may fail."""

    def pytest_configure(self) -> None:
        test_mlp.MLPClassifier = chainrule.sklearn.MLPClassifier
        test_mlp.MLPRegressor = chainrule.sklearn.MLPRegressor

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        found = {item.name.partition("[")[0] for item in items}
        assert found >= set(EXPECTED), f"no such tests: {set(EXPECTED) - found}"
        for item in items:
            # The module that runs must be the one that was changed.
            assert getattr(item, "module", None) is test_mlp
            reason = EXPECTED.get(item.name.partition("[")[0])
            if reason:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def main(options: list[str]) -> int:
    """Run the tests; return pytest's exit status."""
    root = Path(sklearn.__file__).parent
    fixed = ["-c", os.devnull, "--rootdir", str(root), "-p", "no:cacheprovider"]
    file = str(root / "neural_network" / "tests" / "test_mlp.py")
    return int(pytest.main([*fixed, "-ra", file, *options], plugins=[InPlace()]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
