"""Every command of the project: `nox -s tests`, `nox -s lint`, `nox -s typecheck`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import nox

nox.needs_version = ">=2026.10.20"
# pip, not uv: it finds PyTorch's CPU build where the index offers one.
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["tests"]
nox.options.reuse_existing_virtualenvs = True

PYPROJECT = nox.project.load_toml("pyproject.toml")
# Some tests for the sdist: of its pages, folders, kept files and sources.
SDIST_TESTS = [
    *(f"tests/promises/test_{part}.py" for part in ("package", "docs", "imports")),
    *("tests/files/test_models.py", "tests/files/test_written.py", "tests/mutants"),
]


def newest() -> str | None:
    """Return the newest Python after 3.11 that is here and runs (a shim may not)."""
    for python in (f"3.{minor}" for minor in range(20, 11, -1)):
        path = shutil.which(f"python{python}")
        if path:
            done = subprocess.run([path, "-V"], check=False, capture_output=True)
            if done.returncode == 0:
                return python
    return None


def venv_python(folder: Path) -> str:
    """Return the interpreter of an environment."""
    inside = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return str(folder.joinpath(*inside))


def group(*names: str) -> list[str]:
    """Return the requirements of dependency groups."""
    return list(nox.project.dependency_groups(PYPROJECT, *names))


def lowest() -> list[str]:
    """Return the core's and JAX's requirements at their lower bounds."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    bounds = [*project["dependencies"], *extras["jax"], *extras["scipy"]]
    return [bound.replace(">=", "==") for bound in bounds]


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
    session.install(*group("test-numpy"))
    session.install("-e", ".")
    session.run("pytest", *session.posargs, env={"CHAINRULE_PROMISED": "numpy"})


@nox.session(name="tests-newest", python=newest())
def tests_newest(session: nox.Session) -> None:
    """Test with NumPy alone on the newest Python that is here, or that `-P` names."""
    if session.python is None:
        session.skip("no Python newer than 3.11 is here")
    session.install(*group("test-numpy"), "pytest-xdist>=3.6")
    session.install("-e", ".")
    env = {"CHAINRULE_PROMISED": "numpy"}
    workers = [] if "-n" in session.posargs else ["-n", "2"]
    session.run("pytest", *workers, *session.posargs, env=env)


@nox.session(name="tests-kernels")
def tests_kernels(session: nox.Session) -> None:
    """Check the kernels that CuPy writes, on a machine without a GPU."""
    cuda = [f"nvidia-cuda-{part}-cu12" for part in ("nvrtc", "runtime")]
    session.install(*group("test-numpy"), "cupy-cuda12x>=14", *cuda)
    session.install("-e", ".")
    session.run("pytest", "tests/backends/cupy", *session.posargs)


@nox.session(name="sklearn-tests")
def sklearn_tests(session: nox.Session) -> None:
    """Run scikit-learn's own tests of its perceptrons on ours."""
    session.install(*group("test"))
    session.install("-e", ".[sklearn]")
    session.run("python", "tests/sklearn/own_tests.py", *session.posargs)


@nox.session(name="tests-cluster")
def tests_cluster(session: nox.Session) -> None:
    """Search with joblib's processes and threads, Dask and Ray on this machine."""
    session.install(*group("test", "backends", "cluster"))
    session.install("-e", ".[sklearn]")
    env = {"OMP_NUM_THREADS": "1"}
    session.run("pytest", "tests/cluster", *session.posargs, env=env)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests and show which lines and branches none of them reached."""
    session.install("pytest-cov>=7", *group("test", "backends"))
    session.install("-e", ".[plot]")
    options = ["-n", "2", "--cov", "--cov-report=term-missing:skip-covered"]
    env = {"CHAINRULE_PROMISED": "numpy,jax,torch"}
    session.run("pytest", *options, *session.posargs, env=env)


@nox.session
def minimums(session: nox.Session) -> None:
    """Test with the lowest versions that pyproject.toml allows.

    Not of PyTorch: its old builds for CPUs are not to be had from the package index
    without gigabytes of CUDA.
    """
    session.install(*group("test-numpy"), *lowest(), "pytest-xdist>=3.6")
    session.install("--no-deps", "-e", ".")
    env = {"CHAINRULE_PROMISED": "numpy,jax"}
    session.run("pytest", "-n", "2", *session.posargs, env=env)


@nox.session
def mutants(session: nox.Session) -> None:
    """Say how many wrong versions of the source the tests notice; see `-- --help`."""
    session.install(*group("test", "backends"))
    session.install("-e", ".")
    session.run("python", "-m", "tests.mutants.run", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check types: the project's, and those that a user's own code meets."""
    session.install(*group("typecheck", "backends"))
    session.install("-e", ".")
    session.run("mypy")
    # As in a project that has no configuration, with JAX's and PyTorch's own types.
    session.run("mypy", "--config-file=", "--strict", "tests/typing/libraries.py")
    session.run("basedpyright")
    session.run("python", "-m", "tests.typing.complete")


