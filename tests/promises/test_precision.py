"""precision=: which products a model makes, and who refuses."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends

from tests.support.libraries import LIBRARIES, backend, here

HALF = [name for name in ("jax", "torch") if here(name)]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(512, 64)).astype(np.float32)
Y = np.tanh(X @ RNG.normal(size=(64, 4)).astype(np.float32) / 8)


def rounded(a: Any) -> Any:
    """float32 with the 8 significant bits of bfloat16, to nearest even."""
    bits = np.asarray(a, dtype=np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("name", HALF)
def test_bfloat16_rounds_what_goes_into_a_product(name: Any) -> None:
    engine = backends.get(name)
    a, b = X[:32], X[32:96]
    exact = rounded(a).astype(np.float64) @ rounded(b).T.astype(np.float64)
    with engine.scope("float32", "bfloat16"):
        got = engine.xp.matmul(engine.asarray(a), engine.asarray(b).mT)
        assert "float32" in str(got.dtype)
        got = engine.to_numpy(got)
    with engine.scope("float32"):
        full = engine.xp.matmul(engine.asarray(a), engine.asarray(b).mT)
        full = engine.to_numpy(full)
    # PyTorch rounds the product as well.
    wanted = rounded(exact) if name == "torch" else exact
    np.testing.assert_allclose(
        got, wanted, rtol=1e-2 if name == "torch" else 1e-5, atol=1e-4
    )
    assert np.abs(got - full).max() > 1e-3
    np.testing.assert_allclose(full, a @ b.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", HALF)
def test_bfloat16_trains_to_the_same_loss(name: Any) -> None:
    losses = {}
    for precision in ("highest", "bfloat16"):
        model = cr.Model(
            cr.MLP((64, 64, 4)),
            optimizer=cr.Adam(1e-3),
            backend=name,
            precision=precision,
        )
        losses[precision] = model.fit(X, Y, epochs=20, batch_size=64)["loss"][-1]
        assert "float32" in str(model.theta.dtype)
        assert model.predict(X).dtype == np.float32
    assert losses["bfloat16"] != losses["highest"]
    assert losses["bfloat16"] == pytest.approx(losses["highest"], rel=0.02)


@pytest.mark.skipif(not here("torch"), reason="needs PyTorch")
def test_threads_of_two_precisions() -> None:
    engine = backends.get("torch")
    a = engine.asarray(X)
    inside, done = threading.Barrier(2), []

    def work(precision: str) -> None:
        with engine.scope("float32", precision):
            inside.wait()
            z = engine.to_numpy(engine.xp.matmul(a, a.mT))
            inside.wait()
        done.append((precision, z))

    threads = [
        threading.Thread(target=work, args=(p,)) for p in ("highest", "bfloat16")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = dict(done)
    np.testing.assert_allclose(found["highest"], X @ X.T, rtol=1e-4, atol=1e-4)
    assert np.abs(found["bfloat16"] - found["highest"]).max() > 1e-3


@pytest.mark.parametrize("name", LIBRARIES)
def test_refusals(name: str) -> None:
    where = backend(name)
    if name not in HALF:
        with pytest.raises(
            cr.ArgumentError, match=r"precision must be one of highest w"
        ):
            cr.Model(cr.MLP((1,)), precision="bfloat16", **where)
    else:
        with pytest.raises(
            cr.ArgumentError, match=r"float32 products; got dtype 'float64'"
        ):
            cr.Model(cr.MLP((1,)), precision="bfloat16", dtype="float64", **where)
    with pytest.raises(cr.ArgumentError, match=r"precision must be one of .*'tf32'"):
        cr.Model(cr.MLP((1,)), precision="tf32", **where)
    with pytest.raises(cr.ArgumentError, match=r"precision must be one of"):
        cr.Model(cr.MLP((1,)), precision="half", **where)  # type: ignore[arg-type]
    # Nothing was said of a backend yet: the data decide, and then it is refused.
    model = cr.Model(cr.MLP((4,)), precision="tf32")
    with pytest.raises(cr.ArgumentError, match="precision must be one of"):
        model.fit(X, Y, epochs=1)
    assert not model.built


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["jax", "torch"])
def test_tf32_on_a_gpu(name: Any) -> None:
    device = {"jax": "gpu:0", "torch": "cuda:0"}[name]
    try:
        engine = backends.get(name, device)
    except cr.ChainruleError as error:
        pytest.skip(str(error))
    model = cr.Model(cr.MLP((64, 4)), backend=engine, precision="tf32")
    full = cr.Model(cr.MLP((64, 4)), backend=engine)
    a, b = (m.fit(X, Y, epochs=5)["loss"][-1] for m in (model, full))
    assert a == pytest.approx(b, rel=0.02)
