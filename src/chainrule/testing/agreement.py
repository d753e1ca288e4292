"""Compare backends with one another: forward, gradient and training of one network."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule import backends
from chainrule.arrays import random
from chainrule.backends import Backend
from chainrule.config import checks
from chainrule.data.samples import Data
from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.layers import Layer
from chainrule.model import Model
from chainrule.network import Network
from chainrule.optimizers import Adam, Optimizer
from chainrule.testing.comparison import Comparison, Difference, largest
from chainrule.testing.passes import build_pass, titles

if TYPE_CHECKING:
    from chainrule.config.choices import (
        DTypeName,
        LossAlias,
        LossName,
        OptimizerAlias,
        OptimizerName,
    )
    from chainrule.losses import Loss

__all__ = ["FLAT", "PREDICTION", "TOLERANCES", "compare_backends"]

# dtype -> stage -> how far two backends may be apart, relative to the largest entry.
TOLERANCES = {
    "float32": {"forward": 1e-5, "gradient": 1e-4, "training": 1e-4},
    "float64": {"forward": 1e-13, "gradient": 1e-11, "training": 1e-10},
}

# A gradient this far below the largest of all is rounding: nothing pulls there.
FLAT = {"float32": 1e-5, "float64": 1e-13}

PREDICTION = "prediction"


def compare_backends(
    model: Any,
    x: Any,
    y: Any,
    backends: Any = None,
    *,
    loss: LossName | LossAlias | Loss = "squared_error",
    optimizer: OptimizerName | OptimizerAlias | Optimizer = Adam(),  # noqa: B008 - a frozen record
    dtypes: DTypeName | Sequence[DTypeName] = ("float32", "float64"),
    steps: int = 30,
    batch_size: int = 32,
    seed: int = 0,
) -> Comparison:
    """Run one network on several backends and say how far apart they are.

    Parameters
    ----------
    model : Model, Layer or Network
        A model brings its loss, optimizer, seed and, once built, its weights; it is
        left as it is. For a layer or network they are the keywords.
    x, y : arrays
        What `Model.fit` takes.
    backends : sequence of str, Backend or module, optional
        None: all that are here. NumPy, where it is among them, is the reference.
    loss, optimizer, seed
        For a layer or network.
    dtypes : sequence of str
    steps : int
        Training steps, at least; whole epochs are made.
    batch_size : int

    Returns
    -------
    Comparison
        `ok`, `worst`, `largest`, `differences`; it prints as a table. A disagreement
        raises nothing.

    Raises
    ------
    ArgumentError, BackendError
        If there are fewer than two backends, or one of those that were asked for is not
        to be had.

    Notes
    -----
    Per dtype: the output of each layer in a training pass; the gradient of the loss,
    parameter by parameter; then a `fit`: the parameters, the loss of each epoch, and
    what the trained network says. Where a parameter's gradient is nothing but rounding
    (that of a constant column of x, before batch norm), optimizers such as Adam turn it
    into steps. It is then left out of "parameters", and the output of a training pass
    speaks for it; the prediction is left out as well, since running means lag behind a
    bias that wanders. What is allowed stands in `TOLERANCES`.
    """
    engines, missing = _engines(backends)
    model = _model(model, loss, optimizer, seed)
    steps = checks.integer("steps", steps, 0)
    batch_size = checks.integer("batch_size", batch_size, 1)
    found: list[Difference] = []
    for dtype in (dtypes,) if isinstance(dtypes, str) else dtypes:
        runs = {
            name: _run(model, engine, dtype, x, y, steps, batch_size)
            for name, engine in engines.items()
        }
        found += _compared(dtype, runs)
    return Comparison(found, tuple(engines), missing)


def _engines(given: Any) -> tuple[dict[str, Backend], dict[str, str]]:
    missing: dict[str, str] = {}
    if given is None:
        here = backends.available()
        given, missing = list(here), here.missing
    elif isinstance(given, str) or not isinstance(given, Iterable):
        given = (given,)
    engines = [backends.get(one) for one in given]
    engines.sort(key=lambda engine: engine.name != "numpy")
    named: dict[str, Backend] = {}
    for engine in engines:
        twice = sum(other.name == engine.name for other in engines) > 1
        named[f"{engine.name} {engine.device}" if twice else engine.name] = engine
    if len(named) < 2:
        have = ", ".join(named) or "none"
        msg = (
            f"compare_backends needs at least two backends; got {have}. Install "
            "another, for example with: pip install jax."
        )
        raise ArgumentError(msg)
    return named, missing


def _model(given: Any, loss: Any, optimizer: Any, seed: int) -> Model:
    if isinstance(given, Model):
        return given
    if isinstance(given, Network):
        given = given.layer
    if not isinstance(given, Layer):
        msg = (
            f"compare_backends takes a model, a layer or a network; "
            f"got {given!r} ({type(given).__name__})."
        )
        raise ArgumentTypeError(msg)
    return Model(given, loss=loss, optimizer=optimizer, seed=seed)


class _Found(NamedTuple):
    """Host arrays of one backend: name -> array, by stage."""

    forward: dict[str, Any]
    gradient: dict[str, Any]
    training: dict[str, Any]
    parameters: dict[str, Any]


def _run(
    model: Model,
    engine: Backend,
    dtype: DTypeName,
    x: Any,
    y: Any,
    steps: int,
    batch_size: int,
) -> _Found:
    # x's own array may belong to any library; each backend gets it from the host.
    x, y = (backends.of(a).to_numpy(a) for a in (x, y))
    x, y = np.asarray(x), np.asarray(y)
    mine = Model(
        model.network,
        loss=model.loss,
        optimizer=model.optimizer,
        backend=engine,
        dtype=dtype,
        seed=model.seed,
    ).build(tuple(x.shape[1:]))
    if model.built:
        mine.set_weights(model.get_weights())
    network, state = mine.bound, mine.training
    assert network is not None
    assert state is not None
    with engine.scope(dtype):
        t = mine.loss.target(y, network.output_shape, xp=backends.of(y).xp)
        labels = mine.loss.labels(t, network.output_shape)
        given = engine.asarray(t, "int32" if labels else dtype)
        data = Data(engine.asarray(x, network.input_dtype or dtype), given, None)
        run = engine.compile(build_pass, network, mine.loss)
        key = random.step_keys(mine.seed, 0, 1, max(1, network.draws))[0]
        passed = run(*state.weights, data, engine.asarray(key, "int32"))
        _, outputs, value, grads = passed
        forward = {
            label: engine.to_numpy(outputs[name])
            for name, label in titles(network.layer).items()
            if name in outputs  # a part may not have run
        }
        forward["loss"] = engine.to_numpy(value)
        gradient = {
            e.name: engine.to_numpy(g)
            for e, g in zip(network.entries, grads, strict=True)
            if g is not None
        }
    if not steps or not gradient:
        return _Found(forward, gradient, {}, {})
    per_epoch = -(-x.shape[0] // batch_size)
    epochs = -(-steps // per_epoch)
    history = mine.fit(x, y, epochs=epochs, batch_size=batch_size, progress=False)
    parameters = {
        name: engine.to_numpy(a)
        for name, a in mine.parameters.items()
        if name in gradient
    }
    trained = mine.training
    assert trained is not None
    with engine.scope(dtype):
        z, *_ = run(*trained.weights, data, engine.asarray(key, "int32"))
        after = engine.to_numpy(z)
    training = {
        f"loss of {epochs} epochs": np.asarray(history["loss"]),
        "output of a training pass": after,
        PREDICTION: np.asarray(mine.predict(x)),
    }
    return _Found(forward, gradient, training, parameters)


def _compared(dtype: str, runs: dict[str, _Found]) -> list[Difference]:
    found = []
    first = next(iter(runs.values()))
    tops = {name: largest(g) for name, g in first.gradient.items()}
    top = max(tops.values(), default=0.0)
    # What is compared, and the least size that a difference refers to.
    stages: list[tuple[str, str, Any, float]] = [
        ("forward", name, lambda r, n=name: r.forward[n], 0.0) for name in first.forward
    ]
    stages += [
        ("gradient", name, lambda r, n=name: r.gradient[n], 1e-2 * top)
        for name in first.gradient
    ]
    # What has exactly no gradient stays what it was.
    pulled = [n for n, t in tops.items() if not 0.0 < t <= FLAT[dtype] * top]
    if first.parameters and pulled:
        left = len(tops) - len(pulled)
        label = "parameters" + (f", {left} without a gradient left out" if left else "")
        stages.append(
            (
                "training",
                label,
                lambda r: np.concatenate([np.ravel(r.parameters[n]) for n in pulled]),
                0.0,
            )
        )
    for name in first.training:
        if name == PREDICTION and len(pulled) < len(tops):
            continue
        stages.append(("training", name, lambda r, n=name: r.training[n], 0.0))
    for stage, name, read, least in stages:
        for a, b in itertools.combinations(runs, 2):
            gap = _gap(read(runs[a]), read(runs[b]), least)
            allowed = TOLERANCES[dtype][stage]
            found.append(Difference(dtype, stage, name, (a, b), gap, allowed))
    return found


def _gap(a: Any, b: Any, least: float = 0.0) -> float:
    """Largest difference by the largest entry; nan differs from all but nan."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        return np.inf
    apart = np.abs(a - b)[~((a == b) | (np.isnan(a) & np.isnan(b)))]
    if not apart.size:
        return 0.0
    if not np.isfinite(apart).all():
        return np.inf
    return float(np.max(apart)) / (max(largest(a), least) or 1.0)
