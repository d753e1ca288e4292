"""An epoch of chunks has each sample once, and is a function of (seed, epoch)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.data import chunks


def numbers(order: chunks.ChunkOrder, epoch: int, done: int = 0) -> list[int]:
    """Return the samples of an epoch in the order of its steps."""
    found: list[int] = []
    for piece in order.pieces(epoch, done):
        rows = np.concatenate([np.arange(*block) for block in piece.blocks])
        found += rows[piece.full].ravel().tolist()
        if piece.rest is not None:
            found += rows[piece.rest].ravel().tolist()
    return found


@given(
    st.integers(1, 3000),
    st.integers(1, 64),
    st.integers(1, 100),
    st.integers(1, 50),
    st.one_of(st.none(), st.integers(0, 9)),
)
def test_each_sample_comes_once(
    samples: int, batch: int, share: int, grain: int, seed: int | None
) -> None:
    batch = min(batch, samples)
    room = max(batch, samples * share // 100)
    order = chunks.cut(samples, batch, 4, 4 * room, grain, seed)
    if order is None:
        assert room >= samples
        return
    assert order.block % batch == 0
    assert order.chunk % order.block == 0
    assert batch <= order.chunk <= room
    pieces = list(order.pieces(3))
    for k, piece in enumerate(pieces):
        rows = sum(high - low for low, high in piece.blocks)
        assert rows <= order.chunk
        assert piece.number == k
        assert piece.step == k * order.chunk // batch
        assert (piece.rest is None) or k == len(pieces) - 1
    found = numbers(order, 3)
    assert sorted(found) == list(range(samples))
    if seed is None:
        assert found == sorted(found)
    assert order.steps == sum(len(p.full) + (p.rest is not None) for p in pieces)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    order = chunks.cut(1000, 10, 1, 200, 1, 5)
    assert order is not None
    assert numbers(order, 0) == numbers(order, 0)
    assert numbers(order, 0) != numbers(order, 1)
    assert numbers(order, 0) != numbers(order._replace(seed=6), 0)
    # Neighbours are read together, and far ones trained on together.
    first = next(order.pieces(0))
    assert first.blocks == sorted(first.blocks)
    assert max(high for _, high in first.blocks) > 400


def test_a_resumed_epoch_begins_with_the_chunk_of_its_step() -> None:
    order = chunks.cut(1000, 10, 1, 200, 1, 5)
    assert order is not None
    whole = list(order.pieces(2))
    assert len(whole) == 5
    for done, begin in [(0, 0), (19, 0), (20, 1), (21, 1), (99, 4)]:
        assert [p.number for p in order.pieces(2, done)] == list(range(begin, 5))
    assert list(order.pieces(2, 100)) == []


def test_blocks_are_whole_grains_where_they_can_be() -> None:
    order = chunks.cut(10**6, 128, 4, 4 * 10**5, 1000, 0)
    assert order is not None
    assert order.block % 1000 == 0
    order = chunks.cut(10**6, 128, 4, 4 * 10**4, 999, 0)
    assert order is not None
    assert order.block == 1024


def test_a_chunk_of_less_than_a_batch_is_refused() -> None:
    with pytest.raises(cr.ArgumentError, match=r"holds 3 samples.*at least 320"):
        chunks.cut(100, 32, 10, 35, 1, 0)
