"""What users hand in: validated as scikit-learn does, or kept on its device."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.utils.validation import check_consistent_length, validate_data

from chainrule import backends
from chainrule.data import intake

__all__ = [
    "SPARSE",
    "check_same_place",
    "dense",
    "device_targets",
    "host",
    "like",
    "receive",
    "receive_device",
    "target_dtype",
]

SPARSE = ("csr", "csc")


def host(a: Any, name: str = "y") -> Any:
    """Return an array of another library as a NumPy array, anything else as it is.

    Entries that NumPy masks are refused: scikit-learn computes with what lies under
    them.
    """
    intake.check_filled(name, a)
    return intake.to_host(a)


def like(a: Any, origin: Any, dtype: str | None = None) -> Any:
    """Turn a host array into one of `origin`'s kind."""
    if origin.name == "numpy":
        return a
    with origin.scope(dtype or a.dtype.name):
        return origin.asarray(a)


def receive(estimator: Any, X: Any, *, reset: bool) -> tuple[Any, Any]:  # noqa: N803
    """Return a dense X (n, features), floating, and the backend that it belongs to.

    Arrays of JAX, CuPy, PyTorch or another library of the array API stay where they
    are; everything else is validated by scikit-learn and becomes a NumPy array. Sparse
    matrices become dense at once.
    """
    intake.check_filled("X", X)
    origin = backends.of(X)
    if origin.name == "numpy":
        kinds = (np.float64, np.float32)
        X = validate_data(  # noqa: N806
            estimator, X, accept_sparse=SPARSE, dtype=kinds, reset=reset
        )
        return dense(X), origin
    return receive_device(estimator, X, origin, reset=reset), origin


def receive_device(estimator: Any, X: Any, origin: Any, *, reset: bool) -> Any:  # noqa: N803
    """Check a device's array: its axes, samples, features and finiteness."""
    X, _ = intake.receive("X", X)  # noqa: N806
    if X.ndim != 2:
        msg = f"Expected 2D array, got {X.ndim}D array instead: X has shape {X.shape}."
        raise ValueError(msg)
    for axis, what in enumerate(("sample(s)", "feature(s)")):
        if X.shape[axis] < 1:
            msg = (
                f"Found array with 0 {what} (shape={tuple(X.shape)}) while a minimum "
                f"of 1 is required."
            )
            raise ValueError(msg)
    validate_data(estimator, X, skip_check_array=True, reset=reset)
    intake.check_finite("X", X, origin)
    return X


def device_targets(X: Any, y: Any) -> Any:  # noqa: N803
    """Check targets of an X on a device: numbers, finite, as many as samples."""
    y, origin = intake.receive("y", y)
    if y.ndim > 2:
        msg = f"Expected y with 1 or 2 axes, got {y.ndim}."
        raise ValueError(msg)
    if y.shape[0] != X.shape[0]:
        check_consistent_length(np.empty(X.shape[0]), np.empty(y.shape[0]))
    intake.check_finite("y", y, origin)
    return y if y.ndim == 2 else origin.xp.reshape(y, (-1, 1))


def check_same_place(estimator: Any, X: Any, method: str) -> None:  # noqa: N803
    """Under dispatch, refuse X of another library than the fitted weights'.

    That is scikit-learn's rule; without dispatch, every kind of X is welcome.
    """
    if not get_config()["array_api_dispatch"] or estimator.backend is not None:
        return
    weights, origin = backends.of(estimator.coefs_[0]), backends.of(X)
    if origin != weights:
        msg = (
            f"Inputs passed to {type(estimator).__name__}.{method}() must use the same "
            f"namespace and the same device as those passed to fit(): {weights!r}; got "
            f"{type(X).__name__} on {origin!r}."
        )
        raise ValueError(msg)


def dense(X: Any) -> Any:  # noqa: N803
    """Return a sparse matrix as an array."""
    return X.toarray() if hasattr(X, "toarray") else X


def target_dtype(X: Any, wanted: Any) -> str:  # noqa: N803
    """Return the dtype to compute in: what was asked for, or X's own."""
    from chainrule.model.spec import DTYPES, dtype_name

    if wanted is not None:
        from chainrule.config import checks

        return checks.choice("dtype", dtype_name(wanted), DTYPES)
    return "float32" if str(X.dtype).endswith("float32") else "float64"
