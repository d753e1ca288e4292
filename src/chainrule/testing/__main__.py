"""``python -m chainrule.testing``: prove everything on the backends of this machine."""

from __future__ import annotations

import argparse
import sys
import time

from tqdm import tqdm

from chainrule.config import console
from chainrule.errors import ChainruleError
from chainrule.testing import cases, proof

__all__ = ["main"]


@console.command
def main(arguments: list[str] | None = None) -> int:
    """Run the proof, print its table, and return the exit status: 0 if all holds."""
    parser = argparse.ArgumentParser(
        prog="python -m chainrule.testing",
        description="Check every rule, layer, loss and optimizer of chainrule, and its "
        "random numbers, on every backend that is here.",
    )
    parser.add_argument(
        "--backend",
        action="append",
        help="numpy, jax, torch, cupy or array_api_strict; may be repeated (default: "
        "all that are here)",
    )
    parser.add_argument(
        "--only",
        action="append",
        help="check only what has this in its name; may be repeated",
    )
    parser.add_argument(
        "--thorough",
        action="store_true",
        help="also where it takes long: leads and dtypes one by one on JAX",
    )
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        engines, missing = proof.engines(options.backend)
    except ChainruleError as error:
        console.say_error(error)
        return 1
    todo = proof.tasks(options.only)
    if not todo:
        console.say_error(f"nothing is called {' or '.join(options.only)}")
        return 1
    unlisted = [name for names in cases.unlisted().values() for name in names]
    found = proof.Proof(missing, unlisted)
    hidden = None if sys.stderr is not None else True  # None: unless on a terminal
    with tqdm(total=len(todo) * len(engines), disable=hidden, unit="entry") as bar:
        for name, engine in engines.items():
            for task in todo:
                bar.set_postfix_str(f"{name}: {task.name}", refresh=False)
                found.results.append(
                    proof.prove(task, name, engine, thorough=options.thorough)
                )
                bar.update()
    print(found)
    print(f"{time.perf_counter() - start:.0f} seconds")
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main())
