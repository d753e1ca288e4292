"""Who trains: chainrule and its peers, on one of `problems`.

Each starts from the same parameters and, scikit-learn and Keras apart, which shuffle by
themselves, sees the same batches; each sums the loss of its batches, as chainrule does.
"""

from __future__ import annotations

import functools
import itertools
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from common import Missing, need
from limit import Contender, Limit
from problems import BETA_1, BETA_2, EPSILON, RATE, Problem

__all__ = ["CONTENDERS", "OWN_ORDER", "Contender"]


class Chainrule(Contender):
    """chainrule on one of its backends, NumPy in."""

    def __init__(
        self, problem: Problem, *, backend: Any, precision: str = "highest", **more: Any
    ) -> None:
        super().__init__(problem)
        self.options = {"backend": backend, "precision": precision, **more}
        self.reset()

    def reset(self) -> None:
        import chainrule as cr

        p = self.problem
        try:
            self.model = cr.Model(
                cr.MLP(p.units[1:], activation=p.activation),
                loss=p.loss,
                optimizer=cr.Adam(RATE, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON),
                **self.options,
            )
        except cr.ArgumentError as refusal:
            if "precision" in str(refusal):
                raise Missing(str(refusal)) from None
            raise
        self.model.build(p.units[0])
        theta = np.concatenate([a.ravel() for pair in p.initial() for a in pair])
        self.model.set_weights((theta, np.zeros(0, np.float32)))

    def fit(self) -> Any:
        import chainrule as cr

        p = self.problem
        with warnings.catch_warnings():
            # A fit that should have been compiled, and is not, is not to be timed.
            warnings.filterwarnings("error", "jit_compile", cr.ChainruleWarning)
            try:
                return self.model.fit(
                    self.x, self.y, epochs=p.epochs, batch_size=p.batch, progress=False
                )
            except cr.ChainruleWarning as warning:
                raise Missing(str(warning)) from None

    def layers(self) -> list[tuple[Any, Any]]:
        theta = self.model.get_weights()[0]
        return split(theta, self.problem.units)


def split(vector: Any, units: tuple[int, ...]) -> list[tuple[Any, Any]]:
    """Return the views (w, b) of each layer of a flat vector."""
    views, start = [], 0
    for n, m in itertools.pairwise(units):
        middle, stop = start + m * n, start + m * n + m
        views.append((vector[start:middle].reshape(m, n), vector[middle:stop]))
        start = stop
    return views


class NumPyBare(Contender):
    """The loop that one writes by hand: one flat vector, updated in place."""

    def reset(self) -> None:
        self.theta = np.concatenate(
            [a.ravel() for pair in self.problem.initial() for a in pair]
        )
        self.gradient, self.scratch = np.empty((2, self.theta.size), np.float32)
        self.m, self.v = np.zeros((2, self.theta.size), np.float32)
        self.steps = 0
        self.weights = split(self.theta, self.problem.units)
        self.gradients = split(self.gradient, self.problem.units)

    def fit(self) -> Any:
        losses = []
        for epoch in range(self.problem.epochs):
            total = 0.0
            for rows in self.problem.order(epoch):
                total += self.step(self.x[rows], self.y[rows])
            losses.append(total / self.problem.steps)
        return losses

    def step(self, x: Any, t: Any) -> Any:
        tanh = self.problem.activation == "tanh"
        inputs = [x]
        for k, (w, b) in enumerate(self.weights):
            z = inputs[-1] @ w.T
            z += b
            if k < len(self.weights) - 1:
                np.tanh(z, out=z) if tanh else np.maximum(z, 0, out=z)
            inputs.append(z)
        loss, d = self.loss(inputs.pop(), t)
        for k in reversed(range(len(self.weights))):
            dw, db = self.gradients[k]
            np.matmul(d.T, inputs[k], out=dw)
            np.sum(d, axis=0, out=db)
            if k:
                d = d @ self.weights[k][0]
                a = inputs[k]
                d *= 1 - a * a if tanh else a > 0
        self.adam()
        return loss

    def loss(self, z: Any, t: Any) -> tuple[Any, Any]:
        if self.problem.loss == "squared_error":
            d = z - t
            loss = np.mean(d * d)
            d *= 2 / d.size
            return loss, d
        rows = np.arange(len(t))
        z -= z.max(axis=1, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(total[:, 0]) - z[rows, t])
        e /= total
        e[rows, t] -= 1
        e /= len(t)
        return loss, e

    def adam(self) -> None:
        self.steps += 1
        g, m, v, s = self.gradient, self.m, self.v, self.scratch
        m *= BETA_1
        np.multiply(g, 1 - BETA_1, out=s)
        m += s
        v *= BETA_2
        np.multiply(g, g, out=s)
        s *= 1 - BETA_2
        v += s
        root = (1 - BETA_2**self.steps) ** 0.5
        np.sqrt(v, out=s)
        s += EPSILON * root
        np.divide(m, s, out=s)
        s *= RATE * root / (1 - BETA_1**self.steps)
        self.theta -= s

    def layers(self) -> list[tuple[Any, Any]]:
        return self.weights


