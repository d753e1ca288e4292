"""One item is made ahead, by a thread that ends with the loop."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from chainrule.data.prefetch import ahead


def workers() -> list[str]:
    """Names of the threads that make items."""
    names = (t.name for t in threading.enumerate())
    return [name for name in names if name.startswith("chainrule-prefetch")]


class Item:
    """What can be watched."""

    def __init__(self, number: int) -> None:
        self.number = number


def test_items_come_in_order_and_from_a_thread() -> None:
    made: list[Any] = []

    def items() -> Iterator[int]:
        for k in range(5):
            made.append(threading.current_thread())
            yield k

    main = threading.current_thread()
    used: list[Any] = []

    def use(k: int) -> int:
        used.append(threading.current_thread())
        return 10 * k

    assert list(ahead(items(), use)) == [0, 10, 20, 30, 40]
    assert main not in made
    assert set(used) == {main}
    assert not workers()


def test_two_items_at_most_are_there() -> None:
    alive: list[Any] = []

    def items() -> Iterator[Item]:
        for k in range(6):
            there = sum(ref() is not None for ref in alive)
            assert there <= 1, there
            item = Item(k)
            alive.append(weakref.ref(item))
            yield item
            del item

    for item in ahead(items(), lambda item: item):
        assert isinstance(item, Item)
        del item
    assert len(alive) == 6


def test_an_error_comes_where_its_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        msg = "of the source"
        raise OSError(msg)

    loop = ahead(items(), lambda k: k)
    assert [next(loop), next(loop)] == [1, 2]
    with pytest.raises(OSError, match="of the source"):
        next(loop)
    assert not workers()


def test_to_end_early_closes_the_source() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    loop = ahead(items(), lambda k: k)
    assert next(loop) == 0
    loop.close()
    assert closed == [True]
    assert not workers()
