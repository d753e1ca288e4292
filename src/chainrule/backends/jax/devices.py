"""What a user calls a device of JAX, or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from chainrule.config import checks
from chainrule.errors import DeviceError

__all__ = ["home", "locate", "name"]


def locate(device: Any) -> Any:
    """Return a `jax.Device`, or a `jax.sharding.Mesh` of several.

    Parameters
    ----------
    device : jax.Device, Mesh, str, sequence, or None
        A name is a platform, with a number or with "*" for all of its devices, of all
        processes; several are joined by commas, and by "/" in rows of equal length,
        which is a mesh of two axes. None is ``jax.default_device``, if it is set, or
        the first device of this process.

    Raises
    ------
    DeviceError
        If there is no such device, they are of several platforms, or one comes twice.
    """
    if device is None:
        device = jax.config.jax_default_device
    if device is None:
        return jax.local_devices()[0]
    if isinstance(device, jax.Device):
        return _of_here(device)
    if isinstance(device, str) and not any(sign in device for sign in "*,/"):
        return _of_here(_named(device))
    return _mesh(_checked(device))


def _of_here(device: Any) -> Any:
    """Return a device, or refuse one of another process."""
    here = jax.process_index()
    if device.process_index == here:
        return device
    mine = ", ".join(name(d) for d in jax.local_devices())
    msg = (
        f"device {name(device)} belongs to process {device.process_index}; this one, "
        f"number {here}, has {mine}. Take one of these, or those of all processes: "
        f"'{device.platform}:*'."
    )
    raise DeviceError(msg)


def _checked(device: Any) -> Any:
    """Return devices in an array of one or two axes, those of a mesh."""
    if isinstance(device, Mesh):
        found = device.devices
    elif isinstance(device, str):
        rows = [_several(row.split(",")) for row in device.split("/")]
        if len({len(row) for row in rows}) > 1:
            msg = f"device {device!r} must have rows of equal length."
            raise DeviceError(msg)
        found = np.array(rows if len(rows) > 1 else rows[0])
    elif isinstance(device, Sequence) and not isinstance(device, bytes):
        found = np.array(_several(device))
    else:
        msg = (
            f"device must be a jax.Device, a name such as 'cpu', 'gpu:1' or 'gpu:*', a "
            f"list of them, or a jax.sharding.Mesh on the jax backend; got "
            f"{checks.show(device)} ({type(device).__name__})."
        )
        raise DeviceError(msg)
    every = list(found.flat)
    if not every:
        msg = "device: the list has no device; name one at least, or leave it out."
        raise DeviceError(msg)
    platforms = sorted({d.platform for d in every})
    if len(platforms) > 1:
        msg = (
            f"device must be of one platform; got devices of {', '.join(platforms)}. "
            f"Name those of one, '{platforms[-1]}:*' say."
        )
        raise DeviceError(msg)
    if len({*every}) < len(every):
        twice = next(d for d in every if every.count(d) > 1)
        msg = f"device: {name(twice)} comes twice; name each device once."
        raise DeviceError(msg)
    if found.ndim not in (1, 2):
        msg = (
            f"device must be a Mesh of one axis, or of two; got one of "
            f"{found.ndim} axes."
        )
        raise DeviceError(msg)
    return found


def _several(given: Sequence[Any]) -> list[Any]:
    """Return the devices of a list of devices and names."""
    found: list[Any] = []
    for each in given:
        if isinstance(each, jax.Device):
            found.append(each)
        elif isinstance(each, str) and each.strip().endswith(":*"):
            found += _of_platform(each.strip())
        elif isinstance(each, str):
            found.append(_named(each))
        else:
            msg = (
                f"device must be a list of devices or of their names on the jax "
                f"backend; got {checks.show(each)} ({type(each).__name__}) in it."
            )
            raise DeviceError(msg)
    return found


def _of_platform(name: str) -> list[Any]:
    """Return all devices of "cpu:*"."""
    try:
        return list(jax.devices(name[:-2]))
    except RuntimeError as error:
        raise _missing(name) from error


def _named(name: str) -> Any:
    """Return the device of "cpu", or "gpu:1"."""
    platform, _, number = name.strip().partition(":")
    try:
        every = jax.devices(platform)
        if not number:
            mine = jax.process_index()
            return next(d for d in every if d.process_index == mine)
        return next(d for d in every if d.id == int(number))
    except (RuntimeError, StopIteration, ValueError) as error:
        raise _missing(name) from error


def _missing(device: str) -> DeviceError:
    have = ", ".join(name(d) for d in jax.devices())
    shown = checks.show(device)
    msg = f"device {shown} is not to be had on the jax backend; here are {have}."
    return DeviceError(msg)


def name(device: Any) -> str:
    """Return what `locate` takes for a device."""
    return f"{device.platform}:{device.id}"


def _mesh(devices: Any) -> Any:
    """Return a mesh of these devices; of a single one, the device."""
    if devices.size == 1:
        return _of_here(devices.flat[0])
    axes = ("groups", "devices")[-devices.ndim :]
    return Mesh(devices, axes)


def home(a: Any) -> Any:
    """Return the device of an array, or a mesh; None if it lies nowhere."""
    if isinstance(a, jax.core.Tracer) or a.is_deleted():
        return None
    sharding = a.sharding
    if len(sharding.device_set) == 1:
        return next(iter(sharding.device_set))
    if isinstance(sharding, NamedSharding) and sharding.mesh.devices.ndim < 3:
        return _mesh(sharding.mesh.devices)
    return _mesh(np.array(sorted(sharding.device_set, key=lambda d: d.id)))
