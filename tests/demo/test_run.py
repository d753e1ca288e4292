"""The command: three figures, a line for each, errors as one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.__main__ import main
from chainrule.demo import tasks
from chainrule.demo.run import slopes, spread, train

from tests.support.libraries import LIBRARIES


def test_it_draws_three_pictures_and_prints_three_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib").use("agg")
    assert main(["--epochs", "3", "--out", str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    for name in ("parabola", "sphere", "gap"):
        picture = tmp_path / "new" / f"{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert f"{name}: backend numpy, " in out
    assert out.count("steps a second") == 3
    assert out.count("worst error") == 2
    assert out.count("of the slope") == 1
    assert out.count("in the gap") == 1


def test_all_backends_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib").use("agg")
    arguments = ["--backend", "all", "--epochs", "2", "--out", str(tmp_path)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for name in LIBRARIES:
        if name not in ("numpy", "strict"):
            (line,) = re.findall(f"parabola: {name} and numpy differ by (.*)", out)
            assert float(line.split()[2]) < 1e-5
            assert line.endswith("after 8 steps")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--backend", "numppy"], "Did you mean 'numpy'"),
        (["--epochs", "2", "--seed", "-1"], "seed must be"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert text in err
    assert "Traceback" not in err


def test_a_folder_that_takes_no_pictures_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gap.png").mkdir()  # the last one
    assert main(["--epochs", "2", "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "gap.png cannot be written: Is a directory" in err
    assert not out
    assert [file.name for file in tmp_path.iterdir()] == ["gap.png"]


def test_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for option in ("--backend", "--epochs", "--seed", "--out"):
        assert option in done.stdout


COMMANDS = (
    ("chainrule", "--epochs", "1"),
    ("chainrule.testing", "--backend", "numpy", "--only", "relu"),
)


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "gbk", "cp1251", "cp1252"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_console_shows_it(
    command: tuple[str, ...], encoding: str, tmp_path: Path
) -> None:
    env = {**os.environ, "PYTHONIOENCODING": encoding, "MPLBACKEND": "agg"}
    runs: list[tuple[str, ...]] = [(command[0], "--help")]
    if encoding in ("ascii", "cp932"):
        runs.append(command)
    for arguments in runs:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without it")
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("command", COMMANDS)
def test_output_that_cannot_be_written(
    command: tuple[str, ...], buffered: bool, tmp_path: Path
) -> None:
    """The reader went away, or the disk is full: status 1, one line at most."""
    arguments = [sys.executable, *([] if buffered else ["-u"]), "-m", *command]
    options: dict[str, Any] = {
        "cwd": tmp_path,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(arguments, check=False, stdout=full, **options)
    assert done.returncode == 1
    assert re.fullmatch(r"(error: .*No space left on device\n)+", done.stderr)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(arguments, check=False, stdout=writing, **options)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_console_at_all(command: tuple[str, ...], tmp_path: Path) -> None:
    code = (
        "import importlib, sys; sys.stdout = sys.stderr = None; "
        "main = importlib.import_module(sys.argv[1] + '.__main__').main; "
        "sys.exit(main(sys.argv[2:]) + 7)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=tmp_path, check=False
    )
    assert done.returncode == 7


@pytest.mark.slow
def test_the_figures_are_good() -> None:
    """As the command trains them: worst error under 0.01 for both."""
    backend: Any = "jax" if "jax" in LIBRARIES else "numpy"
    for task in (tasks.parabola(None), tasks.sphere(None)):
        assert train(task, backend, 0).worst < 0.01


def test_the_parabola_s_slopes_are_those_of_its_members() -> None:
    result = train(tasks.parabola(2), "numpy", 0)
    x, h = np.linspace(-1.0, 1.0, 9), 1e-2
    high, low = (result.model.predict_members((x + d)[:, None]) for d in (h, -h))
    each = slopes(result.model, x)
    assert each.shape == (8, 9)
    np.testing.assert_allclose(each, (high - low)[..., 0] / (2 * h), atol=2e-3)
    mean = result.model.jacobian(x[:, None])[:, 0, 0]
    np.testing.assert_allclose(each.mean(axis=0), mean, atol=1e-6)


@pytest.mark.slow
def test_the_parabola_s_band_and_slope_are_honest() -> None:
    """As the command trains it: most of the truth lies in the band of the fit."""
    task = tasks.parabola(None)
    model = train(task, "jax" if "jax" in LIBRARIES else "numpy", 0).model
    mean, std = model.predict(task.x, return_std=True)
    assert (np.abs(mean - task.y) < 2 * std).mean() > 0.8
    slope = model.jacobian(task.x)[:, 0, 0]
    assert np.abs(slope - 2 * task.x[:, 0]).max() < 0.15


@pytest.mark.slow
def test_the_band_opens_in_the_gap() -> None:
    """As the command trains it; the truth stays inside two standard deviations."""
    task = tasks.gap(None)
    model = train(task, "jax" if "jax" in LIBRARIES else "numpy", 0).model
    data, hole = spread(model)
    assert hole > 4 * data
    x = np.linspace(*tasks.GAP, 101)[:, None]
    mean, std = model.predict(x, return_std=True)
    assert (np.abs(mean - tasks.curve(x)) < 2 * std).all()


def test_the_gap_has_no_samples() -> None:
    task = tasks.gap(1)
    low, high = tasks.GAP
    assert task.members == 32
    assert not ((task.x > low) & (task.x < high)).any()
    assert len(np.unique(task.x)) == len(task.y) == 96


def test_the_sphere_s_targets_lie_on_it() -> None:
    task = tasks.sphere(1)
    np.testing.assert_allclose(np.linalg.norm(task.y, axis=1), 1.0)
    longitude, latitude = task.x.T
    np.testing.assert_allclose(task.y[:, 2], np.sin(latitude), atol=1e-12)
    np.testing.assert_allclose(
        np.arctan2(task.y[:, 1], task.y[:, 0]), longitude, atol=1e-9
    )
