"""What users hand in becomes checked arrays: the edge of the library."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from chainrule import backends
from chainrule.arrays.types import ArrayNamespace
from chainrule.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChainruleError,
    DeviceError,
    ShapeError,
)

if TYPE_CHECKING:
    from chainrule.backends import Backend

__all__ = [
    "check_columns",
    "check_filled",
    "check_finite",
    "check_indices",
    "check_same_place",
    "check_single",
    "columns",
    "move",
    "place",
    "receive",
    "receive_weight",
    "scaled",
    "to_host",
]

_WANTED = "numbers (floating, integer or boolean)"
_NO_ARRAYS = (str, bytes, bytearray, dict, set, frozenset)


def receive(name: str, a: Any) -> tuple[Any, Backend]:
    """Return an array of real numbers and the backend to which it belongs.

    Lists, data frames and NumPy scalars become NumPy arrays; arrays stay as they are.

    Raises
    ------
    ArgumentTypeError, ShapeError
        For ragged lists, strings, complex or object arrays, sparse matrices; for
        arrays without an axis.
    """
    origin = backends.of(a)
    if origin.name == "numpy":
        a = _array(name, a)
    else:
        if not _numeric(a, origin.xp):
            msg = f"{name} must hold {_WANTED}; got dtype {a.dtype}."
            raise ArgumentTypeError(msg)
        a = origin.usable(name, a)
    if a.ndim == 0:
        msg = f"{name} must have an axis of samples; got a single value (0-d)."
        raise ShapeError(msg)
    return a, origin


def check_filled(name: str, a: Any) -> None:
    """Raise an `ArgumentError` if it is a masked array with masked entries."""
    if isinstance(a, np.ma.MaskedArray) and np.ma.is_masked(a):
        msg = f"{name} has masked entries; fill them or leave their rows out."
        raise ArgumentError(msg)


def to_host(a: Any, origin: Backend | None = None) -> Any:
    """Return an array of any library, of the backend `origin` if known, as NumPy's.

    What is on the host, lists and frames too, stays as it is.
    """
    if isinstance(a, np.ndarray):
        return a
    origin = origin or backends.of(a)
    return a if origin.name == "numpy" else origin.to_numpy(a)


def move(
    a: Any, backend: Backend, dtype: str | None = None, origin: Backend | None = None
) -> Any:
    """Return an array of any library on the backend, through the host from another.

    Nothing is checked; see `place`.
    """
    origin = origin or backends.of(a)
    return backend.asarray(a if origin == backend else to_host(a, origin), dtype)


def _array(name: str, a: Any) -> Any:
    """Return lists, frames, scalars and what converts itself as a NumPy array."""
    check_filled(name, a)
    if isinstance(a, np.ma.MaskedArray):
        a = a.data
    if type(a).__module__.startswith("scipy.sparse"):
        msg = f"{name} is a sparse matrix; hand in {name}.toarray()."
        raise ArgumentTypeError(msg)
    if a is None or isinstance(a, _NO_ARRAYS):
        raise ArgumentTypeError(_no_array(name, a))
    given = a
    if _is_stream(a):
        raise ArgumentTypeError(_no_array(name, a))
    try:
        a = np.asarray(_frame(name, a) if hasattr(a, "to_numpy") else a)
    except ChainruleError:
        raise
    except ValueError as error:
        msg = f"{name} must be rectangular; its rows have different lengths ({error})."
        raise ShapeError(msg) from error
    except Exception as error:
        # An object whose own conversion fails, in whatever way.
        msg = f"{_no_array(name, given)} It does not become an array: {error}"
        raise ArgumentTypeError(msg) from error
    if a.dtype == object and a.ndim == 0:  # a generator, a function, a lazy frame
        raise ArgumentTypeError(_no_array(name, given))
    if a.dtype.kind not in "fiub":
        msg = (
            f"{name} must hold {_WANTED}; got dtype {a.dtype}{_where(given)}. "
            f"{_convert(name, a)}"
        )
        raise ArgumentTypeError(msg)
    return a


def _no_array(name: str, a: Any) -> str:
    """Return the message for an object that is no array."""
    from chainrule.config import hints

    hint = hints.explain_data(a)
    return f"{name} must be an array of {_WANTED}; got {type(a).__name__}.{hint}"


def _is_stream(a: Any) -> bool:
    """Whether it hands out batches or samples, as torch's data sets do."""
    if isinstance(a, (list, tuple)) or hasattr(a, "dtype") or hasattr(a, "__array__"):
        return False
    from chainrule.config import hints

    return bool(hints.explain_data(a))


