"""How many wrong versions of the source the tests notice: `nox -s mutants`.

Every mutant of `rules/`, `optimizers.py` and `random.py` (see `mutate.py`) is put into a
copy of the package, and the tests that stand for the file run on that copy until one
fails: first on NumPy alone, then, if all passed, on every library here. Mutants that
compute the same as the original are listed, with the reason, in `equivalent.toml`.

Exit status: 0 if at least 95 % of the others were killed.
"""

from __future__ import annotations

import argparse
import compileall
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from mutate import Mutant, mutants

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "chainrule"
WANTED = 0.95
PATIENCE = 120  # seconds; who needs longer does not end
# What the tests load is loaded once: every trial is a fork of a warm process.
WARM = ["numpy", "pytest", "hypothesis.extra.numpy", "array_api_strict", "scipy.special"]
WARM_TOO = ["sklearn.neural_network", "torch", "jax", "optax"]


def _files() -> list[str]:
    files = [*sorted((PACKAGE / "rules").glob("*.py"))]
    files += [PACKAGE / "optimizers.py", PACKAGE / "random.py"]
    return [path.relative_to(PACKAGE).as_posix() for path in files]


def _stages(path: str) -> list[tuple[list[str], dict[str, str]]]:
    """Return the tests that stand for a file, and their environment: fastest first."""
    folder, _, name = path.rpartition("/")
    stem = name.removesuffix(".py")
    own = f"tests/rules/test_rules_{stem}.py" if folder else f"tests/test_{stem}.py"
    numpy = {"CHAINRULE_ONLY": "numpy", "CHAINRULE_PROMISED": "numpy"}
    return [([own], numpy), ([own, "tests/test_matrix.py"], {})]


def _trial(copy: str, tests: list[str], environment: dict[str, str]) -> None:
    """Run tests on a copy of the package, in a process of its own."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    os.chdir(ROOT)
    os.environ.update(environment)
    sys.path.insert(0, copy)
    import pytest

    options = ["-x", "-q", "--tb=no", "--hypothesis-profile=mutants"]
    options += ["-p", "no:cacheprovider", "-p", "no:xdist"]
    # Hypothesis is loaded before pytest could rewrite its assertions: no matter.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    status = pytest.main([*options, *tests])
    os._exit(int(status))


class Trials:
    """A copy of the package, and processes that test it."""

    def __init__(self, folder: str) -> None:
        self.copy = Path(folder)
        shutil.copytree(PACKAGE, self.copy / "chainrule")
        # Byte code that is checked by content: mutants may follow within one second.
        compileall.compile_dir(
            str(self.copy),
            quiet=1,
            invalidation_mode=PycInvalidationMode.CHECKED_HASH,
        )
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([*WARM, *WARM_TOO])

    def passes(self, tests: list[str], environment: dict[str, str]) -> bool:
        """Whether the tests pass on the copy as it is."""
        arguments = (str(self.copy), tests, environment)
        process = self.context.Process(target=_trial, args=arguments)
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
            return False
        if process.exitcode in (4, 5):  # pytest: wrong usage, no tests
            msg = f"pytest could not run {tests}: status {process.exitcode}"
            raise RuntimeError(msg)
        return process.exitcode == 0

    def survives(self, mutant: Mutant) -> bool:
        """Whether every test passes on the mutant."""
        path = self.copy / "chainrule" / mutant.path
        original = path.read_text(encoding="utf-8")
        path.write_text(mutant.source, encoding="utf-8")
        try:
            return all(self.passes(*stage) for stage in _stages(mutant.path))
        finally:
            path.write_text(original, encoding="utf-8")


def equivalent() -> dict[tuple[str, ...], str]:
    """Return the listed mutants that no test can tell from the original: key -> why."""
    text = (Path(__file__).parent / "equivalent.toml").read_text(encoding="utf-8")
    fields = ("file", "where", "line", "before", "after")
    return {
        tuple(entry[f] for f in fields): entry["reason"]
        for entry in tomllib.loads(text).get("mutant", [])
    }


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--file", action="append", help="within the package; repeatable")
    parser.add_argument("--sample", type=int, help="try so many mutants, at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument(
        "--equivalent", action="store_true", help="try the listed ones, and only those"
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
    began, survivors = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(folder)
        for path in dict.fromkeys(m.path for m in chosen):
            for stage in _stages(path):
                if not trials.passes(*stage):
                    print(f"{path}: {stage} fails on the source as it is.")
                    return 2
        for number, mutant in enumerate(chosen, 1):
            if trials.survives(mutant):
                survivors.append(mutant)
                print("survives:", mutant, flush=True)
            if number % 50 == 0:
                seconds = (time.monotonic() - began) / number
                print(f"{number} of {len(chosen)}, {seconds:.2f} s each", flush=True)
    killed = len(chosen) - len(survivors)
    share = killed / max(1, len(chosen))
    print(f"\n{len(found)} mutants, of which {len(listed)} listed as equivalent;")
    print(f"{killed} of {len(chosen)} tried were killed: {share:.1%}.")
    if given.equivalent:
        return int(killed > 0)
    return int(share < WANTED or bool(stale))


if __name__ == "__main__":
    sys.exit(main())
