"""Paths, disks and processes: a file is whole, or as it was."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr
from chainrule.files import container, durable

from tests.support.files import X, Y, new_model, own_model


def _names(folder: Path) -> list[str]:
    return [found.name for found in folder.iterdir()]


@pytest.mark.parametrize("use", [cr.load, lambda p: own_model(cr.Tanh()).save(p)])
def test_paths(use: Callable[[Any], Any], tmp_path: Path) -> None:
    for wrong in (3, None, b"bytes", ["x"]):
        with pytest.raises(cr.ArgumentTypeError, match=r"^path must be a string"):
            use(wrong)
    for name in ("", "a\0b", "a\ud800b"):
        with pytest.raises(cr.ArgumentError, match=r"^path must be the name"):
            use(name)
    with pytest.raises(cr.FileError, match=r"cannot be .*[Dd]irectory") as caught:
        use(tmp_path)
    assert caught.value.errno == errno.EISDIR
    assert isinstance(caught.value, OSError)
    with pytest.raises(cr.FileError, match="/dev/null cannot be"):
        use("/dev/null")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(cr.MissingFileError, match="cannot be") as missing:
        use(tmp_path / "no" / "such")
    assert isinstance(missing.value, FileNotFoundError)
    (tmp_path / "file").write_text("")
    with pytest.raises(cr.FileError, match="Not a directory"):
        use(tmp_path / "file" / "model")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(cr.FileError, match="pipe cannot be read"):
        cr.load(tmp_path / "pipe")


def test_a_device_without_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("/dev/zero", tmp_path / "link"):
        with pytest.raises(cr.FileError, match="/dev/zero cannot be read"):
            cr.load(name)


def test_a_file_larger_than_the_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_model().save(path)

    def full(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(container, "_check_digest", full)
    with pytest.raises(cr.FileError, match=r"cannot be read: .*memory") as caught:
        cr.load(path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOMEM, str(path))


def test_not_built(path: Path) -> None:
    with pytest.raises(cr.NotBuiltError):
        cr.Model(cr.MLP((2,))).save(path)
    with pytest.raises(cr.ArgumentTypeError, match=r"^include_optimizer must be"):
        own_model(cr.Tanh()).save(path, include_optimizer=1)  # type: ignore[arg-type]
    assert not path.exists()


def test_a_backend_that_cannot_be_had(path: Path) -> None:
    new_model().save(path)
    with pytest.raises(cr.ArgumentError, match=r"^backend must be one of"):
        cr.load(path, backend="nunpy")  # type: ignore[arg-type]


def test_links_and_permissions(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    model = own_model(cr.Tanh())
    model.save(target)
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask
    target.chmod(0o640)
    link.symlink_to(target)
    model.save(link)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert cr.load(link).built


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_the_disk_fails(
    call: str, code: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = new_model()
    model.save(path)
    before = path.read_bytes()
    model.fit(X, Y, epochs=1)

    def fail(*_: Any) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(cr.FileError, match="is as it was") as caught:
        model.save(path)
    assert os.strerror(code) in str(caught.value)
    assert (caught.value.errno, caught.value.filename) == (code, str(path))
    assert path.read_bytes() == before
    assert _names(path.parent) == [path.name]


def _script(path: Path, before: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import os, signal, resource, chainrule as cr\n"
        f"model = cr.Model(cr.MLP((500, 500))).build(3)\n{before}\n"
        f"model.save({str(path)!r})"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_killed_while_writing(call: str, path: Path) -> None:
    model = new_model()
    model.save(path)
    before = path.read_bytes()
    die = f"os.{call} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    assert _script(path, die).returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    (stale,) = (name for name in _names(path.parent) if name != path.name)
    assert re.fullmatch(rf"\.{re.escape(path.name)}\.[0-9a-f]{{12}}\.tmp", stale)
    assert cr.load(path).predict(X).tobytes() == model.predict(X).tobytes()
    assert set(_names(path.parent)) == {path.name, stale}  # to load removes nothing
    model.save(path)
    assert _names(path.parent) == [path.name]


def test_a_full_disk(path: Path) -> None:
    """The system itself refuses the second half of a file."""
    path.write_text("old")
    limit = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    )
    done = _script(path, limit)
    assert "chainrule.errors.FileError" in done.stderr
    assert "is as it was" in done.stderr
    assert path.read_text() == "old"
    assert _names(path.parent) == [path.name]


def test_stale_files_are_swept_and_others_are_not(path: Path) -> None:
    model = own_model(cr.Tanh())
    folder = path.parent
    stale = [file.name for file in durable._slots(path)]
    others = [f".{path.name}.{k}.tmp" for k in ("my-notes", "abc", "0123456789ab")]
    others += [f".{path.name}.abc", "x.tmp", ".other.abc.tmp", f"{path.name}.1.tmp"]
    for name in (*stale, *others):
        (folder / name).write_text("")
    model.save(path)
    assert set(_names(folder)) == {path.name, *others}
    (folder / stale[0]).write_text("")
    assert cr.load(path).built
    assert (folder / stale[0]).exists()


def test_no_folder_is_listed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have hundreds of thousands of files."""

    def refuse(*_: Any) -> Any:
        raise AssertionError

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, refuse)
    model = own_model(cr.Tanh())
    model.save(path)
    model.save(path)
    assert cr.load(path).built


