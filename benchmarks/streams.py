"""Time fits of samples that are stored against those of the same samples in memory.

    python benchmarks/streams.py [--rounds 5] [--samples 65536] [--backends numpy jax]

Float32, Adam, batch 256, one epoch a turn, chunks of an eighth of the samples. Each
contender is a process, and they take turns. Printed are medians of the CPU seconds of
all threads, their ratios to the fit in memory, and the anonymous memory that a fit
added at its peak, in chunks of one.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import common

STORES = ("memory", "memmap", "shards", "hdf5", "zarr")
BATCH, SHARDS = 256, 8


def write(folder: Path, samples: int, features: int, classes: int) -> None:
    """Write the samples in every form."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, features)).astype(np.float32)
    y = rng.integers(0, classes, samples).astype(np.int32)
    for name, a in (("x", x), ("y", y)):
        np.save(folder / f"{name}.npy", a)
        for k, part in enumerate(np.array_split(a, SHARDS)):
            np.save(folder / f"{name}-{k}.npy", part)
        chunks = (1024, *a.shape[1:])
        try:
            import h5py

            with h5py.File(folder / f"{name}.h5", "w") as file:
                file.create_dataset("a", data=a, chunks=chunks)
        except ImportError:
            pass
        try:
            import zarr

            array = zarr.create_array(
                str(folder / f"{name}.zarr"),
                shape=a.shape,
                dtype=a.dtype,
                chunks=chunks,
                compressors=None,
            )
            array[:] = a
        except ImportError:
            pass


def read(folder: Path, store: str, name: str) -> Any:
    """Return an array in memory, or as it is stored."""
    import numpy as np

    if store == "memory":
        return np.load(folder / f"{name}.npy")
    if store == "memmap":
        return np.load(folder / f"{name}.npy", mmap_mode="r")
    if store == "shards":
        return [folder / f"{name}-{k}.npy" for k in range(SHARDS)]
    if store == "hdf5":
        common.need("h5py")
        import h5py

        return h5py.File(folder / f"{name}.h5", "r")["a"]
    common.need("zarr")
    import zarr

    return zarr.open_array(str(folder / f"{name}.zarr"), mode="r")


def anonymous() -> float:
    """Return the memory of this process that no file stands behind, in MB."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


class Peak:
    """The largest anonymous memory while it is entered."""

    def __enter__(self) -> Self:
        self.low = self.high = anonymous()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.over.wait(0.01):
            self.high = max(self.high, anonymous())

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def prepare(folder: str, store: str, backend: str, units: list[int]) -> Any:
    """Return what trains one epoch, and measures it."""
    import chainrule as cr

    common.need(*([] if backend == "numpy" else [backend]))
    x, y = (read(Path(folder), store, name) for name in ("x", "y"))
    size = sum((Path(folder) / f"{name}.npy").stat().st_size for name in ("x", "y"))
    chunk = size // 8
    how: dict[str, Any] = {} if store == "memory" else {"chunk_bytes": chunk}
    model = cr.Model(
        cr.MLP(tuple(units[1:])), loss="cross_entropy", backend=backend, seed=0
    )

    def fit() -> None:
        model.fit(x, y, epochs=1, batch_size=BATCH, progress=False, **how)

    fit()

    def measure() -> dict[str, float]:
        with Peak() as peak:
            wall, cpu = time.perf_counter(), time.process_time()
            fit()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        chunks = (peak.high - peak.low) * 2**20 / chunk
        return {"cpu": cpu, "wall": wall, "chunks": chunks}

    return measure


def main() -> int:
    parser = common.parser(__doc__, rounds=5, stem="streams")
    parser.add_argument("--samples", type=common.positive, default=65536)
    parser.add_argument("--backends", nargs="+", default=["numpy", "jax", "torch"])
    networks = ["256-256-10", "784-512-512-10"]
    parser.add_argument("--networks", nargs="+", default=networks)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES[1:]))
    options = parser.parse_args()
    results: dict[str, Any] = {}
    rows: list[tuple[str, ...]] = []
    for network in options.networks:
        units = [int(n) for n in network.split("-")]
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), options.samples, units[0], units[-1])
            for backend in options.backends:
                place = f"{network} {backend}"
                base = {"folder": folder, "backend": backend, "units": units}
                jobs = {s: {**base, "store": s} for s in ("memory", *options.stores)}
                found = common.compete(__file__, jobs, options.rounds, place)
                results[place] = found
                rows += rows_of(place, found)
                for line in common.absent(found, place):
                    print(line)
    header = ("fit of one epoch", "CPU s", "over memory", "wall s", "chunks of memory")
    print(common.table(header, rows))
    common.write(options.out, "streams", options, {"results": results})
    return int(common.failed(results))


def rows_of(place: str, found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a row of the table for each store that took part."""
    rows = []
    for store, result in found.items():
        cpu, memory = (common.series(r, "cpu") for r in (result, found["memory"]))
        if cpu and memory:
            median = statistics.median(cpu)
            wall = statistics.median(common.series(result, "wall"))
            chunks = max(common.series(result, "chunks"))
            over = median / statistics.median(memory)
            numbers = f"{median:.2f}", f"{over:.3f}", f"{wall:.2f}", f"{chunks:.2f}"
            rows.append((f"{place} {store}", *numbers))
    return rows


if __name__ == "__main__":
    common.run(main, prepare)
