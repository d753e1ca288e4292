"""The PyTorch engine: the generic loop, without autograd; steps compiled if asked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import array_api_compat.torch as compat
import numpy as np
import torch
from torch.autograd import forward_ad

from chainrule.arrays.layout import Layout
from chainrule.arrays.namespace import register
from chainrule.backends import loop, updates
from chainrule.backends.base import Backend, remembering
from chainrule.backends.torch.functions import FUNCTIONS, THREAD
from chainrule.backends.torch.products import PRODUCTS, isolated, without_autocast
from chainrule.config import checks
from chainrule.errors import ArgumentTypeError, DeviceError, ShapeError

__all__ = ["BLOCK", "TorchBackend"]


# Numbers of a block: theta, a gradient and two slots of it stay in the L3 cache.
BLOCK = 1 << 17


# Bytes of samples that are gathered at once.
_GATHER = 1 << 23


def _device(device: Any) -> Any:
    if not isinstance(device, (str, torch.device, type(None))):
        msg = (
            f"device must be a torch.device or a name such as 'cpu' or 'cuda:1' on the "
            f"torch backend; got {checks.show(device)} ({type(device).__name__})."
        )
        raise DeviceError(msg)
    try:
        where = torch.device(device or torch.get_default_device())
        # Asking for memory is the only question that every kind of device answers.
        return torch.empty(0, device=where).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).partition("\n")[0]
        shown = checks.show(device)
        msg = f"device {shown} is not to be had on the torch backend: {first[:300]}"
        raise DeviceError(msg) from error


def _plain(a: Any) -> Any:
    """Return a tensor as torch's own class, without what a derived one does."""
    return a if type(a) is torch.Tensor else a.as_subclass(torch.Tensor)


def _check_values(name: str, a: Any) -> None:
    """Refuse what stands for a tensor while a program is traced or transformed."""
    if a.device.type == "meta":
        msg = f"{name} lies on torch's meta device and has no values."
        raise DeviceError(msg)
    kind = type(a).__name__
    if torch._C._functorch.is_functorch_wrapped_tensor(a):
        kind = "tensor inside torch.func or torch.vmap"
    elif torch.jit.is_tracing():
        kind = "tensor that torch.jit.trace follows"
    elif kind not in ("FakeTensor", "FunctionalTensor", "ProxyTensor"):
        if hasattr(a, "full_tensor"):
            msg = f"{name} is distributed; hand in {name}.full_tensor()."
            raise ArgumentTypeError(msg)
        return
    msg = (
        f"{name} is a {kind}, which has no values of its own. Inside such a function "
        f"call f = model.function(), which is pure: f(theta, state, x)."
    )
    raise ArgumentTypeError(msg)


def _has_gradient(a: Any) -> bool:
    """Whether a derivative is asked of what is computed from `a` now."""
    if a.requires_grad:
        return bool(torch.is_grad_enabled() or getattr(THREAD, "graph", None))
    return forward_ad._current_level >= 0 and (
        forward_ad.unpack_dual(a).tangent is not None
    )


def _after_fork() -> None:
    # Threads do not come along, and torch would wait for its own for ever.
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


register("array_api_compat.torch", **FUNCTIONS)


