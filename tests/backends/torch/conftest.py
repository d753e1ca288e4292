"""A fixture of the tests of compiled steps."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is compiled, from nothing; traced, but with Inductor left out."""
    import torch._inductor

    graphs: list[Any] = []

    def compile_(graph: Any, leaves: Any, options: Any = None) -> Any:
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch._inductor, "compile", compile_)
    from chainrule.backends.torch import compiled

    compiled.forget()
    yield graphs
    compiled.forget()
