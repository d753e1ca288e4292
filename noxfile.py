"""Every command of the project: `nox -s tests`, `nox -s lint`, `nox -s typecheck`."""

from __future__ import annotations

import nox

nox.needs_version = ">=2026.10.20"
# pip, not uv: it finds PyTorch's CPU build where the index offers one.
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["tests"]
nox.options.reuse_existing_virtualenvs = True

PYPROJECT = nox.project.load_toml("pyproject.toml")


def group(*names: str) -> list[str]:
    """Return the requirements of dependency groups."""
    return list(nox.project.dependency_groups(PYPROJECT, *names))


@nox.session
def tests(session: nox.Session) -> None:
    """Test every backend that runs on a CPU, and their agreement."""
    session.install(*group("test", "backends"))
    session.install("-e", ".[plot]")
    env = {"CHAINRULE_PROMISED": "numpy,jax,torch"}
    workers = [] if "-n" in session.posargs else ["-n", "2"]
    session.run("pytest", *workers, *session.posargs, env=env)


@nox.session(name="tests-numpy")
def tests_numpy(session: nox.Session) -> None:
    """Test with NumPy alone: no JAX, no PyTorch."""
    session.install("pytest>=9", "hypothesis>=6.120", "array-api-strict>=2.4")
    session.install("-e", ".")
    session.run("pytest", *session.posargs, env={"CHAINRULE_PROMISED": "numpy"})


@nox.session(name="sklearn-tests")
def sklearn_tests(session: nox.Session) -> None:
    """Run scikit-learn's own tests of its perceptrons on ours."""
    session.install(*group("test"))
    session.install("-e", ".[sklearn]")
    session.run("python", "tests/sklearn_own_tests.py", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check types."""
    session.install(*group("typecheck"))
    session.install("-e", ".")
    session.run("mypy")


@nox.session
def soak(session: nox.Session) -> None:
    """Kill, predict from many threads and mutate files, for long; see `-- --help`."""
    session.install(*group("test", "backends"))
    session.install("-e", ".")
    env = {"PYTHONPATH": "tests", "CHAINRULE_PROMISED": "numpy,jax,torch"}
    session.run("python", "-m", "soak", *session.posargs, env=env)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure against the peers: every script, or those named, with their options."""
    session.install(*group("bench", "backends"))
    session.install("-e", ".")
    scripts = ["training_step", "inference", "startup", "scaling", "precision"]
    if session.posargs and not session.posargs[0].startswith("-"):
        scripts, options = session.posargs[:1], session.posargs[1:]
    else:
        options = session.posargs
    for script in scripts:
        session.run("python", f"benchmarks/{script}.py", *options)