def _convert(name: str, a: Any) -> str:
    """Return what to do with entries that are no numbers."""
    entries = a.ravel()[:1000].tolist() if a.dtype.kind in "OTUS" else []
    if not any(isinstance(entry, (str, bytes)) for entry in entries):
        return f"Convert it first, for example with {name}.astype(float)."
    if name.endswith("y"):
        return (
            "Labels are whole numbers 0 ... m - 1: names, y = numpy.unique(y, "
            "return_inverse=True). Or take chainrule.sklearn.MLPClassifier, which "
            "takes text."
        )
    return (
        "Text of numbers becomes numbers with astype(float); other text is encoded "
        "first, with pandas.get_dummies, say."
    )


def _where(frame: Any) -> str:
    """Return which columns of a data frame hold no numbers, as ", in ...", or ""."""
    columns = getattr(frame, "columns", None)
    dtypes = getattr(frame, "dtypes", None)
    if columns is None or dtypes is None:
        return ""
    pairs = zip(columns, dtypes, strict=False)
    return _in([name for name, dtype in pairs if not _is_number(dtype)])


def _is_number(dtype: Any) -> bool:
    """Whether a column of this dtype, of pandas or polars, holds numbers."""
    if hasattr(dtype, "is_numeric"):  # polars
        return bool(dtype.is_numeric()) or str(dtype) == "Boolean"
    return getattr(dtype, "kind", "O") in "fiub"


def _in(columns: list[Any]) -> str:
    """Return names of columns, three at most, as ", in column 'a'", or ""."""
    if not columns:
        return ""
    shown = ", ".join(repr(column) for column in columns[:3])
    more = f" and {len(columns) - 3} more" if len(columns) > 3 else ""
    return f", in column{'s' if len(columns) > 1 else ''} {shown}{more}"


def _numeric(a: Any, xp: ArrayNamespace) -> bool:
    """Whether an array of another library than NumPy holds real numbers."""
    try:
        return bool(xp.isdtype(a.dtype, ("real floating", "integral", "bool")))
    except TypeError:  # a dtype that the standard does not know: JAX's random keys
        return False


def _frame(name: str, frame: Any) -> Any:
    """Return the values of a data frame or a series; what is missing is NaN.

    Columns of several numeric types would be one array of objects in pandas, and dates
    would be numbers in polars.
    """
    dtypes = getattr(frame, "dtypes", getattr(frame, "dtype", None))
    dtypes = list(dtypes) if isinstance(dtypes, Iterable) else [dtypes]
    for dtype in dtypes:
        if hasattr(dtype, "is_numeric") and not _is_number(dtype):
            text = str(dtype) in ("String", "Categorical", "Enum")
            entry = np.asarray("text" if text else None)
            msg = (
                f"{name} must hold {_WANTED}; got a column of dtype {dtype}"
                f"{_where(frame)}. {_convert(name, entry)}"
            )
            raise ArgumentTypeError(msg)
    a = frame.to_numpy()
    if a.dtype == object and all(map(_is_number, dtypes)):
        a = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    columns = list(getattr(frame, "columns", ()))
    if a.ndim == 2 and a.dtype.kind == "f" and not np.isfinite(a).all():
        bad = ~np.isfinite(a)
        _refuse_values(
            name, a[bad], _in([columns[k] for k in np.flatnonzero(bad.any(0))])
        )
    return a


def columns(x: Any) -> tuple[str, ...] | None:
    """Return the names of a data frame's columns, if all are text, as scikit-learn."""
    if hasattr(x, "column_names"):  # of Arrow
        return tuple(x.column_names or ()) or None
    if not (hasattr(x, "to_numpy") and hasattr(x, "columns")):
        return None
    names = tuple(x.columns)
    return names if names and all(isinstance(name, str) for name in names) else None


def check_columns(name: str, x: Any, wanted: tuple[str, ...] | None) -> None:
    """Refuse a data frame whose columns are not those of the first fit, in order."""
    if wanted is None:
        return
    given = columns(x)
    if given is None or given == wanted:
        return
    lacking = _in([c for c in wanted if c not in given]).removeprefix(", in ")
    unknown = _in([c for c in given if c not in wanted]).removeprefix(", in ")
    if lacking or unknown:
        found = [f"it lacks {lacking}"] if lacking else []
        found += [f"the fit had no {unknown}"] if unknown else []
        difference = " and ".join(found)
        difference += ". Hand in the same columns, or arrays, which have no names."
    else:
        difference = f"they are in another order: x = x[{list(wanted)!r}]."
    msg = f"{name} must have the columns of the first fit; {difference}"
    raise ArgumentError(msg)


def check_single(name: str, x: Any, y: Any = None) -> None:
    """Refuse a list of several inputs, each with an axis of samples of its own.

    A list may also hold the samples: then y has as many, if it is known.
    """
    if not isinstance(x, (list, tuple)) or len(x) < 2:
        return
    shapes = [tuple(getattr(a, "shape", ())) for a in x]
    if any(len(shape) < 2 or shape[0] != shapes[0][0] for shape in shapes):
        return
    if y is not None and not (
        hasattr(y, "__len__") and len(y) == shapes[0][0] != len(x)
    ):
        return
    msg = (
        f"{name} is a list of {len(x)} arrays of {shapes[0][0]} rows each; a model has "
        f"one input. Join their features: numpy.concatenate({name}, axis=1)."
    )
    raise ShapeError(msg)


