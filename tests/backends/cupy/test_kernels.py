"""The kernels that CuPy writes for the CuPy engine, where there is no GPU.

CuPy itself traces the optimizers and writes the code of the kernels; a C++ compiler
turns that code into functions of the CPU, which must give NumPy's numbers; and NVRTC,
if its library is here, compiles the very source that CuPy would send it. Nothing is
launched: where a GPU is, `test_backends` does that (marker `gpu`).
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr

cupy = pytest.importorskip("cupy")
if cupy.cuda.is_available():
    pytest.skip("there is a GPU: nothing has to be imitated", allow_module_level=True)

import array_api_compat.cupy as compat  # noqa: E402

from chainrule.arrays.namespace import Namespace  # noqa: E402
from chainrule.backends.cupy import kernels  # noqa: E402
from chainrule.network import Network  # noqa: E402

OPTIMIZERS: dict[str, Any] = {
    "sgd": cr.SGD(0.05),
    "momentum": cr.SGD(0.05, 0.9),
    "nesterov": cr.SGD(0.05, 0.9, nesterov=True),
    "adam": cr.Adam(0.01),
    "adamw": cr.AdamW(0.01),
    "nadam": cr.NAdam(0.01),
    "rmsprop": cr.RMSprop(0.01),
    "adagrad": cr.Adagrad(0.05),
    "lion": cr.Lion(0.01),
}
CASES = [
    *((name, decays, None, "float32") for name in OPTIMIZERS for decays in (0, 1)),
    *((name, 1, 3, "float32") for name in OPTIMIZERS),
    ("adam", 1, None, "float64"),
    ("lion", 1, 3, "float64"),
]
SIZE = 37
# What CuPy's own `compile_with_cache` puts before a kernel.
HEADERS = "".join(
    f"#include <cupy/{name}>\n"
    for name in ("complex.cuh", "carray.cuh", "atomics.cuh", "math_constants.h")
)


def on_device(a: Any) -> Any:
    """Return a CuPy array whose memory is a NumPy array's: it can only be looked at."""
    memory = cupy.cuda.UnownedMemory(a.ctypes.data, a.nbytes, a, 0)
    pointer = cupy.cuda.MemoryPointer(memory, 0)
    return cupy.ndarray(a.shape, a.dtype, pointer, a.strides)


@functools.cache
def arguments(case: Any) -> tuple[Any, Any, list[Any]]:
    """Return an optimizer's kind, the names of its scalars, and all arguments."""
    name, decays, members, dtype = case
    optimizer = OPTIMIZERS[name].replace(weight_decay=0.1 * decays)
    rng = np.random.default_rng(len(name))
    shape = (members, SIZE) if members else (SIZE,)
    g, theta, *slots = (
        rng.normal(size=shape).astype(dtype) for _ in range(2 + len(optimizer.slots))
    )
    slots = [abs(a) for a in slots]
    g[..., :3] = theta[..., :3] = 0.0
    decay = (rng.random(SIZE) < 0.5).astype(dtype) if decays else None
    steps = np.array([0.05, 0.04])
    if members:
        steps = steps * np.array([[1.0], [0.5], [2.0]])
    row = {n: np.asarray(v) for n, v in optimizer.scalars(3, steps, 0.05).items()}
    scalars = [
        v[..., 1, None].astype(dtype) if v.ndim == 2 else float(v.ravel()[-1])
        for v in row.values()
    ]
    return optimizer.structure(), tuple(row), [g, decay, theta, *slots, *scalars]


@functools.cache
def kernel_of(case: Any) -> Any:
    """Return the kernel that CuPy makes of an optimizer's update."""
    kind, names, values = arguments(case)
    fused = kernels.fused(kind, Namespace(compat), names)
    given = [on_device(a) if isinstance(a, np.ndarray) else a for a in values]
    fused.clear_cache()
    # It is traced, and written; there is no GPU to launch it on.
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
        fused(*given)
    assert fused.new_fusion is None  # one elementwise kernel, as the documentation says
    ((kernel, _),) = fused._memo.values()
    return kernel


