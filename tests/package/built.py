"""Check the files in wheel and sdist: ``python tests/package/built.py dist``."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

# What serves the repository alone is in no sdist.
REPOSITORY = (".ci/", ".github/", ".pre-commit-config.yaml")


def check_wheel(path: Path) -> None:
    """Nothing but the package, all of it, with its licence and its types."""
    names = set(zipfile.ZipFile(path).namelist())
    inside = {name for name in names if name.startswith("chainrule/")}
    info = {name for name in names - inside if ".dist-info/" in name}
    assert not names - inside - info, sorted(names - inside - info)
    source = {name.removeprefix("src/") for name in tracked() if name[:4] == "src/"}
    assert inside == source, sorted(inside ^ source)
    assert "chainrule/py.typed" in inside
    assert any(name.endswith("/licenses/LICENSE") for name in info)


def check_sdist(path: Path) -> None:
    """All that is in the repository, but for what serves the repository alone."""
    with tarfile.open(path) as file:
        names = {n.partition("/")[2] for n in file.getnames()}
    wanted = {name for name in tracked() if not name.startswith(REPOSITORY)}
    assert names - {"PKG-INFO"} == wanted, sorted(names - {"PKG-INFO"} ^ wanted)


def tracked() -> set[str]:
    """Files that git knows."""
    command = ["git", "ls-files", "-z"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(done.stdout.split("\0")) - {""}


if __name__ == "__main__":
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    (sdist,) = Path(sys.argv[1]).glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    print(f"{wheel.name} and {sdist.name} have what they should")
