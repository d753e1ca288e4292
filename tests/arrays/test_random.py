"""Randomness: published vectors, the same bits everywhere, separate streams."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from chainrule import rules
from chainrule.arrays import random
from chainrule.arrays.namespace import Namespace
from chainrule.data import order as order_

from tests.support.libraries import Library

NUMPY = Namespace(np)
KEY = np.array([0x12345678, -0x789ABCDE], dtype=np.int32)
ONES = 0xFFFFFFFF


def _words(*numbers: int) -> Any:
    return np.array(numbers, dtype=np.uint32).view(np.int32)


@pytest.mark.parametrize(
    ("counter", "key", "want"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((ONES, ONES), (ONES, ONES), (0x1CB996FC, 0xBB002BE7)),
        (
            (0x243F6A88, 0x85A308D3),
            (0x13198A2E, 0x03707344),
            (0xC4923A9C, 0x483DF7A0),
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_threefry_known_answers(
    lib: Library, counter: Any, key: Any, want: tuple[int, int]
) -> None:
    """Known-answer vectors of Random123: threefry2x32, 20 rounds."""
    c0, c1 = (lib.array(_words(c)) for c in counter)
    # The namespace is the key's, unless it is said.
    for said in ({"xp": lib.xp}, {}):
        got = random.threefry(lib.array(_words(*key)), (c0, c1), **said)
        np.testing.assert_array_equal(
            np.concatenate([lib.host(x) for x in got]), _words(*want)
        )


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (5, 7), (64, 32), (0, 3)])
def test_bits_are_the_same_in_every_library(lib: Library, rows: int, size: int) -> None:
    got = lib.host(random.bits(lib.array(KEY), rows, size, xp=lib.xp))
    assert got.dtype == np.int32
    assert got.shape == (rows, size)
    np.testing.assert_array_equal(got, random.bits(KEY, rows, size, xp=NUMPY))


def test_a_rows_bits_do_not_depend_on_the_rows() -> None:
    many = random.bits(KEY, 33, 9, xp=NUMPY)
    for rows in (1, 2, 32):
        some = random.bits(KEY, rows, 9, xp=NUMPY)
        np.testing.assert_array_equal(some, many[:rows])


def test_bits_are_uniform() -> None:
    words = random.bits(KEY, 512, 256, xp=NUMPY).view(np.uint32).ravel()
    assert np.unique(words).size > words.size - 16  # 2 collisions are expected
    n, sigma = words.size, 0.5 / np.sqrt(words.size)
    for bit in range(32):
        assert abs(np.mean((words >> bit) & 1) - 0.5) < 5 * sigma
    for shift in (0, 8, 16, 24):
        counts = np.bincount((words >> shift) & 255, minlength=256)
        square = np.sum((counts - n / 256) ** 2) / (n / 256)
        assert abs(square - 255) < 5 * np.sqrt(2 * 255)


def test_step_keys_do_not_collide() -> None:
    keys = [random.step_keys(seed, 0, 5000, 4) for seed in (0, 1 << 32)]
    assert all(k.shape == (5000, 4, 2) and k.dtype == np.int32 for k in keys)
    both = np.concatenate(keys).reshape(-1, 2)
    assert len(np.unique(both, axis=0)) == len(both) == 40000


def test_neighbouring_seeds_do_not_share_keys() -> None:
    """Each (seed, step, draw) has its own key: 2 in 10⁵ collisions are expected."""
    keys = np.concatenate([random.step_keys(s, 0, 100, 4) for s in range(500)])
    assert len(np.unique(keys.reshape(-1, 2), axis=0)) == 500 * 100 * 4
    # Words of one key return nowhere as the other key's either.
    first = keys[..., 0].ravel()
    assert len(np.unique(first)) > first.size - 30  # 5 are expected


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_masks_are_uniform(rate: float) -> None:
    """Chi-square of dropout's masks over rows, elements, steps and draws."""
    rows, size = 32, 16
    keys = random.step_keys(0, 0, 64, 2).reshape(-1, 2)
    words = np.stack([random.bits(k, rows, size, xp=NUMPY) for k in keys])
    kept = rules.dropout(np.ones(words.shape), words, rate=rate)[0] > 0
    p = 1.0 - rate
    for axes in ((0, 1), (0, 2), (1, 2)):  # by element, by row, by draw
        counts, n = kept.sum(axis=axes), kept.size // kept.sum(axis=axes).size
        square = np.sum((counts - n * p) ** 2) / (n * p * rate)
        freedom = counts.size
        assert abs(square - freedom) < 4 * np.sqrt(2 * freedom)
    # Neighbours are kept together as often as chance has it.
    for axis in (0, 1, 2):
        one, other = (np.take(kept, range(*r), axis) for r in _neighbours(kept, axis))
        n = one.size
        assert abs(np.mean(one & other) - p * p) < 4 * p * np.sqrt(1 / n)


