"""How many wrong versions of the source the tests notice: `nox -s mutants`.

Every mutant of `rules/`, `optimizers/` and `arrays/random.py` (see `mutate.py`) meets
the tests that stand for its file, until one fails. First quickly: pytest has loaded and
collected them, on NumPy alone; a fork of it exchanges the code of the functions that
differ, and runs. What survives is put into a copy of the package that a new process
loads, and meets the tests again, on every library here. Mutants that compute the same
as the original are listed, with the reason, in `equivalent.toml`.

Exit status: 0 if at least 95 % of the others were killed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import types
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.mutate import Mutant, mutants

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "chainrule"
WANTED = 0.95
PATIENCE = 60  # seconds of a quick trial; who needs longer does not end
OPTIONS = ["-x", "-q", "--tb=no", "--hypothesis-profile=mutants"]
OPTIONS += ["-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin"]


# Optimizers that solve for all parameters at once, whose tests take minutes.
LEFT_OUT = ("optimizers/lbfgs.py", "optimizers/levenberg_marquardt.py")
# Files whose tests are not `test_<stem>.py` of the same folder.
TESTS = {
    "rules/__init__.py": "tests/rules/test_activations.py",
    "rules/classification.py": "tests/rules/test_losses.py",
    "rules/regression.py": "tests/rules/test_losses.py",
    "rules/weighting.py": "tests/rules/test_losses.py",
}


def _files() -> list[str]:
    paths = [*(PACKAGE / "rules").glob("*.py"), *(PACKAGE / "optimizers").glob("*.py")]
    paths.append(PACKAGE / "arrays" / "random.py")
    names = sorted(path.relative_to(PACKAGE).as_posix() for path in paths)
    return [name for name in names if name not in LEFT_OUT]


def _tests(path: str) -> list[str]:
    """Return the files of tests that stand for a file of the package."""
    folder, _, name = path.rpartition("/")
    if folder == "optimizers":
        return [f"tests/optimizers/test_{stem}.py" for stem in ("base", "peers", "own")]
    return [TESTS.get(path, f"tests/{folder}/test_{name}")]


# A quick trial.


def _exchange(mutant: Mutant) -> None:
    """Put the mutant's code into the functions that are already loaded."""
    stem = mutant.path.removesuffix(".py").removesuffix("/__init__")
    module = importlib.import_module(f"chainrule.{stem.replace('/', '.')}")
    new = types.ModuleType(module.__name__)
    exec(compile(mutant.source, mutant.path, "exec"), vars(new))
    _transplant(module, new, module.__name__)


def _transplant(old: Any, new: Any, home: str) -> None:
    for name, value in list(vars(new).items()):
        before = vars(old).get(name)
        if isinstance(value, property):
            before, value = before.fget, value.fget  # type: ignore[union-attr]  # noqa: PLW2901
        if isinstance(value, types.FunctionType) and value.__module__ == home:
            before.__code__ = value.__code__  # type: ignore[union-attr]
            before.__defaults__ = value.__defaults__  # type: ignore[union-attr]
            before.__kwdefaults__ = value.__kwdefaults__  # type: ignore[union-attr]
        elif isinstance(value, type) and value.__module__ == home:
            _transplant(before, value, home)
        elif isinstance(value, (int, float, tuple)) and not name.startswith("__"):
            setattr(old, name, value)


