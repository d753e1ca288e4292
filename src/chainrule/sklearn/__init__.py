"""scikit-learn's multi-layer perceptrons, on every backend and with nothing refused.

>>> from chainrule.sklearn import MLPClassifier
>>> MLPClassifier(hidden_layer_sizes=(8,), max_iter=500, random_state=0).fit(
...     [[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"]
... ).predict([[0.2]])
array(['a'], dtype='<U1')

Change the import and keep the rest: the same parameters, the same draws for the same
``random_state``, the same fitted attributes. What is new comes after the old
parameters; docs/sklearn.md has it in a table.
"""

from __future__ import annotations

from typing import Any

try:
    import sklearn  # noqa: F401 - before anything else needs it
except ImportError as _error:
    from chainrule.errors import BackendError

    _msg = (
        f"chainrule.sklearn needs scikit-learn, which cannot be imported here "
        f"({_error}). Install it with: pip install scikit-learn scipy."
    )
    raise BackendError(_msg) from _error

from chainrule.errors import ArgumentTypeError
from chainrule.sklearn.classifier import MLPClassifier
from chainrule.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]


def from_sklearn(estimator: Any, **params: Any) -> MLPClassifier | MLPRegressor:
    """Take over a fitted scikit-learn perceptron.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPRegressor or MLPClassifier
        Fitted. It is left alone.
    **params : object
        Parameters to set beside its own, such as ``backend="jax"``.

    Returns
    -------
    MLPRegressor or MLPClassifier
        With the same weights, so that predictions are equal to rounding, and the state
        of its optimizer, so that `partial_fit` goes on as it would have there.
    """
    for ours in (MLPRegressor, MLPClassifier):
        if isinstance(estimator, ours._theirs):
            return ours.from_sklearn(estimator, **params)
    msg = (
        f"estimator must be a fitted MLPRegressor or MLPClassifier of scikit-learn; "
        f"got {type(estimator).__name__}."
    )
    raise ArgumentTypeError(msg)


def __dir__() -> list[str]:
    return __all__
