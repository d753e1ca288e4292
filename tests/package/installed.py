"""Use the installed package, far from its source: ``python -I installed.py``."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

import chainrule as cr


def check_place() -> None:
    """It is the installed package, typed, and of the version that its metadata say."""
    package = Path(cr.__file__).parent
    assert package.is_relative_to(sysconfig.get_path("purelib")), package
    assert (package / "py.typed").is_file()
    assert importlib.metadata.version("chainrule") == cr.__version__


def check_model() -> None:
    """It learns x², has its own slope, and comes back from its file."""
    x = np.linspace(-1, 1, 256)[:, None]
    model = cr.Model(cr.MLP((32, 32, 1), activation="tanh"), backend="numpy", seed=0)
    history = model.fit(x, x**2, epochs=100, batch_size=32, progress=False)
    assert history.epochs == 100
    z = model.predict(x)
    assert np.abs(z - x**2).mean() < 0.05
    ahead, behind = (model.predict(x + step) for step in (1e-2, -1e-2))
    assert np.allclose(model.jacobian(x)[:, :, 0], (ahead - behind) / 2e-2, atol=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        model.save(path)
        assert np.array_equal(cr.load(path, backend="numpy").predict(x), z)


def check_commands() -> None:
    """Its commands run, and its own proof holds."""
    python = [sys.executable, "-I", "-m"]
    script = Path(sysconfig.get_path("scripts"), "chainrule")
    for command, said in (
        ([*python, "chainrule", "--help"], "--backend"),
        ([str(script), "--help"], "--backend"),
        ([*python, "chainrule.testing", "--backend", "numpy"], "everything holds"),
    ):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert said in done.stdout, done.stdout


if __name__ == "__main__":
    check_place()
    check_model()
    check_commands()
    print(f"chainrule {cr.__version__} works where it is installed")
