"""What a contender is, and the plainest of them: the matrix products alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from common import need
from problems import Problem

__all__ = ["Contender", "Limit"]


class Contender:
    """Somebody who can train a problem.

    Making one imports what it needs. `reset` goes back to the start, untimed; `fit` is
    what is timed, and returns when the work is done.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.x, self.y = problem.data()

    def reset(self) -> None:
        """Go back to the initial parameters, and to a fresh optimizer."""
        raise NotImplementedError

    def fit(self) -> Any:
        """Train for the problem's epochs."""
        raise NotImplementedError

    def layers(self) -> list[tuple[Any, Any]] | None:
        """Return (w (m, n), b (m,)) of each layer in NumPy; None: no training."""
        raise NotImplementedError


class Limit(Contender):
    """The matrix products of the steps alone, by one library, into given memory.

    Forward, and backward to the weights and to all inputs but the first.
    """

    def __init__(self, problem: Problem, *, library: str) -> None:
        need(library)
        super().__init__(problem)
        rng = np.random.default_rng(0)

        def matrix(rows: int, columns: int) -> Any:
            return rng.normal(size=(rows, columns)).astype(np.float32)

        products = []
        for k, (w, _) in enumerate(problem.initial()):
            m, n = w.shape
            x, dz = matrix(problem.batch, n), matrix(problem.batch, m)
            products += [(x, w.T), (dz.T, x)] + ([(dz, w)] if k else [])
        self.run = getattr(self, f"_{library}")(products)

    def _numpy(self, products: Any) -> Any:
        outs = [a @ b for a, b in products]

        def run() -> None:
            for (a, b), out in zip(products, outs, strict=True):
                np.matmul(a, b, out=out)

        return run

    def _torch(self, products: Any) -> Any:
        import torch

        pairs = [tuple(map(torch.from_numpy, pair)) for pair in products]
        outs = [a @ b for a, b in pairs]

        def run() -> None:
            for (a, b), out in zip(pairs, outs, strict=True):
                torch.matmul(a, b, out=out)

        return run

    def _jax(self, products: Any) -> Any:
        import jax

        @jax.jit
        def multiply(pairs: Any) -> Any:
            # As it stands in the memory: a transposed operand, not a transposed copy.
            return [
                jax.lax.dot_general(a, b, (((1 - s,), (t,)), ((), ())))
                for (a, b), (s, t) in zip(pairs, sides, strict=True)
            ]

        flat = [[a.flags.c_contiguous for a in pair] for pair in products]
        sides = [(int(not a), int(not b)) for a, b in flat]
        pairs = [
            tuple(
                jax.numpy.array(a if c else a.T) for a, c in zip(pair, cs, strict=True)
            )
            for pair, cs in zip(products, flat, strict=True)
        ]

        def run() -> None:
            jax.block_until_ready(multiply(pairs))

        return run

    def reset(self) -> None:
        pass

    def fit(self) -> Any:
        for _ in range(self.problem.epochs * self.problem.steps):
            self.run()

    def layers(self) -> None:
        return None
