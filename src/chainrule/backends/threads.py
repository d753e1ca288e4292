"""How many threads a library may use: what last bits may depend on."""

from __future__ import annotations

import os

__all__ = ["blas_threads", "processors"]


def blas_threads() -> int:
    """Return how many threads NumPy's products may use, as far as can be known."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        found: list[int] = []
    else:
        # NumPy brings its own; others' libraries have their own threads.
        blas = [i for i in threadpool_info() if i["user_api"] == "blas"]
        own = [i for i in blas if "numpy" in i["filepath"]]
        found = [i["num_threads"] for i in own or blas]
    if found:
        return int(max(found))
    cores = processors()
    for library in ("OPENBLAS", "MKL", "BLIS", "VECLIB", "OMP"):
        suffix = "MAXIMUM_THREADS" if library == "VECLIB" else "NUM_THREADS"
        given = os.environ.get(f"{library}_{suffix}", "").partition(",")[0]
        if given.isdigit() and int(given) > 0:
            return min(int(given), cores)
    return cores


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
