"""The next item is made by a thread while this one is used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

__all__ = ["ahead"]

_Item = TypeVar("_Item")
_Used = TypeVar("_Used")

_END: Any = object()


def ahead(items: Iterator[_Item], use: Callable[[_Item], _Used]) -> Generator[_Used]:
    """Yield ``use(item)`` of each item; a thread makes the item after it meanwhile.

    `items` runs in the thread, `use` where this is iterated. No item is begun before
    the one before it was used, so that at most two are there if whoever iterates gives
    each up before the next. An error of `items` is raised where it would have been
    yielded. Close the generator to end early: it waits for the item under way. Ctrl-C
    does not wait.
    """
    from concurrent.futures import ThreadPoolExecutor  # a first import does without

    thread, waits = ThreadPoolExecutor(1, "chainrule-prefetch"), True
    try:
        item = thread.submit(next, items, _END).result()
        while item is not _END:
            used = use(item)
            del item
            coming = thread.submit(next, items, _END)
            yield used
            del used
            item = coming.result()
            del coming
    except KeyboardInterrupt:
        waits = False  # the source may block for ever
        raise
    finally:
        close = getattr(items, "close", None)
        if waits and close is not None:
            thread.submit(close).result()
        thread.shutdown(wait=waits, cancel_futures=True)