def compiled(source: str, folder: Path) -> Any:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    file = folder / "kernels.cpp"
    file.write_text(source, encoding="utf-8")
    options = ["-O1", "-ffp-contract=off", "-w", "-shared", "-fPIC"]
    library = folder / "kernels.so"
    subprocess.run([compiler, *options, str(file), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def as_function(kernel: Any, name: str, dtype: str = "float") -> str:
    """Return C++ of a kernel: a loop over elements, each parameter a pointer."""
    lines = []
    for k, p in enumerate(kernel.in_params + kernel.out_params):
        ctype = dtype if p.ctype == "T" else p.ctype
        start = f"({ctype}*)given[{k}]"
        if p.raw:
            lines.append(f"const {ctype}* {p.name} = {start};")
        else:
            lines.append(f"{ctype}& {p.name} = ({start})[stride[{k}] * i];")
    preamble = kernel.preamble.replace("#include", "// #include")
    return f"""
    namespace {name} {{
    {preamble}
    extern "C" void run_{name}(long n, void** given, const long* stride) {{
      for (ptrdiff_t i = 0; i < n; i++) {{
        {"".join(lines)}
        {kernel.operation};
      }}
    }}
    }}
    """


SHIM = """
#include <cmath>
#include <cstddef>
using namespace std;
#define __device__ static
"""


def run(library: Any, name: str, size: int, values: list[Any]) -> None:
    """Call a kernel's function; scalars have the stride 0."""
    pointers = (ctypes.c_void_p * len(values))(*(a.ctypes.data for a in values))
    strides = (ctypes.c_long * len(values))(*(int(a.ndim > 0) for a in values))
    getattr(library, f"run_{name}")(ctypes.c_long(size), pointers, strides)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    sources = [as_function(kernel_of(case), f"case{k}") for k, case in enumerate(CASES)]
    source = SHIM + "".join(sources)
    return compiled(source, tmp_path_factory.mktemp("kernels"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fused_code_gives_numpys_bits(library: Any, case: Any) -> None:
    kind, names, values = arguments(case)
    kernel = kernel_of(case)
    assert kernel.nout == 0  # all in place
    arrays = 1 + len(kind.slots)
    g, decay, *rest = values
    mine = [np.array(a) for a in rest[:arrays]]
    scalars = rest[arrays:]
    s: Any = namedtuple("Scalars", names)(*scalars)  # noqa: PYI024
    wanted = kind.update(Namespace(np), s, g, decay, *(a.copy() for a in mine))
    full = [
        np.ascontiguousarray(np.broadcast_to(a, g.shape))
        if isinstance(a, np.ndarray)
        else np.array(a)
        for a in (g, decay, *mine, *scalars)
        if a is not None
    ]
    run(library, f"case{CASES.index(case)}", g.size, full)
    first = 1 if decay is None else 2
    for a, b in zip(full[first : first + arrays], wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(wanted[0], rest[0])


# Vectors' lengths, and leading axes.
JOINED = [((3, 1), ()), ((4, 1, 7, 2, 5), ()), ((2, 6, 1), (3,)), ((1,) * 32, (2,))]


@pytest.mark.parametrize(("sizes", "lead"), JOINED)
def test_join_concatenates(tmp_path: Path, sizes: Any, lead: Any) -> None:
    kernel = kernels.join(len(sizes))
    library = compiled(SHIM + as_function(kernel, "join"), tmp_path)
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(*lead, n)).astype("float32") for n in sizes]
    stops = np.cumsum(sizes).tolist()
    out = np.zeros((*lead, stops[-1]), "float32")
    numbers = [np.array(n, "int64") for n in (*stops, stops[-1])]
    run(library, "join", out.size, [*parts, *numbers, out])
    np.testing.assert_array_equal(out, np.concatenate(parts, axis=-1))


def source_of(kernel: Any, dtype: str, ndim: int) -> str:
    """Return what CuPy would give to NVRTC."""
    from cupy._core import _carray, _kernel, _scalar

    array, indexer, scalar = 1, 2, 3
    infos = []
    for p in kernel.in_params + kernel.out_params:
        kind = np.dtype(p.dtype or dtype)
        # An argument of a fused kernel with its dtype is a scalar where it is a double.
        if p.ctype == "T" or (kind == dtype and p.ctype != "long long"):
            info = (array, cupy.ndarray, kind, ndim, True, True)
        else:
            info = (scalar, _scalar.CScalar, kind, 0, True, True)
        infos.append(_kernel._ArgInfo(*info))
    infos.append(_kernel._ArgInfo(indexer, _carray.Indexer, None, ndim, True, True))
    types = (("T", np.dtype(dtype)),) if kernel.name == "chainrule_join" else ()
    code = _kernel._get_elementwise_kernel_code(
        tuple(infos), _kernel._TypeMap(types), kernel.params, kernel.operation,
        kernel.name, kernel.preamble,
    )  # fmt: skip
    return HEADERS + str(code)


def compile_for_gpu(source: str, name: str) -> None:
    from cupy._core import core
    from cupy.cuda import compiler

    try:
        compiler.nvrtc.getVersion()
    except RuntimeError as error:
        pytest.skip(f"needs NVRTC: {error}")
    options = (*core.assemble_cupy_compiler_options(()), "-arch=sm_80")
    binary, _ = compiler._NVRTCProgram(source, method="cubin").compile(options)
    assert binary.startswith(b"\x7fELF")
    assert f".text.{name}\0".encode() in binary


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nvrtc_takes_the_fused_kernels(name: str) -> None:
    case = (name, 1, None, "float32")
    kernel = kernel_of(case)
    kind = type(OPTIMIZERS[name]).__name__
    compile_for_gpu(source_of(kernel, "float32", 1), f"chainrule_{kind}")


@pytest.mark.parametrize(("count", "ndim"), [(2, 1), (6, 2), (kernels.JOIN, 6)])
def test_nvrtc_takes_the_join(count: int, ndim: int) -> None:
    # The last fills what a kernel's arguments may have.
    compile_for_gpu(source_of(kernels.join(count), "float32", ndim), "chainrule_join")


@pytest.mark.parametrize("members", [None, 1, 3])
def test_parameters_are_views(members: int | None) -> None:
    """What is remembered of a vector that is updated in place must not be a copy."""
    layers = cr.Dense(4), cr.Tanh(), cr.LayerNorm(), cr.Dense(1)
    network = Network(cr.Sequential(*layers), (1,))
    shape = (members, network.size) if members else (network.size,)
    theta = np.zeros(shape, "float32")
    pieces = network.pieces(network.unflatten(on_device(theta), Namespace(compat)))
    for p, entry in zip(pieces, network.entries, strict=True):
        assert p.shape == (*shape[:-1], *entry.shape)
        assert p.data.ptr == theta.ctypes.data + 4 * entry.start
