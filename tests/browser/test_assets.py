"""What is collected for the page is what was pinned."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tests.support.live import LIVE, module, runtime

assets = module("assets")


def test_the_wheel_of_numpy_must_be_pyodides_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "BUILD", tmp_path)
    wheel = tmp_path / "given.whl"
    wheel.write_bytes(b"a wheel")
    sha = hashlib.sha256(b"a wheel").hexdigest()
    about = {"file_name": "numpy.whl", "sha256": sha}
    kept = assets.numpy({"packages": {"numpy": about}}, wheel)
    assert kept.read_bytes() == b"a wheel"
    wheel.write_bytes(b"another wheel")
    with pytest.raises(ValueError, match=f"must have the SHA-256 {sha}"):
        assets.numpy({"packages": {"numpy": about}}, wheel)


def test_a_part_that_cannot_be_had_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing() -> Path:
        assets.run("Pyodide", "no-such-command-anywhere")
        return tmp_path

    monkeypatch.setattr(assets, "pyodide", nothing)
    out = tmp_path / "assets"
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    assert assets.main(["--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("skipped: the runtime of the page: Pyodide: no-such-command")
    assert not out.exists()  # an old runtime is not left behind


def test_versions_are_pinned() -> None:
    for name in ("wheels.txt", "numpy.txt"):
        lines = (LIVE / name).read_text(encoding="utf-8").splitlines()
        pinned = [line for line in lines if not line.startswith("#")]
        assert pinned
        for line in pinned:
            assert re.fullmatch(r"[\w-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line)


def test_the_site_has_what_the_manifest_lists() -> None:
    site = runtime()
    for wheel in site.manifest["wheels"]:
        content = (site.live / wheel["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == wheel["sha256"]
    # The page says which NumPy that is.
    numpy = next(each for each in site.manifest["wheels"] if each["name"] == "numpy")
    minor = numpy["version"].rpartition(".")[0]
    assert f"Its NumPy is {minor}," in (LIVE / "index.md").read_text(encoding="utf-8")
    for name in assets.RUNTIME:
        assert (site.live / "runtime" / name).is_file()
