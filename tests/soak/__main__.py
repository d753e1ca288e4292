"""All of it: ``nox -s soak -- --kills 200 --predictions 10000 --files 100000``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.soak import fuzz_load, kills, threads

# Shares of the kills, epochs of a fit, and seconds within which it is killed.
PLAN = {
    "numpy": (0.6, 60, 0.4),
    "torch": (0.2, 60, 0.6),
    "jax": (0.2, 60, 0.3),
}
# Of the kills' 41 samples of 32 bytes, 16 are then in memory at a time.
CHUNK_BYTES = 512


def main() -> None:
    """Run what is asked for, and print what happened."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--predictions", type=int, default=10_000, help="of a thread")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--files", type=int, default=100_000, help="to mutate")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for chunk_bytes in (None, CHUNK_BYTES):
        for backend, (share, epochs, span) in PLAN.items():
            number = round(share * given.kills)
            if not number:
                continue
            with tempfile.TemporaryDirectory() as name:
                done = kills.run(
                    backend,
                    number,
                    Path(name),
                    epochs=epochs,
                    span=span,
                    seed=given.seed,
                    chunk_bytes=chunk_bytes,
                )
                print({**done, "chunk_bytes": chunk_bytes}, flush=True)
    for backend in PLAN if given.predictions else ():
        print(threads.run(backend, given.threads, given.predictions), flush=True)
    if given.files:
        with tempfile.TemporaryDirectory() as name:
            print(fuzz_load.fuzz(given.files, given.seed, Path(name)), flush=True)


if __name__ == "__main__":
    main()
