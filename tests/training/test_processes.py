"""Several processes train as one does, agree on when to end, and hear of an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.libraries import here
from tests.support.processes import launch

pytestmark = [
    pytest.mark.skipif(not here("jax"), reason="needs JAX"),
    pytest.mark.xdist_group("processes"),
]


@pytest.mark.parametrize(
    ("number", "devices", "tasks", "count"),
    [(2, 1, "same,ensemble,source", 9), (2, 2, "parts", 1), (4, 1, "same", 5)],
)
def test_together_is_as_alone(
    number: int, devices: int, tasks: str, count: int, tmp_path: Path
) -> None:
    for ended in launch(number, tasks, tmp_path, devices):
        assert ended.code == 0, ended.text
        found = [float(value) for value in ended.values("difference")]
        assert len(found) == count
        assert max(found) < 1e-10


def test_one_writes_and_all_read(tmp_path: Path) -> None:
    for ended in launch(2, "saved", tmp_path):
        assert ended.code == 0, ended.text
        together, alone = map(float, ended.values("resumed"))
        assert together == 0.0
        assert alone < 1e-10
        assert ended.values("epoch") == ["0", "1", "2", "3"]
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["epoch", "0", "1", "2", "3"]
    assert (tmp_path / "fit-2-3.ckpt").is_file()
    assert not [p for p in tmp_path.iterdir() if p.suffix not in (".ckpt", ".csv")]


def test_what_differs_is_said_at_once(tmp_path: Path) -> None:
    for k, ended in enumerate(launch(2, "differ", tmp_path)):
        assert ended.code == 0, ended.text
        assert set(ended.values("built")) == {"False"}
        (shape,), (content,) = ended.values("shape"), ended.values("content")
        assert f"number {k}: x '({200 - k}, 5)" in shape
        assert "x '(203, 5)" in content
        (finite,), (epochs,) = ended.values("finite"), ended.values("epochs")
        kind = "ArgumentError x must be finite" if k else "PeerError another process"
        assert finite.startswith(kind)
        assert f"epochs {3 + k}" in epochs
        assert not ended.values("seed")
        (alone,) = ended.values("alone")
        assert "one of 2 processes" in alone
        assert "device='cpu:*'" in alone


def test_what_goes_wrong_in_one_is_heard_in_all(tmp_path: Path) -> None:
    refused = "PeerError another process"
    other = "ArgumentError the processes of this run were given different things"
    wanted = {
        "logger": ("ok", "ok"),
        "callback": (refused, "ZeroDivisionError"),
        "text": (refused, "ArgumentTypeError x must be"),
        **dict.fromkeys(("rate", "hooks", "metrics"), (other, other)),
        **dict.fromkeys(("predict", "rows", "evaluate"), (other, other)),
        "source": (refused, "SourceError x failed to give batch 4"),
        "fewer": ("SourceError the samples of one", "SourceError the samples of one"),
        "bar": ("ok", "ok"),
        "device": ("ok", "DeviceError device cpu:0 belongs to process 0"),
        "again": ("ok", "ok"),
    }
    for k, ended in enumerate(launch(2, "one_sided", tmp_path)):
        assert ended.code == 0, ended.text
        for name, both in wanted.items():
            (said,) = ended.values(name)
            assert said.startswith(both[k]), (name, said)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 21


def test_sigterm_to_one_ends_all_after_the_same_epoch(tmp_path: Path) -> None:
    for ended in launch(2, "terminated", tmp_path):
        assert ended.code == 143, ended.text
        assert ended.values("epoch") == ["0", "1", "2"]
    for ended in launch(2, "again", tmp_path):
        assert ended.values("difference") == ["0.0"], ended.text


def test_the_end_of_one_is_heard_by_all(tmp_path: Path) -> None:
    first, last = launch(2, "killed", tmp_path)
    assert last.code == -9
    assert first.code != 0
    (heard,) = first.values("peer")
    assert "resume=path" in heard
    for ended in launch(2, "again", tmp_path):
        assert ended.values("difference") == ["0.0"], ended.text