def _neighbours(a: Any, axis: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, a.shape[axis] - 1), (1, a.shape[axis])


def test_draws_are_what_they_were() -> None:
    """A seed means the same numbers in every version."""
    assert (random.WEIGHTS, random.ORDER, random.BOOTSTRAP) == (0, 1, 2)
    weights = random.generator(7, random.WEIGHTS, 0).integers(1000, size=4)
    order = random.generator(7, random.ORDER, 3).integers(1000, size=4)
    assert weights.tolist() == [829, 323, 285, 612]
    assert order.tolist() == [553, 658, 706, 713]
    key = random.step_keys(7, 2, 1, 2)[0, 1]
    assert key.tolist() == [1668117619, 1858999758]
    assert random.bits(key, 2, 3, xp=NUMPY).tolist() == [
        [-1760979497, 295603147, -453782302],
        [-456615228, 1699927583, 628102306],
    ]


def test_steps_wrap_at_their_words() -> None:
    """A key is made of 32-bit words, of as many steps as ever."""
    late = random.step_keys(0, 2**32, 2, 1)
    np.testing.assert_array_equal(late, random.step_keys(0, 0, 2, 1))


def test_no_more_words_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = random.threefry

    def counted(*args: Any, **kwargs: Any) -> Any:
        words = real(*args, **kwargs)
        made.extend(w.size for w in words)
        return words

    monkeypatch.setattr(random, "threefry", counted)
    for size, half in ((6, 3), (7, 4)):
        made.clear()
        random.bits(KEY, 5, size, xp=NUMPY)
        assert made == [5 * half, 5 * half]


def test_step_keys_are_a_function_of_the_step() -> None:
    whole = random.step_keys(7, 0, 50, 3)
    np.testing.assert_array_equal(random.step_keys(7, 20, 30, 3), whole[20:])
    np.testing.assert_array_equal(random.step_keys(7, 0, 50, 2), whole[:, :2])
    step = np.array([20], dtype=np.int32)
    want = np.concatenate(random.threefry(_words(7, 0), (step, step * 0 + 1)))
    np.testing.assert_array_equal(whole[20, 1], want)


def test_seeds_of_any_size() -> None:
    seeds = (0, 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1)
    keys = np.concatenate([random.step_keys(s, 0, 1, 1)[0] for s in seeds])
    assert len(np.unique(keys, axis=0)) == len(seeds)


def test_host_generators_are_keyed() -> None:
    def draws(*key: int) -> tuple[float, ...]:
        return tuple(random.generator(*key).normal(size=4))

    keys = [(s, p, i) for s in (0, 1) for p in (0, 1) for i in (0, 1, 2)]
    assert len({draws(*key) for key in keys}) == len(keys)
    assert draws(1, 0, 2) == draws(1, 0, 2)


def test_neighbouring_epochs_are_uncorrelated() -> None:
    orders = [order_.order(4000, 4000, seed=0, epoch=e)[0][0] for e in range(51)]
    for one, other in pairwise(orders):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.05
        # and as streams: the same numbers do not return at any shift
        assert np.mean(one == other) < 0.005
        assert np.mean(one[1:] == other[:-1]) < 0.005


@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize(("samples", "batch_size"), [(10, 4), (12, 4), (3, 3), (7, 1)])
def test_orders_are_permutations(
    samples: int, batch_size: int, seed: int | None
) -> None:
    full, rest = order_.order(samples, batch_size, seed=seed, epoch=3)
    assert full.shape == (samples // batch_size, batch_size)
    assert full.dtype == np.int32
    parts = [full.ravel()]
    if samples % batch_size:
        assert rest.shape == (1, samples % batch_size)
        parts.append(rest.ravel())
    else:
        assert rest is None
    joined = np.concatenate(parts)
    if seed is None:
        np.testing.assert_array_equal(joined, np.arange(samples))
    np.testing.assert_array_equal(np.sort(joined), np.arange(samples))


def test_all_words_of_a_seed_count() -> None:
    """Seeds of any size have masks, weights and orders of their own."""
    seeds = [3 + (k << at) for at in (64, 96, 128, 160, 1000) for k in (0, 1, 2)]
    seeds = sorted({*seeds, 3 << 64, 3 << 128})
    keys = {random.step_keys(seed, 0, 1, 1).tobytes() for seed in seeds}
    assert len(keys) == len(seeds)
    drawn = {
        random.generator(seed, purpose, index).integers(0, 2**63, 4).tobytes()
        for seed in (0, 1, 2**32, 2**64, 2**96, 2**128, 2**160, 2**192)
        for purpose in (0, 1, 2)
        for index in (0, 1, 2, 2**32)
    }
    assert len(drawn) == 8 * 3 * 4
