"""Dropout: its share, its bits, and where it does nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.arrays import random
from chainrule.network import Network

from tests.support.layers import through
from tests.support.libraries import Library

pytestmark = pytest.mark.no_sync

KEYS = random.step_keys(0, 0, 1, 3)[0]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_share_and_scale(lib: Library, rate: float) -> None:
    network = Network(cr.Dropout(rate), (100,))
    x = np.ones((200, 100))
    got = through(network, np.zeros(0), x, 2.0, key=KEYS, lib=lib)
    kept = got.z != 0.0
    np.testing.assert_allclose(got.z[kept], 1.0 / (1.0 - rate))
    np.testing.assert_array_equal(got.dx, 2.0 * got.z)
    sigma = np.sqrt(rate * (1.0 - rate) / kept.size)
    assert abs(np.mean(kept) - (1.0 - rate)) <= 5 * sigma


@pytest.mark.parametrize("shape", [(7,), (3, 5)])
def test_the_same_mask_in_every_library(lib: Library, shape: tuple[int, ...]) -> None:
    network = Network(cr.Sequential(cr.Dropout(0.4), cr.Dropout(0.2)), shape)
    assert network.draws == 2
    x = np.ones((9, *shape))
    one = through(network, np.zeros(0), x, key=KEYS, lib=lib).z
    np.testing.assert_array_equal(one, through(network, np.zeros(0), x, key=KEYS).z)


def test_each_draw_has_its_own_key() -> None:
    first, second = (
        through(Network(cr.Dropout(0.5), (50,)), np.zeros(0), np.ones((20, 50)), key=k)
        for k in (KEYS[:1], KEYS[1:])
    )
    both = Network(cr.Sequential(cr.Dropout(0.5), cr.Dropout(0.5)), (50,))
    got = through(both, np.zeros(0), np.ones((20, 50)), key=KEYS)
    assert (first.z != second.z).any()
    np.testing.assert_array_equal(got.z, first.z * second.z)


def test_leading_axes_share_the_mask(lib: Library) -> None:
    network = Network(cr.Dropout(0.5), (11,))
    members = np.ones((3, 8, 11))
    got = through(network, np.zeros(0), members, key=KEYS, lib=lib).z
    alone = through(network, np.zeros(0), members[0], key=KEYS, lib=lib).z
    np.testing.assert_array_equal(got, np.broadcast_to(alone, got.shape))


def test_rows_are_masked_by_their_number() -> None:
    network = Network(cr.Dropout(0.5), (11,))
    many, few = (
        through(network, np.zeros(0), np.ones((n, 11)), key=KEYS).z for n in (8, 3)
    )
    np.testing.assert_array_equal(many[:3], few)


def test_none_in_inference(where: Any) -> None:
    dense = cr.Dense(2)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    dropping, plain = (
        cr.Model(network, **where).build(3)
        for network in (cr.Sequential(cr.Dropout(0.9), dense), cr.Sequential(dense))
    )
    np.testing.assert_array_equal(dropping.predict(x), plain.predict(x))


def test_training_is_the_same_in_every_library(where: Any) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    network = cr.Sequential(cr.Dense(8), cr.Dropout(0.5), cr.Dense(1))
    one, other = (
        cr.Model(network, optimizer=cr.SGD(0.05), dtype="float64", **kind)
        for kind in (where, {"backend": "numpy"})
    )
    for model in (one, other):
        model.fit(x, x[:, :1], epochs=3, batch_size=8)
    np.testing.assert_allclose(one.get_weights()[0], other.get_weights()[0], rtol=1e-10)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_bad_rates(rate: float) -> None:
    with pytest.raises(cr.ArgumentError, match="Dropout: rate"):
        cr.Dropout(rate)
