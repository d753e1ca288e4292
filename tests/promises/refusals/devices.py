"""Backends and devices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import array_api_strict

from chainrule import backends

from tests.promises.refusals.learning import train
from tests.support.inputs import (
    Device,
    Type,
    Value,
)
from tests.support.libraries import STRICT_DEVICE, here

DEVICES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "backend": (train(backend="nunpy"), Value, "^backend .*Did you mean 'numpy'"),
    "backend 3": (train(backend=3), Type, "^backend must be .*got 3"),
    "module": (train(backend=math), Type, "^backend: the module math is not"),
    "no backend": (train(device="cpu"), Value, "^device 'cpu' needs a backend"),
    "numpy device": (
        train(backend="numpy", device="cuda:0"),
        Device,
        "^device must be None or 'cpu' on the numpy backend; got 'cuda:0'",
    ),
    "strict device": (
        train(backend=array_api_strict, device="device9"),
        Device,
        "^device 'device9' is not to be had in array_api_strict",
    ),
    "strict device 3": (
        train(backend=array_api_strict, device=3),
        Device,
        "^device 3 is not to be had in array_api_strict",
    ),
    "numpy on a strict device": (
        train(backend="numpy", device=STRICT_DEVICE),
        Device,
        "^device must be None or 'cpu'",
    ),
    "two devices": (
        train(
            backend=backends.get(array_api_strict, STRICT_DEVICE), device="CPU_DEVICE"
        ),
        Device,
        "^device 'CPU_DEVICE' contradicts",
    ),
}


if here("torch"):
    for device in ("cuda:99", "nowhere", STRICT_DEVICE, 3):
        DEVICES[f"torch on {device}"] = (
            train(backend="torch", device=device),
            Device,
            r"^device .*torch backend",
        )
if here("jax"):
    for device in ("tpu", "cpu:99", "cpu:x", "nowhere", STRICT_DEVICE):
        DEVICES[f"jax on {device}"] = (
            train(backend="jax", device=device),
            Device,
            r"^device .*jax backend",
        )
