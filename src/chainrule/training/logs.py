"""What an epoch tells: losses, metrics, validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays.means import join_means
from chainrule.config import checks
from chainrule.config.memory import room
from chainrule.network import chunks, ensemble, evaluation, forward
from chainrule.state.epochs import EpochResult
from chainrule.training import rate
from chainrule.training.objective import Objective

if TYPE_CHECKING:
    from chainrule.backends import Backend
    from chainrule.losses import Loss
    from chainrule.network import Network

__all__ = ["EpochLogs", "Evaluation", "loss_logs", "warn_of_validation"]


def loss_logs(prefix: str, host: Any, members: int | None) -> dict[str, Any]:
    """Return the logs of a loss on the host: a scalar, or one for each member."""
    if members is None:
        return {f"{prefix}loss": float(host)}
    host = np.broadcast_to(host, (members,))
    mean = float(np.mean(host, dtype=np.float64))
    return {f"{prefix}loss": mean, f"{prefix}member_loss": host}


def warn_of_validation(value: float, epoch: int, dtype: str) -> None:
    """Warn of a validation loss that is not finite."""
    checks.warn(
        f"val_loss is {value} in epoch {epoch} of this fit: for some validation sample "
        f"the output or the loss overflows {dtype}. Look for outliers there, scale x "
        f"and y, or take dtype='float64'."
    )


class Evaluation:
    """Loss and metrics of data, in inference.

    Parameters
    ----------
    backend : Backend
    network : Network
    loss : Loss
    metrics : mapping of name to metric
    members : int or None
    """

    backend: Backend
    network: Network
    loss: Loss
    metrics: Mapping[str, Any]
    members: int | None

    def __init__(
        self,
        backend: Backend,
        network: Network,
        loss: Loss,
        metrics: Mapping[str, Any],
        members: int | None,
    ) -> None:
        self.backend, self.network, self.loss = backend, network, loss
        self.metrics, self.members = metrics, members

    def losses(self, prefix: str, host: Any) -> dict[str, Any]:
        """Return the logs of a loss on the host."""
        return loss_logs(prefix, host, self.members)

    def __call__(
        self,
        data: Any,
        weights: tuple[Any, Any],
        prefix: str = "",
        *,
        loss: bool = True,
    ) -> dict[str, Any]:
        """Return the loss, unless it is known, and the metrics of `data`."""
        backend, network = self.backend, self.network
        build, *key = self._outcome()
        sums: list[tuple[Any, Any]] = []
        hosts: list[tuple[Any, ...]] = []
        for part in evaluation.parts_of(backend, data) if loss or self.metrics else ():
            if loss:
                sums += evaluation.sums(backend, network, self.loss, weights, part)
            if self.metrics:
                z = chunks.outputs(backend, weights, part.x, build, network, *key)
                std = None
                if self.loss.has_spread:
                    z, std = z[:, 0, ...], z[:, 1, ...]
                some = part.t, z, part.weight, std
                hosts.append(
                    tuple(None if a is None else self._on_host(a) for a in some)
                )
        logs: dict[str, Any] = {}
        if loss:
            values, masses = zip(*sums, strict=True)
            value = join_means(values, masses, backend.xp)
            logs = self.losses(prefix, backend.to_numpy(value))
        if not self.metrics:
            return logs
        host = [
            column[0]
            if len(column) == 1 or column[0] is None
            else np.concatenate(column)
            for column in zip(*hosts, strict=True)
        ]
        t, z, weight, std = host
        for name, metric in self.metrics.items():
            logs[prefix + name] = metric(t, z, weight, self.loss, std)
        return logs

    def _outcome(self) -> tuple[Any, ...]:
        """Return what builds what metrics see: outputs, or a mean and a deviation."""
        if self.loss.has_spread:
            return ensemble.build_spread, self.loss, self.members
        if self.members is not None:
            return ensemble.build_mean, forward.build_output
        return (forward.build_output,)

    def _on_host(self, a: Any) -> Any:
        return a if isinstance(a, np.ndarray) else self.backend.to_numpy(a)


class EpochLogs:
    """The logs of a fit's epochs.

    Parameters
    ----------
    evaluation : Evaluation
    objective : Objective
    data : Data or SlopeData
        What is trained on.
    validation : (Objective, Data or SlopeData), optional
        What is evaluated on which samples.
    rated : bool
        Whether they have the learning rate.
    """

    evaluation: Evaluation
    objective: Objective
    data: Any
    validation: tuple[Objective, Any] | None
    rated: bool

    def __init__(
        self,
        evaluation: Evaluation,
        objective: Objective,
        data: Any,
        validation: tuple[Objective, Any] | None,
        rated: bool,
    ) -> None:
        self.evaluation, self.objective = evaluation, objective
        self.data, self.validation, self.rated = data, validation, rated
        self._warned = False

    @property
    def wanted(self) -> bool:
        """Whether an epoch's logs have more than its loss and its rate."""
        return bool(
            self.validation is not None
            or self.evaluation.metrics
            or self.objective.terms
        )

    def names(self, own_rates: bool) -> dict[str, bool | None]:
        """Return the names of each epoch's logs, with whether more of them is better.

        Those that are arrays, one value for each member, are left out; `own_rates` says
        whether the learning rate is one.
        """
        names: dict[str, bool | None] = {"loss": False}
        metrics = self.evaluation.metrics
        names |= {k: metric.greater_is_better for k, metric in metrics.items()}
        both = dict(names)
        names |= dict.fromkeys(self.objective.terms, False)
        if self.validation is not None:
            both |= dict.fromkeys(self.validation[0].terms, False)
            names |= {f"val_{name}": rises for name, rises in both.items()}
        if self.rated and not own_rates:
            names["learning_rate"] = None
        return names

    def of(self, result: EpochResult) -> dict[str, Any]:
        """Return the logs of an epoch; this waits for the device."""
        advice = (
            "Use fewer samples for validation, or a smaller network. The parameters of "
            "the last whole epoch are kept, the optimizer starts anew."
        )
        backend = self.evaluation.backend
        with room(backend, "at the end of an epoch, in inference", advice):
            return self._of(result)

    def _of(self, result: EpochResult) -> dict[str, Any]:
        evaluate, (theta, state) = self.evaluation, result.state.weights
        weights = evaluate.backend.whole(theta, evaluate.network.size), state
        (value,) = result.losses(evaluate.backend)
        logs = {**evaluate.losses("", value), **result.logs}
        logs |= evaluate(self.data, weights, loss=False)
        logs |= self._terms(self.objective, self.data, weights)
        if self.validation is not None:
            objective, data = self.validation
            terms = self._terms(objective, data, weights)
            logs |= evaluate(data, weights, "val_")
            logs["val_loss"] = objective.total(logs["val_loss"], terms)
            logs |= {f"val_{name}": value for name, value in terms.items()}
        if self.rated:
            logs["learning_rate"] = rate.plain(result.state.rate)
        return logs

    def _terms(
        self, objective: Objective, data: Any, weights: tuple[Any, Any]
    ) -> dict[str, float]:
        """Return what an objective has besides its loss, over all samples."""
        evaluate = self.evaluation
        return objective.evaluate_terms(
            evaluate.backend, evaluate.network, weights, data
        )

    def warn(self, logs: Mapping[str, Any], epoch: int, dtype: str) -> None:
        """Say once if a validation loss is not finite; training's ends the fit."""
        value = logs.get("val_loss", 0.0)
        if not self._warned and not math.isfinite(value):
            self._warned = True
            warn_of_validation(value, epoch, dtype)