class ScikitLearn(Contender):
    """scikit-learn's MLP; it shuffles by itself."""

    def __init__(self, problem: Problem) -> None:
        need("sklearn")
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        warnings.simplefilter("ignore", ConvergenceWarning)
        super().__init__(problem)
        kind = MLPClassifier if problem.loss == "cross_entropy" else MLPRegressor
        self.model = kind(
            hidden_layer_sizes=problem.units[1:-1],
            activation=problem.activation,
            solver="adam",
            alpha=0.0,
            batch_size=problem.batch,
            learning_rate_init=RATE,
            beta_1=BETA_1,
            beta_2=BETA_2,
            epsilon=EPSILON,
            max_iter=problem.epochs,
            tol=0.0,
            n_iter_no_change=10**9,
            random_state=0,
            warm_start=True,
        )
        if problem.units[-1] == 1:
            self.y = self.y[:, 0]
        # Its parameters are made by a fit; a later one starts from what stands there.
        self.model.set_params(max_iter=1).fit(self.x, self.y)
        self.model.set_params(max_iter=problem.epochs)

    def reset(self) -> None:
        initial = self.problem.initial()
        self.model.coefs_ = [np.ascontiguousarray(w.T) for w, _ in initial]
        self.model.intercepts_ = [b for _, b in initial]

    def fit(self) -> Any:
        self.model.fit(self.x, self.y)

    def layers(self) -> list[tuple[Any, Any]]:
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [(w.T, b) for w, b in pairs]


class Torch(Contender):
    """PyTorch's modules and autograd, eager, with the fused Adam."""

    def __init__(self, problem: Problem) -> None:
        need("torch")
        import torch

        super().__init__(problem)
        self.x, self.y = torch.from_numpy(self.x), torch.from_numpy(self.y)
        functional = torch.nn.functional
        self.loss = functional.mse_loss
        if problem.loss == "cross_entropy":
            self.y, self.loss = self.y.long(), functional.cross_entropy
        activation = torch.nn.Tanh if problem.activation == "tanh" else torch.nn.ReLU
        modules: list[Any] = []
        for n, m in zip(problem.units, problem.units[1:], strict=False):
            modules += [torch.nn.Linear(n, m), activation()]
        self.net = torch.nn.Sequential(*modules[:-1])

    def reset(self) -> None:
        import torch

        flat = (torch.from_numpy(a) for pair in self.problem.initial() for a in pair)
        with torch.no_grad():
            for old, new in zip(self.net.parameters(), flat, strict=True):
                old.copy_(new)
        self.optimizer = torch.optim.Adam(
            self.net.parameters(),
            lr=RATE,
            betas=(BETA_1, BETA_2),
            eps=EPSILON,
            fused=True,
        )

    def fit(self) -> Any:
        import torch

        losses = []
        for epoch in range(self.problem.epochs):
            total: Any = 0.0
            for rows in torch.from_numpy(self.problem.order(epoch)).long():
                total = total + self.step(self.x[rows], self.y[rows])
            losses.append(total / self.problem.steps)
        return [float(loss) for loss in losses]

    def step(self, x: Any, t: Any) -> Any:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.net(x), t)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def layers(self) -> list[tuple[Any, Any]]:
        flat = [a.detach().numpy() for a in self.net.parameters()]
        return list(zip(flat[::2], flat[1::2], strict=True))