class _Quick:
    """A pytest plugin: every mutant in a fork of the session that has the tests."""

    def __init__(self, chosen: list[Mutant]) -> None:
        self.chosen = chosen
        self.passed: list[bool] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the collected tests once on each mutant, and once without any."""
        manager = session.config.pluginmanager
        manager.unregister(name="terminalreporter")  # whose dots mean nothing here
        for mutant in [None, *self.chosen]:
            self.passed.append(self._try(session, mutant))
            if mutant is None and not self.passed[0]:
                break
            _say_how_far(len(self.passed) - 1, len(self.chosen))
        return True

    @staticmethod
    def _try(session: pytest.Session, mutant: Mutant | None) -> bool:
        from _pytest.main import pytest_runtestloop

        child = os.fork()
        if child:
            return _waited(child)
        try:
            signal.alarm(PATIENCE)
            if mutant is not None:
                _exchange(mutant)
            pytest_runtestloop(session)
            os._exit(int(session.testsfailed > 0))
        except BaseException:  # whatever a mutant does, it has been noticed
            os._exit(1)


def _waited(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _say_how_far(number: int, total: int) -> None:
    if number and (number % 50 == 0 or number == total):
        print(f"  {number} of {total}", flush=True)


def quick(path: str, chosen: list[Mutant]) -> list[int]:
    """Return the numbers of the mutants of a file that pass its tests on NumPy.

    It loads the package: call it in a fork, and with the environment set.
    """
    plugin = _Quick(chosen)
    pytest.main([*OPTIONS, *_tests(path)], plugins=[plugin])
    if not plugin.passed or not plugin.passed[0]:
        msg = f"The tests of {path} do not pass on the source as it is."
        raise RuntimeError(msg)
    return [i for i, passed in enumerate(plugin.passed[1:]) if passed]


def _in_a_fork(path: str, chosen: list[Mutant]) -> list[Mutant]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writer, " ".join(map(str, quick(path, chosen))).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as answer:
        left_over = [chosen[int(i)] for i in answer.read().split()]
    if not _waited(child):
        msg = f"the quick trials of {path} did not end well"
        raise RuntimeError(msg)
    return left_over


# A thorough trial.


def survives(mutant: Mutant | None, path: str) -> bool:
    """Whether all tests pass on a copy of the package that has the mutant."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "chainrule"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            (copy / path).write_text(mutant.source, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": folder}
        del environment["CHAINRULE_ONLY"]
        tests = [*_tests(path), "tests/promises/test_matrix.py"]
        command = [sys.executable, "-m", "pytest", *OPTIONS, *tests]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, check=False
        )
    if done.returncode > 2:  # pytest could not start: that says nothing
        raise RuntimeError(done.stdout.decode() + done.stderr.decode())
    return done.returncode == 0


def equivalent() -> dict[tuple[str, ...], str]:
    """Return the listed mutants that no test can tell from the original: key -> why."""
    text = (Path(__file__).parent / "equivalent.toml").read_text(encoding="utf-8")
    fields = ("file", "where", "before", "after")
    return {
        tuple(entry[f] for f in fields): entry["reason"]
        for entry in tomllib.loads(text).get("mutant", [])
    }


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--file", action="append", help="within the package; repeatable"
    )
    parser.add_argument("--sample", type=int, help="try so many mutants, at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument(
        "--equivalent", action="store_true", help="try the listed ones, and only those"
    )
    parser.add_argument(
        "--quick", action="store_true", help="leave out what needs JAX or PyTorch"
    )
    return parser.parse_args()


def main() -> int:
    """Try the mutants and say which survived."""
    given = _arguments()
    files = given.file or _files()
    found = [
        m
        for path in files
        for m in mutants(path, (PACKAGE / path).read_text(encoding="utf-8"))
    ]
    listed = equivalent()
    stale = {k for k in listed if k[0] in files} - {m.key for m in found}
    for key in sorted(stale):
        print("equivalent.toml lists what is no mutant any more:", *key, sep="\n  ")
    chosen = [m for m in found if (m.key in listed) == given.equivalent]
    if given.sample is not None and given.sample < len(chosen):
        chosen = random.Random(given.seed).sample(chosen, given.sample)
    # Plugins of whatever else is installed take longer to load than tests to run.
    os.environ |= {
        "CHAINRULE_ONLY": "numpy",
        "CHAINRULE_PROMISED": "numpy",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    os.chdir(ROOT)
    began, survivors = time.monotonic(), []
    for path in dict.fromkeys(m.path for m in chosen):
        print(path, flush=True)
        left = _in_a_fork(path, [m for m in chosen if m.path == path])
        if left and not given.quick and not survives(None, path):
            print(f"The tests of {path} fail on the source as it is.")
            return 2
        for mutant in left:
            if given.quick or survives(mutant, path):
                survivors.append(mutant)
                print("  survives:", mutant, flush=True)
    killed = len(chosen) - len(survivors)
    share = killed / max(1, len(chosen))
    print(f"\n{time.monotonic() - began:.0f} s")
    print(f"{len(found)} mutants, of which {len(listed)} listed as equivalent;")
    print(f"{killed} of {len(chosen)} tried were killed: {share:.1%}.")
    if given.equivalent:
        return int(killed > 0)
    return int(share < WANTED or bool(stale))


if __name__ == "__main__":
    sys.exit(main())
