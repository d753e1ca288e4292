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

try:
    import sklearn  # noqa: F401 - before anything else needs it
except ImportError as error:
    from chainrule.errors import BackendError

    _msg = (
        f"chainrule.sklearn needs scikit-learn, which cannot be imported here "
        f"({error}). Install it with: pip install 'chainrule[sklearn]'."
    )
    raise BackendError(_msg) from error

from chainrule.sklearn.classifier import MLPClassifier
from chainrule.sklearn.convert import from_sklearn
from chainrule.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]


def __dir__() -> list[str]:
    return __all__
