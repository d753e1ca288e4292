"""Fixtures: one library after the other, each at its strictest."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import array_api_strict
import pytest
from hypothesis import Phase, settings

# Before JAX is loaded: what several devices do is tested on parts of one CPU.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

from tests.support.libraries import FLAGS, LIBRARIES, Library, backend, entered

# Where a failure is enough: nobody reads the smallest example of a mutant.
settings.register_profile(
    "mutants",
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    database=None,
    deadline=None,
)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C be heard: background jobs, and nohup, begin with it ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Give Ctrl-C its handler back: what a test leaves decides no test after it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    if signal.getsignal(signal.SIGINT) is not before:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def strict_flags() -> Iterator[None]:
    """Set array-api-strict's flags for each test: other libraries change them."""
    with array_api_strict.ArrayAPIStrictFlags(**FLAGS):
        yield


@pytest.fixture(params=LIBRARIES)
def lib(request: pytest.FixtureRequest) -> Iterator[Library]:
    """An array library at its strictest.

    A test that runs on all of the matrix says
    ``@pytest.mark.parametrize("lib", MATRIX, indirect=True)``.
    """
    # Rules and layers never bring a value to the host; checks of targets do.
    strict = request.node.get_closest_marker("no_sync") is not None
    with entered(request.param, syncs=not strict) as entry:
        yield entry


@pytest.fixture(params=LIBRARIES)
def where(request: pytest.FixtureRequest) -> Any:
    """Keyword arguments of `Model`: each backend."""
    return backend(request.param)