@pytest.mark.parametrize("bytes_", [200, 237, 238, 250, 255])
@pytest.mark.parametrize("letter", ["a", "ä"])
def test_names_as_long_as_the_system_takes(
    bytes_: int, letter: str, tmp_path: Path
) -> None:
    name = letter * ((bytes_ - 3) // len(letter.encode())) + ".st"
    path = tmp_path / name
    model = own_model(cr.Tanh())
    model.save(path)
    model.save(path)
    assert cr.load(path).predict(X).tobytes() == model.predict(X).tobytes()
    model.fit(X, Y, epochs=1, callbacks=[cr.Checkpoint(path)])
    assert _names(tmp_path) == [name]


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    model = own_model(cr.Tanh())
    before = model.get_weights()[0].tobytes()
    with pytest.raises(cr.FileError, match="cannot be written: File name too long"):
        model.fit(X, Y, epochs=1, callbacks=[cr.Checkpoint(tmp_path / ("a" * 256))])
    assert model.get_weights()[0].tobytes() == before
    assert _names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fchmod"), reason="a system without modes")
@pytest.mark.parametrize("calls", [("fchmod",), ("fchmod", "chmod")])
def test_mounts_that_take_no_modes(
    calls: tuple[str, ...], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    model = own_model(cr.Tanh())
    model.save(path)
    path.chmod(0o600)
    for call in calls:
        monkeypatch.setattr(os, call, refuse)
    model.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # never more than before
    model.fit(X, Y, epochs=3, callbacks=[cr.Checkpoint(path, keep=2)])
    assert cr.load(path).built


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_mounts_that_cannot_flush_or_link(
    code: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(os, "link", refuse)
    model = own_model(cr.Tanh())
    model.fit(X, Y, epochs=3, callbacks=[cr.Checkpoint(path, keep=2)])
    older = path.with_name(f"{path.stem}-2{path.suffix}")
    assert set(_names(path.parent)) == {path.name, older.name}
    assert cr.load(older).built


def test_the_current_folder_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = own_model(cr.Tanh())
    gone, there = tmp_path / "gone", tmp_path / "there.st"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    model.save(there)
    assert cr.load(there).built
    for call in (
        lambda: model.save("model.st"),
        lambda: cr.load("model.st"),
        lambda: cr.Checkpoint("model.st"),
    ):
        with pytest.raises(cr.MissingFileError, match="current folder was deleted"):
            call()


def test_what_is_being_written_is_not_swept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = own_model(cr.Tanh())
    fsync, seen = os.fsync, []

    def sweeping(descriptor: int) -> None:
        durable.sweep(path)
        seen.append(len(_names(path.parent)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sweeping)
    model.save(path)
    assert seen[0] == 1
    assert cr.load(path).built


def test_many_threads_save_and_load_one_path(path: Path) -> None:
    models = [
        cr.Model(cr.MLP((2,)), seed=k, backend="numpy").build(3) for k in range(4)
    ]
    wanted = {model.get_weights()[0].tobytes() for model in models}
    models[0].save(path)
    wrong: list[Any] = []

    def work(model: cr.Model) -> None:
        try:
            for _ in range(15):
                model.save(path)
                if cr.load(path).get_weights()[0].tobytes() not in wanted:
                    wrong.append("half a file")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert _names(path.parent) == [path.name]