@nox.session(name="docs-browser")
def docs_browser(session: nox.Session) -> None:
    """Train in Node and in headless Chromium as the site's page "Train it here" does.

    Collects the page's runtime, which the site that is built next has too. Tests the
    page alone, or in a site that is built: `nox -s docs-browser -- FOLDER`. A part that
    this machine cannot have is named, "skipped: ...".
    """
    session.install(*group("browser"))
    session.install("-e", ".")
    session.run("python", "docs/live/assets.py")
    site, *options = [*session.posargs] or ["build/live/site"]
    if not session.posargs:
        settings = [
            "extensions=myst_parser,live",
            "html_theme=pydata_sphinx_theme",
            "html_context.default_mode=auto",
            "project=chainrule",
        ]
        chosen = [part for each in settings for part in ("-D", each)]
        env = {"PYTHONPATH": "docs/_ext"}
        session.run("sphinx-build", "-qEW", "-C", *chosen, "docs/live", site, env=env)
    pictures = Path("build/live/pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    env = {"CHAINRULE_SITE": site, "CHAINRULE_PICTURES": str(pictures)}
    session.run("pytest", "-rs", "tests/browser", *options, env=env)


@nox.session
def package(session: nox.Session) -> None:
    """Build the package, check it, and use it where its source is not."""
    session.install(*group("package"))
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)
    dist, elsewhere = folder / "dist", folder / "elsewhere"
    session.run("python", "-m", "build", "--outdir", str(dist))
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    session.run("python", "tests/package/built.py", str(dist))
    session.run("cffconvert", "--validate")

    # The wheel, in an environment that has nothing else.
    session.run("python", "-m", "venv", str(folder / "fresh"))
    fresh = venv_python(folder / "fresh")
    session.run(fresh, "-m", "pip", "install", "-q", str(wheel), external=True)
    elsewhere.mkdir()
    shutil.copy("tests/package/installed.py", elsewhere)
    with session.chdir(elsewhere):
        session.run(fresh, "-I", "installed.py", external=True)

    # The sdist brings all that its tests need.
    with tarfile.open(sdist) as file:
        file.extractall(elsewhere, filter="data")
    tests = group("test-numpy")
    session.run(fresh, "-m", "pip", "install", "-q", *tests, external=True)
    with session.chdir(elsewhere / sdist.name.removesuffix(".tar.gz")):
        chosen = session.posargs or SDIST_TESTS
        session.run(fresh, "-m", "pytest", *chosen, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs/_build/html; warnings and dead links are errors.

    What is fetched comes first: the build itself uses no network.
    """
    session.install(*group("docs", "backends"))
    session.install("-e", ".[scipy]")
    session.run("python", "docs/live/assets.py")
    site = "docs/_build/html"
    for folder in ("docs/_build", "docs/auto_gallery"):  # examples run anew
        shutil.rmtree(folder, ignore_errors=True)
    options = ["-b", "html", "--fail-on-warning", "--keep-going"]
    env = {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    session.run("sphinx-build", *options, *session.posargs, "docs", site, env=env)
    session.run("python", "docs/check.py", site)


@nox.session
def soak(session: nox.Session) -> None:
    """Kill, predict from many threads and mutate files, for long; see `-- --help`."""
    session.install(*group("test", "backends"))
    session.install("-e", ".")
    env = {"CHAINRULE_PROMISED": "numpy,jax,torch"}
    session.run("python", "-m", "tests.soak", *session.posargs, env=env)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure against the peers: every script, or those named, with their options."""
    session.install(*group("bench", "backends"))
    session.install("-e", ".")
    scripts = [
        "training_step",
        "inference",
        "startup",
        "scaling",
        "precision",
        "devices",
    ]
    scripts += ["estimators", "launches", "streams"]
    if session.posargs and not session.posargs[0].startswith("-"):
        scripts, options = session.posargs[:1], session.posargs[1:]
    else:
        options = session.posargs
    for script in scripts:
        session.run("python", f"benchmarks/{script}.py", *options)
