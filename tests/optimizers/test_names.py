"""Optimizers by name, those of the whole problem too."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import chainrule as cr

X = np.linspace(-1.0, 1.0, 40)[:, None]


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("lbfgs", "LBFGS"),
        ("L-BFGS", "LBFGS"),
        ("LBFGS", "LBFGS"),
        ("L-BFGS-B", "LBFGS"),
        ("levenberg_marquardt", "LevenbergMarquardt"),
        ("Levenberg-Marquardt", "LevenbergMarquardt"),
        ("LevenbergMarquardt", "LevenbergMarquardt"),
        ("lm", "LevenbergMarquardt"),
    ],
)
def test_second_order_by_name(name: Any, cls: str) -> None:
    wanted: Any = getattr(cr, cls)()
    assert cr.optimizers.get(name) == wanted
    model = cr.Model(cr.MLP((4, 1), "tanh"), optimizer=name, backend="numpy")
    assert model.optimizer == wanted
    assert getattr(cr.optimizers, cls) is type(wanted)
    if cls == "LBFGS":
        pytest.importorskip("scipy")
    loss = model.fit(X, X**2, epochs=15)["loss"]
    assert loss[-1] < 0.5 * loss[0]


def test_without_scipy_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("scipy", "scipy.optimize"):
        monkeypatch.setitem(sys.modules, name, None)
    model = cr.Model(cr.MLP((4, 1)), optimizer="lbfgs", backend="numpy")
    with pytest.raises(cr.MissingLibraryError, match=r"LBFGS.*SciPy|scipy"):
        model.fit(X, X**2, epochs=2)
    assert model.history.epochs == 0


def test_second_order_is_loaded_when_it_is_named() -> None:
    code = """if True:
        import sys
        import numpy as np
        import chainrule as cr

        stems = ("lbfgs", "levenberg_marquardt")
        loaded = lambda: [
            s for s in stems if f"chainrule.optimizers.{s}" in sys.modules
        ]
        x = np.zeros((4, 1))
        cr.Model(cr.MLP((2, 1)), optimizer="adam", backend="numpy").fit(x, x, epochs=1)
        print(loaded())
        cr.optimizers.get("lbfgs"), cr.optimizers.LevenbergMarquardt
        print(loaded())
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["[]", "['lbfgs', 'levenberg_marquardt']"]