class TorchBackend(Backend):
    """PyTorch, with our pullbacks in place of its autograd."""

    gather = _GATHER

    def __init__(self, device: Any = None) -> None:
        super().__init__(compat, _device(device), "torch")
        self.jit_compiles: tuple[bool | None, ...] = (None, True, False)
        self.precisions: tuple[str, ...] = ("highest", "bfloat16")
        if self.device.type == "cuda":
            self.precisions = ("highest", "tf32", "bfloat16")

    @staticmethod
    def locate(device: Any) -> Any:
        """Return a `torch.device` with its number: the current one, if none is said."""
        known = isinstance(device, torch.device) and (
            device.type == "cpu" or device.index is not None
        )
        found = device if known else _device(device)
        if found.type == "meta":
            msg = (
                f"device {checks.show(device)} is torch's meta device, where arrays "
                f"have no values; give device='cpu', say, or leave "
                "torch.device('meta')."
            )
            raise DeviceError(msg)
        return found

    def holds(self, a: Any) -> bool:
        """Whether `a` is a tensor."""
        return isinstance(a, torch.Tensor)

    def owns(self, a: Any) -> bool:
        """Whether `a` is a tensor on this device."""
        return isinstance(a, torch.Tensor) and a.device == self.device

    def asarray(self, a: Any, dtype: str | None = None) -> Any:
        """Return a tensor on this device, outside any autograd graph."""
        kind = None if dtype is None else getattr(torch, dtype)
        if isinstance(a, torch.Tensor):
            return _plain(a).detach().to(device=self.device, dtype=kind)
        # Contiguous and writable: torch cannot hold negative strides, and warns about
        # read-only memory.
        host = np.array(a, dtype=dtype, order="C")
        return torch.from_numpy(host).to(self.device)

    def usable(self, name: str, a: Any) -> Any:
        """Refuse tensors without values of their own; warn where a graph is cut.

        Unsigned integers, which lack `<`, are widened.
        """
        _check_values(name, a)
        if a.is_nested:
            msg = f"{name} must be rectangular; it is a nested tensor."
            raise ShapeError(msg)
        if a.layout is not torch.strided:
            msg = f"{name} is a sparse tensor; hand in {name}.to_dense()."
            raise ArgumentTypeError(msg)
        if _has_gradient(a):
            msg = (
                f"{name} is part of PyTorch's graph, which ends here: results have no "
                f"gradient by it. Differentiate model.function() instead, or hand in "
                f"{name}.detach()."
            )
            checks.warn(msg)
        small = (torch.uint16, torch.uint32, torch.uint64)
        return a.long() if a.dtype in small else _plain(a)

    def to_numpy(self, a: Any) -> Any:
        """Return a NumPy copy."""
        a = a.detach().cpu().resolve_neg()
        if a.dtype == torch.bfloat16 or (
            a.dtype.itemsize == 1 and a.is_floating_point()
        ):
            a = a.float()  # NumPy has no such type
        return np.array(a.numpy())

    def copy(self, a: Any) -> Any:
        """Return a real copy."""
        return a.detach().clone()

    def memoize(self, f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Remember the last answer: views of a vector that is updated in place."""
        return remembering(f)

    def elementwise(
        self,
        update: Callable[..., Any],
        arrays: tuple[Any, ...],
        pieces: list[Any],
        layout: Layout,
        decays: bool,
    ) -> tuple[Any, ...]:
        """Of a large network on a CPU in place, block by block."""
        if layout.size <= BLOCK or self.device.type != "cpu":
            return updates.by_spans(self, update, arrays, pieces, layout, decays)
        return updates.by_blocks(self, update, arrays, pieces, layout, decays, BLOCK)

    def flush(self, slots: tuple[Any, ...]) -> tuple[Any, ...]:
        """Zero subnormals on a CPU, in place: there they slow arithmetic tenfold."""
        for a in slots:
            if a.device.type == "cpu":
                # One pass, for the four of abs, <, and a fill: up to the largest of
                # them.
                info = torch.finfo(a.dtype)
                torch.hardshrink(a, info.tiny * (1.0 - info.eps), out=a)
        return slots

    def threads(self) -> int:
        """Return the threads of torch's operators."""
        return int(torch.get_num_threads())

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error is torch's own, on a GPU, or its allocator's on a CPU."""
        words = (
            "not enough memory",
            "can't allocate memory",
            "out of memory",
            "multiplication overflow",  # of sizes that no machine can address
            "calculation overflowed",
        )
        return super().is_out_of_memory(error) or (
            isinstance(error, torch.OutOfMemoryError)
            or (isinstance(error, RuntimeError) and any(w in str(error) for w in words))
        )

    def compile(self, build: Callable[..., Any], *key: Any, donate: int = 0) -> Any:
        """Return what `build` makes, with steps that are compiled where they shall."""
        if getattr(THREAD, "warned", None) is None:
            return build(self, *key)
        return build(_Compiling(self.device, key), *key)

    def rows(self, matrix: Any, dtype: str, *, own: bool = False) -> Any:
        """Return 0-d tensors on the host: torch would make one of each float anew.

        Code of others gets floats: ``step = s.rate; step *= 0.5`` must change no
        tensor. Where steps are compiled, keep the host array: numbers would be
        constants.
        """
        if getattr(THREAD, "warned", None) is not None:
            return matrix
        if not own or matrix.ndim > 2 or not matrix.size:
            return loop.rows(self, matrix, dtype)
        columns = []
        for column in torch.from_numpy(matrix.T.astype(dtype)):
            same = bool((column == column[0]).all())
            columns.append([column[0]] * len(column) if same else column.unbind())
        return list(zip(*columns, strict=True))

    def take(self, a: Any, index: Any) -> Any:
        """Gather samples: a[index] along the first axis, for any shape of the index."""
        flat = torch.index_select(a, 0, index.reshape(-1))
        return flat.reshape(*index.shape, *a.shape[1:])

    @contextlib.contextmanager
    def compiling(self, wanted: bool | None) -> Iterator[None]:
        """Compile the steps of this thread, if wanted."""
        before = getattr(THREAD, "warned", None)
        THREAD.warned = set() if wanted else None
        try:
            yield
        finally:
            THREAD.warned = before

    def scope(self, dtype: str, precision: str = "highest") -> Any:
        """No autograd or autocast, and products as precise as asked (no TF32 else)."""
        return self._computing(precision, isolated(self.device.type))

    def products(self, dtype: str, precision: str) -> Any:
        """Products as precise as asked, also inside autocast; autograd sees them."""
        if torch.compiler.is_compiling():  # settings cannot change in what is compiled
            return contextlib.nullcontext()
        return self._computing(precision, without_autocast(self.device.type))

    @contextlib.contextmanager
    def _computing(self, precision: str, context: Any) -> Iterator[None]:
        before, tf32 = getattr(THREAD, "half", False), precision == "tf32"
        graph = getattr(THREAD, "graph", None)
        if graph is None:
            THREAD.graph = torch.is_grad_enabled()
        PRODUCTS.enter(tf32)
        try:
            with context:
                THREAD.half = precision == "bfloat16"
                yield
        finally:
            THREAD.half, THREAD.graph = before, graph
            PRODUCTS.leave(tf32)


class _Compiling(TorchBackend):
    """The engine of one compiled step: `key` says all that the step depends on."""

    def __init__(self, device: Any, key: Any) -> None:
        super().__init__(device)
        self.key = key

    def elementwise(
        self,
        update: Callable[..., Any],
        arrays: tuple[Any, ...],
        pieces: list[Any],
        layout: Layout,
        decays: bool,
    ) -> tuple[Any, ...]:
        """Update the pieces of the arrays, in place and one by one, never joined."""
        if not isinstance(arrays[0], tuple):  # the step runs uncompiled
            return super().elementwise(update, arrays, pieces, layout, decays)
        for k, (g, e) in enumerate(zip(pieces, layout.entries, strict=True)):
            if not e.trainable:
                continue
            views = [e.flat(a[k], self.xp) for a in arrays]
            decay = float(e.decay) if decays else None
            self.write(views, update(e.flat(g, self.xp), decay, *views))
        return arrays

    def scan(
        self,
        step: Callable[..., Any],
        carry: Any,
        data: Sequence[Any],
        order: Any,
        rows: Any,
        keys: Any,
    ) -> Any:
        """Run the compiled step, in place; uncompiled, if it cannot be had.

        The step gets the vectors as tuples of their pieces, arguments of their own:
        that the gradient need not be joined saves a tenth of a large network's step.
        """
        from chainrule.backends.torch.compiled import compiled

        theta, state, slots = carry
        network = self.key[0]
        split = tuple(tuple(network.views(a, self.xp)) for a in (theta, *slots))
        inside = (split[0], state, split[1:])
        dtype = str(carry[0].dtype).removeprefix("torch.")
        scalars = self.asarray(rows, dtype).unbind(0)
        draws = [None] * len(scalars) if keys is None else keys.unbind(0)
        key = (str(self.device), *self.key, getattr(THREAD, "half", False))
        run: Any = None
        losses, masses = [], []
        for batch, row, draw in zip(
            self.batches(data, order), scalars, draws, strict=True
        ):
            if run is None:
                run = compiled(step, key, inside, batch, row, draw)
                if isinstance(run, str):
                    # First the step: an error of its own comes out as it is.
                    plain = loop.rows(self, rows, dtype)
                    done = loop.scan(self, step, carry, data, order, plain, keys)
                    _warn(run)
                    return done
            loss, mass = run(inside, batch, row, draw)
            losses.append(loss)
            masses.append(mass)
        return carry, self.stacked(losses, masses)


def _warn(cause: str) -> None:
    """Say why a fit's steps run uncompiled; once in a fit."""
    if cause not in THREAD.warned:
        THREAD.warned.add(cause)
        msg = (
            f"jit_compile=True: PyTorch could not compile the training step ({cause}); "
            f"steps run uncompiled. On a CPU it needs a C++ compiler: g++ (on macOS "
            f"clang++), or what the variable CXX names."
        )
        checks.warn(msg)
