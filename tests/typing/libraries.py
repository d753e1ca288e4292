"""A user's own code with JAX and PyTorch: their arrays go in, and come out."""

from __future__ import annotations

from typing import assert_type

import jax
import torch

import chainrule as cr
from chainrule import rules
from chainrule.arrays.types import Pullback
from chainrule.sklearn import MLPClassifier, MLPRegressor


def of_torch(model: cr.Model, t: torch.Tensor) -> None:
    """Tensors in, tensors out."""
    assert_type(model.predict(t), torch.Tensor)
    assert_type(model.predict(t, return_std=True), tuple[torch.Tensor, torch.Tensor])
    assert_type(model.predict_proba(t), torch.Tensor)
    assert_type(model.jacobian(t), torch.Tensor)
    assert_type(model.jvp(t, t), torch.Tensor)
    assert_type(model.sample_gradients(t, t), torch.Tensor)
    assert_type(rules.dense(t, t, t), tuple[torch.Tensor, Pullback])
    assert_type(MLPRegressor().fit(t, t).predict(t), torch.Tensor)
    assert_type(MLPClassifier().fit(t, t).predict_proba(t), torch.Tensor)
    cr.Model(cr.MLP((2,)), dtype=torch.float64, backend=torch, device=t.device)


def of_jax(model: cr.Model, j: jax.Array) -> None:
    """JAX's arrays in, and out."""
    assert_type(model.predict(j), jax.Array)
    assert_type(model.predict(j, return_std=True), tuple[jax.Array, jax.Array])
    assert_type(model.predict_members(j), jax.Array)
    assert_type(model.hessian(j), jax.Array)
    assert_type(model.vjp(j, j), jax.Array)
    assert_type(model.parameter_jacobian(j), jax.Array)
    assert_type(rules.relu(j), tuple[jax.Array, Pullback])
    assert_type(MLPRegressor().fit(j, j).jacobian(j), jax.Array)
    cr.Model(cr.MLP((2,)), backend=jax.numpy, device=j.device)