class TorchCompile(Torch):
    """PyTorch with the whole step in one compiled graph: gradient and Adam.

    Compiling a step around `backward` and an optimizer breaks the graph at each, and is
    slower than eager on small networks; this is the form that pays.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        import torch

        self.parameters = {k: a.detach() for k, a in self.net.named_parameters()}
        self.m = {k: torch.zeros_like(a) for k, a in self.parameters.items()}
        self.v = {k: torch.zeros_like(a) for k, a in self.parameters.items()}
        value_and_gradient = torch.func.grad_and_value(
            lambda parameters, x, t: self.loss(
                torch.func.functional_call(self.net, parameters, (x,)), t
            )
        )

        def step(x: Any, t: Any, rate: Any, epsilon: Any) -> Any:
            gradient, loss = value_and_gradient(self.parameters, x, t)
            for name, g in gradient.items():
                m, v = self.m[name], self.v[name]
                m.mul_(BETA_1).add_(g, alpha=1 - BETA_1)
                v.mul_(BETA_2).addcmul_(g, g, value=1 - BETA_2)
                self.parameters[name].sub_(rate * m / (v.sqrt() + epsilon))
            return loss

        self.compiled = torch.compile(step, fullgraph=True, dynamic=False)

    def reset(self) -> None:
        super().reset()
        for slot in (*self.m.values(), *self.v.values()):
            slot.zero_()
        self.steps = 0

    def fit(self) -> Any:
        import torch

        with torch.no_grad():
            return super().fit()

    def step(self, x: Any, t: Any) -> Any:
        import torch

        self.steps += 1
        root = (1 - BETA_2**self.steps) ** 0.5
        rate = RATE * root / (1 - BETA_1**self.steps)
        # Tensors, since a new number would be a new constant, and a new compilation.
        return self.compiled(x, t, torch.tensor(rate), torch.tensor(EPSILON * root))


class Optax(Contender):
    """jax.grad and optax; `scan` runs an epoch as one compiled lax.scan."""

    def __init__(self, problem: Problem, *, scan: bool) -> None:
        need("jax", "optax")
        import jax
        import jax.numpy as jnp
        import optax

        super().__init__(problem)
        self.scan = scan
        self.x, self.y = jnp.array(self.x), jnp.array(self.y)
        self.optimizer = optax.adam(RATE, b1=BETA_1, b2=BETA_2, eps=EPSILON)
        activation = jnp.tanh if problem.activation == "tanh" else jax.nn.relu

        def loss(params: Any, x: Any, t: Any) -> Any:
            for k, (w, b) in enumerate(params):
                x = x @ w.T + b
                x = activation(x) if k < len(params) - 1 else x
            if problem.loss == "squared_error":
                return jnp.mean((x - t) ** 2)
            rows = optax.softmax_cross_entropy_with_integer_labels(x, t)
            return rows.mean()

        def step(carry: Any, rows: Any) -> Any:
            params, state, x, y = carry
            value, grads = jax.value_and_grad(loss)(params, x[rows], y[rows])
            updates, state = self.optimizer.update(grads, state)
            return (optax.apply_updates(params, updates), state, x, y), value

        def one(params: Any, state: Any, x: Any, y: Any, rows: Any) -> Any:
            carry, value = step((params, state, x, y), rows)
            return *carry[:2], value

        def whole(params: Any, state: Any, x: Any, y: Any, order: Any) -> Any:
            carry, values = jax.lax.scan(step, (params, state, x, y), order)
            return *carry[:2], values.mean()

        self.run = jax.jit(whole if scan else one, donate_argnums=(0, 1))

    def reset(self) -> None:
        import jax.numpy as jnp

        self.params = [(jnp.array(w), jnp.array(b)) for w, b in self.problem.initial()]
        self.state = self.optimizer.init(self.params)

    def fit(self) -> Any:
        p = self.problem
        params, state, losses = self.params, self.state, []
        for epoch in range(p.epochs):
            order = p.order(epoch)
            if self.scan:
                params, state, mean = self.run(params, state, self.x, self.y, order)
            else:
                mean = 0.0
                for rows in order:
                    params, state, v = self.run(params, state, self.x, self.y, rows)
                    mean += v
                mean /= p.steps
            losses.append(mean)
        self.params, self.state = params, state
        return [float(loss) for loss in losses]

    def layers(self) -> list[tuple[Any, Any]]:
        return [(np.asarray(w), np.asarray(b)) for w, b in self.params]


class Keras(Contender):
    """Keras on JAX; it shuffles by itself."""

    def __init__(self, problem: Problem) -> None:
        need("keras", "jax")
        os.environ["KERAS_BACKEND"] = "jax"
        import keras

        if keras.backend.backend() != "jax":
            msg = f"keras runs on {keras.backend.backend()} in this process, not on jax"
            raise Missing(msg)
        super().__init__(problem)
        keras.utils.set_random_seed(0)
        inner = [
            keras.layers.Dense(m, activation=problem.activation)
            for m in problem.units[1:-1]
        ]
        self.model = keras.Sequential(
            [
                keras.Input((problem.units[0],)),
                *inner,
                keras.layers.Dense(problem.units[-1]),
            ]
        )
        loss: Any = keras.losses.MeanSquaredError()
        if problem.loss == "cross_entropy":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.optimizer = keras.optimizers.Adam(
            RATE, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON
        )
        self.model.compile(optimizer=self.optimizer, loss=loss)
        self.optimizer.build(self.model.trainable_variables)

    def reset(self) -> None:
        initial = self.problem.initial()
        self.model.set_weights([a for w, b in initial for a in (w.T, b)])
        for variable in self.optimizer.variables:
            if variable is not self.optimizer._learning_rate:
                variable.assign(np.zeros(variable.shape, variable.dtype))

    def fit(self) -> Any:
        p = self.problem
        self.model.fit(self.x, self.y, batch_size=p.batch, epochs=p.epochs, verbose=0)

    def layers(self) -> list[tuple[Any, Any]]:
        flat = self.model.get_weights()
        return [(w.T, b) for w, b in zip(flat[::2], flat[1::2], strict=True)]


CONTENDERS: dict[str, Callable[[Problem], Contender]] = {
    "chainrule-numpy": functools.partial(Chainrule, backend="numpy"),
    "chainrule-jax": functools.partial(Chainrule, backend="jax"),
    "chainrule-torch": functools.partial(Chainrule, backend="torch"),
    "chainrule-torch-compiled": functools.partial(
        Chainrule, backend="torch", jit_compile=True
    ),
    "chainrule-cupy": functools.partial(Chainrule, backend="cupy"),
    "scikit-learn": ScikitLearn,
    "torch-eager": Torch,
    "torch-compile": TorchCompile,
    "optax-scan": functools.partial(Optax, scan=True),
    "optax-loop": functools.partial(Optax, scan=False),
    "keras-jax": Keras,
    "numpy-bare": NumPyBare,
    "limit-numpy": functools.partial(Limit, library="numpy"),
    "limit-torch": functools.partial(Limit, library="torch"),
    "limit-jax": functools.partial(Limit, library="jax"),
}
OWN_ORDER = ("scikit-learn", "keras-jax")  # who shuffle by themselves
