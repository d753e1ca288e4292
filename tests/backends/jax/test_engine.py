"""What JAX compiles, keeps and gives back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends

from tests.support.engines import X
from tests.support.libraries import here


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_jax_compiles_once_for_equal_structures() -> None:
    from chainrule.backends.jax.engine import _compiled

    def fit(rate: float, seed: int, decay: float) -> None:
        optimizer = cr.Adam(rate, weight_decay=decay, clip_norm=1.0, clip_value=decay)
        model = cr.Model(cr.MLP((7, 1)), optimizer=optimizer, backend="jax", seed=seed)
        model.fit(X, X[:, :1], epochs=2, batch_size=8)

    fit(1e-3, 0, 0.1)
    before = _compiled.cache_info().misses
    fit(1e-2, 1, 0.2)
    fit(cr.schedules.CosineDecay(1e-2, 9), 2, 0.3)  # type: ignore[arg-type]
    assert _compiled.cache_info().misses == before


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_jax_keeps_so_many_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.backends.jax import engine as engine_

    monkeypatch.setattr(engine_, "SHAPES", 3)
    made = []

    def build(backend: Any, k: int) -> Any:
        made.append(k)
        return lambda x: k * x

    run = backends.get("jax").compile
    for rows in range(1, 12):
        assert float(run(build, 7)(np.ones(rows)).sum()) == 7 * rows
    assert 2 <= len(made) <= 4
    backends.clear_caches()
    run(build, 7)
    assert made.count(7) == len(made)


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_what_was_compiled_is_given_back() -> None:
    import gc
    import weakref

    model = cr.Model(cr.MLP((5, 1)), backend="jax").build(3)
    x = X.astype(np.float32)
    z = model.predict(x)

    def build(backend: Any) -> Any:
        def f(x: Any) -> Any:
            return x + 1

        seen.append(weakref.ref(f))
        return f

    seen: list[Any] = []
    model.backend.compile(build)(x)
    gc.collect()
    assert seen[0]() is not None
    backends.clear_caches()
    assert seen[0]() is None
    np.testing.assert_array_equal(model.predict(x), z)


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_jax_predict_pads_rows() -> None:
    from chainrule.network.chunks import padded

    engine = backends.get("jax")
    x = engine.asarray(np.ones((5, 3), dtype=np.float32))
    part, rows = padded(engine, x, 0, 8192)
    assert (part.shape, rows) == ((8, 3), 5)
    np.testing.assert_array_equal(part[5:, :], np.ones((3, 3)))
    weight, _ = padded(engine, x[:, 0], 0, 8192, fill=False)
    assert float(weight[5:].sum()) == 0.0