def check_same_place(**origins: Backend | None) -> None:
    """Refuse arrays of one call that lie in two places; NumPy goes with any."""
    placed = {n: o for n, o in origins.items() if o is not None and o.name != "numpy"}
    if len(set(placed.values())) > 1:
        where = ", ".join(f"{n} on {o!r}" for n, o in placed.items())
        msg = f"the arrays of one call must lie in one place; got {where}. Move them."
        raise DeviceError(msg)


def scaled(weight: Any, origin: Backend | None, dtype: str) -> Any:
    """Return received weights on the host, the largest of them at least 1 and below 2.

    Only ratios of weights matter: their sum then neither overflows nor vanishes in any
    dtype. Divided by a power of two they keep their bits.
    """
    weight = to_host(weight, origin)
    top = float(weight.max(initial=0.0))
    # Else none weighs, or `place` refuses them.
    if not 0.0 < top <= float(np.finfo(dtype).max):
        return weight
    return np.ldexp(weight.astype(np.float64), 1 - math.frexp(top)[1])


def place(
    name: str,
    a: Any,
    origin: Backend,
    backend: Backend,
    dtype: str,
    *,
    host: bool = False,
) -> Any:
    """Move a received array to the backend, in the model's dtype, and check it.

    With `host`, what came from the host stays there, cast and checked.

    Raises
    ------
    ArgumentError
        If a value is not finite, or is not in `dtype`.
    """
    if origin != backend:
        a = to_host(a, origin)
    floating = dtype.startswith("float")
    if isinstance(a, np.ndarray):
        with np.errstate(over="ignore"):
            cast = np.ascontiguousarray(a, dtype=dtype)
        if floating and not backends.get("numpy").is_finite(cast):
            _refuse(name, a, dtype)
        return cast if host else backend.asarray(cast, dtype)
    placed = backend.asarray(a, dtype)
    if floating and not backend.is_finite(placed):
        _refuse(name, to_host(a, origin), dtype)
    return placed


def _refuse(name: str, a: Any, dtype: str) -> NoReturn:
    """Raise the error for values that are not finite in dtype."""
    check_finite(name, a, backends.of(a))
    msg = f"{name} has values too large for {dtype}; scale it, or use float64."
    raise ArgumentError(msg)


def check_finite(name: str, a: Any, backend: Backend) -> None:
    """Raise an `ArgumentError` if a floating array has NaN or infinite entries."""
    if backend.xp.isdtype(a.dtype, "real floating") and not backend.is_finite(a):
        values = to_host(a, backend)
        _refuse_values(name, values[~np.isfinite(values)])


def check_indices(name: str, a: Any, backend: Backend) -> None:
    """Raise an error for what is no array of integers that are in int32.

    Raises
    ------
    ArgumentTypeError, ArgumentError
    """
    xp = backend.xp
    if not xp.isdtype(a.dtype, "integral"):
        convert = "x.int() of a tensor, x.astype('int32') of another array"
        msg = (
            f"{name} must hold indices, of an integer dtype, as the network's first "
            f"layer takes them; got dtype {a.dtype}. If they are whole numbers, "
            f"convert them: {convert}."
        )
        raise ArgumentTypeError(msg)
    narrow = (xp.int8, xp.int16, xp.int32, xp.uint8)
    if math.prod(a.shape) and not any(a.dtype == kind for kind in narrow):
        low, high = int(xp.min(a)), int(xp.max(a))
        if not -(2**31) <= low <= high < 2**31:
            msg = f"{name} must hold indices within int32; got {low} ... {high}."
            raise ArgumentError(msg)


def _refuse_values(name: str, bad: Any, where: str = "") -> NoReturn:
    msg = (
        f"{name} must be finite; got {bad.size} values that are not, the first "
        f"{bad.flat[0]}{where}. Drop those rows or fill them in."
    )
    raise ArgumentError(msg)


def receive_weight(name: str, weight: Any, samples: int) -> tuple[Any, Backend | None]:
    """Return sample weights of shape (samples,) and their backend, or (None, None)."""
    if weight is None:
        return None, None
    weight, origin = receive(name, weight)
    if tuple(weight.shape) != (samples,):
        msg = (
            f"{name} must have one weight per sample, shape ({samples},); "
            f"got shape {tuple(weight.shape)}."
        )
        raise ShapeError(msg)
    if origin.xp.isdtype(weight.dtype, "bool"):
        weight = origin.xp.astype(weight, origin.xp.int32)
    if samples and bool(origin.xp.any(weight < 0)):
        msg = f"{name} must not be negative; got a negative weight."
        raise ArgumentError(msg)
    return weight, origin
