"""Several GPUs: what a machine that has them must show."""

from __future__ import annotations

from typing import Any

import pytest

import chainrule as cr

jax = pytest.importorskip("jax")

from tests.support.meshes import W, X, Y, difference, new_model, smooth  # noqa: E402

pytestmark = pytest.mark.gpu


def gpus() -> list[Any]:
    try:
        found: list[Any] = jax.devices("gpu")
    except RuntimeError:
        found = []
    if len(found) < 2:
        pytest.skip("needs two GPUs")
    return found


@pytest.mark.parametrize("members", [None, 2])
def test_several_gpus_train_as_one(members: int | None) -> None:
    every = gpus()
    optimizer = cr.AdamW(0.01, weight_decay=0.1, clip_norm=0.05)
    given: dict[str, Any] = {"members": members, "optimizer": optimizer}
    network = smooth() if members else None
    models = [new_model(device, network, **given) for device in (every[0], "gpu:*")]
    for model in models:
        model.fit(X, Y, epochs=15, batch_size=30, sample_weight=W)
    one, many = models
    assert difference(one.get_weights(), many.get_weights()) < 1e-10
    assert difference([one.predict(X)], [many.predict(X)]) < 1e-10


def test_theta_lies_on_all_of_them() -> None:
    every = gpus()
    model = new_model("gpu:*").build(5)
    assert model.training.theta.devices() == {*every}
