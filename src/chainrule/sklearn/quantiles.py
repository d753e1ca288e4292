"""What a regressor offers that was fitted with loss="quantile"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from sklearn.utils.validation import check_is_fitted

from chainrule import backends
from chainrule.errors import ArgumentError
from chainrule.sklearn.base import MultilayerPerceptron
from chainrule.sklearn.losses import MultiQuantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.arrays.types import ArrayT

__all__ = ["QuantilePredictor"]


class QuantilePredictor(MultilayerPerceptron):
    """Predictions of several quantiles, and of the interval between them."""

    def _central(self, z: Any) -> Any:
        """Return the columns of the quantile that lies closest to the median."""
        loss = self._loss
        if not isinstance(loss, MultiQuantile):
            return z
        levels = loss.quantiles
        m = z.shape[1] // len(levels)
        j = min(range(len(levels)), key=lambda i: abs(levels[i] - 0.5))
        return z[:, j * m : (j + 1) * m]

    @overload
    def predict_quantiles(self, X: NDArray[Any]) -> NDArray[Any]: ...  # noqa: N803
    @overload
    def predict_quantiles(self, X: ArrayT) -> ArrayT: ...  # noqa: N803
    @overload
    def predict_quantiles(self, X: Any) -> NDArray[Any]: ...  # noqa: N803
    def predict_quantiles(self, X: Any) -> Any:  # noqa: N803
        """Predict all `quantiles`, sorted so that none crosses another.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)

        Returns
        -------
        array, shape (n_samples, n_quantiles) or (n_samples, n_outputs, n_quantiles)

        Notes
        -----
        Sorting makes a quantile function of the predictions, and never a worse one:
        Chernozhukov, Fernández-Val, Galichon 2010.
        """
        check_is_fitted(self)
        if not isinstance(self._loss, MultiQuantile):
            msg = (
                f"quantiles are predicted by a network that was fitted with "
                f"loss='quantile'; this one has loss={self.loss!r}."
            )
            raise ArgumentError(msg)
        z = self._predictions(X, "predict_quantiles")
        xp = backends.of(z).xp
        k = len(self._loss.quantiles)
        m = z.shape[1] // k
        z = xp.permute_dims(xp.reshape(z, (z.shape[0], k, m)), (0, 2, 1))
        z = xp.sort(z, axis=-1)
        return z[:, 0, :] if m == 1 else z

    @overload
    def predict_interval(self, X: NDArray[Any]) -> NDArray[Any]: ...  # noqa: N803
    @overload
    def predict_interval(self, X: ArrayT) -> ArrayT: ...  # noqa: N803
    @overload
    def predict_interval(self, X: Any) -> NDArray[Any]: ...  # noqa: N803
    def predict_interval(self, X: Any) -> Any:  # noqa: N803
        """Predict the interval between the lowest and the highest of `quantiles`.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)

        Returns
        -------
        array, shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper end; (0.05, 0.95), the default, is a 90 % interval.
        """
        z = self.predict_quantiles(X)
        if z.shape[-1] < 2:
            msg = f"an interval needs two quantiles; there is {self._loss.quantiles}."
            raise ArgumentError(msg)
        return backends.of(z).xp.stack([z[..., 0], z[..., -1]], axis=-1)
