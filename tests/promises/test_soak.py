"""A twentieth of the soak: kills, threads. All of it is `nox -s soak`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.soak import kills, threads
from tests.soak.__main__ import CHUNK_BYTES, PLAN
from tests.support.libraries import here


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("backend", "number", "chunk_bytes"),
    [
        ("numpy", 7, None),
        ("torch", 2, None),
        ("jax", 1, None),
        ("numpy", 4, CHUNK_BYTES),
        ("jax", 1, CHUNK_BYTES),
    ],
)
def test_killed_and_resumed(
    backend: str, number: int, chunk_bytes: int | None, tmp_path: Path
) -> None:
    if not here(backend):
        pytest.skip(f"{backend} is not installed")
    _, epochs, span = PLAN[backend]
    done = kills.run(
        backend,
        number,
        tmp_path,
        epochs=epochs,
        span=span,
        seed=1,
        chunk_bytes=chunk_bytes,
    )
    assert done["kills"] >= number


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_threads_that_predict_while_one_fits(backend: str) -> None:
    if not here(backend):
        pytest.skip(f"{backend} is not installed")
    done = threads.run(backend, 8, 500)
    assert done["epochs"] > 1
    assert done["different answers"] > 1
