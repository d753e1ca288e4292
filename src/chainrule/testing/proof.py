"""The whole proof: everything in the registry, on every backend that is here."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from chainrule import backends, layers
from chainrule.arrays import random
from chainrule.backends import Backend
from chainrule.errors import GradientError, MissingLibraryError
from chainrule.model import Model
from chainrule.testing import cases
from chainrule.testing.arrays import members, near
from chainrule.testing.checks import CHECKS, build
from chainrule.testing.gradients import check_gradients
from chainrule.testing.subjects import Subject, subject

__all__ = ["COLUMNS", "Proof", "Result", "Task", "engines", "prove", "tasks"]

# What stands in a cell of the table, one letter for each check.
COLUMNS = {name: name[0] for name in CHECKS} | {"dtype": "t", "agreement": "a"}
_STRICT = "array_api_strict"
# dtype -> how far a value or a gradient may be from NumPy's, trained parameters too.
_AGREEMENT: dict[str, float] = {"float64": 1e-11, "float32": 1e-4}
_STEPS = 20

# Random123's known answers of threefry2x32-20: counter, key, result (kat_vectors).
_VECTORS = (
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
)


class Result(NamedTuple):
    """One entry of the registry on one backend: check -> "ok", or why it was not made.

    `failure` is None where all is well; `difference` is the largest that was met.
    """

    kind: str
    name: str
    backend: str
    checks: dict[str, str]
    failure: str | None
    difference: float

    @property
    def made(self) -> int:
        """How many checks were made and hold."""
        return sum(v == "ok" for v in self.checks.values())

    @property
    def cell(self) -> str:
        """One letter for each check made, "-" for one not made, "!" for one failed."""
        marks = {"ok": "", "failed": "!"}
        return "".join(
            marks.get(self.checks.get(check, ""), "-") or letter
            for check, letter in COLUMNS.items()
        )


class Proof:
    """All results, and what is missing; it prints as one table.

    Attributes
    ----------
    results : list of Result
    missing : dict
        Backend -> why it is not here; it is not counted.
    unlisted : list of str
        Public names without an entry in the registry.
    """

    results: list[Result]
    missing: dict[str, str]
    unlisted: list[str]

    def __init__(self, missing: dict[str, str], unlisted: list[str]) -> None:
        self.results: list[Result] = []
        self.missing, self.unlisted = missing, unlisted

    @property
    def ok(self) -> bool:
        """Whether something was checked, and nothing fell short."""
        return (
            any(r.made for r in self.results)
            and not self.unlisted
            and all(r.failure is None for r in self.results)
        )

    def __str__(self) -> str:
        columns = list(dict.fromkeys(r.backend for r in self.results))
        rows: dict[tuple[str, str], dict[str, Result]] = {}
        for r in self.results:
            rows.setdefault((r.kind, r.name), {})[r.backend] = r
        table = [["", *columns]]
        kind = ""
        for (group, name), found in rows.items():
            if group != kind:
                kind = group
                table.append([group])
            cells = [found[c].cell if c in found else "" for c in columns]
            table.append([f"  {name}", *cells])
        widths = [
            max(len(row[k]) for row in table if k < len(row))
            for k in range(len(columns) + 1)
        ]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=False)).rstrip()
            for row in table
        ]
        legend = ", ".join(f"{letter} {name}" for name, letter in COLUMNS.items())
        lines += ["", f"{legend}; - not made there, ! failed", *self._counts(columns)]
        lines += [
            f"{name}: not here, not counted. {w}" for name, w in self.missing.items()
        ]
        lines += [
            f"FAILED {r.name} on {r.backend}: {r.failure}" for r in self._failed()
        ]
        lines += [f"FAILED {n}: public, but not in the registry" for n in self.unlisted]
        lines.append("everything holds" if self.ok else "SOMETHING FALLS SHORT")
        return "\n".join(lines)

    def _failed(self) -> list[Result]:
        return [r for r in self.results if r.failure is not None]

    def _counts(self, columns: list[str]) -> Iterator[str]:
        for name in columns:
            mine = [r for r in self.results if r.backend == name]
            mine = [r for r in mine if r.made or r.failure is not None]
            good = [r for r in mine if r.failure is None]
            made = sum(r.made for r in good)
            worst = max((r.difference for r in good), default=0.0)
            yield (
                f"{name}: {len(good)} of {len(mine)} hold, {made} checks, differences "
                f"of at most {worst:.1e} in float64"
            )


class Task(NamedTuple):
    """An entry of the registry, and how it is checked on a backend.

    ``run(backend, skip)`` returns checks and the largest difference.
    """

    kind: str
    name: str
    run: Callable[[Any, tuple[str, ...]], tuple[dict[str, str], float]]


def engines(names: list[str] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the backends to prove on, name -> Backend, and why others are not here.

    Parameters
    ----------
    names : list of str, optional
        None: all; a name that is given must be to be had.
    """
    if names is not None:
        return {name: _engine(name) for name in names}, {}
    here = backends.available()
    found: dict[str, Any] = {name: backends.get(name) for name in here}
    missing = dict(here.missing)
    if importlib.util.find_spec(_STRICT) is None:
        missing[_STRICT] = "Install it with: pip install array-api-strict"
    else:
        found[_STRICT] = _engine(_STRICT)
    return found, missing


def _engine(name: Any) -> Any:
    if name == _STRICT and importlib.util.find_spec(_STRICT) is not None:
        # On this device nothing can be taken for a NumPy array, as on a GPU.
        return backends.get(importlib.import_module(_STRICT), "device1")
    return backends.get(name)


@contextlib.contextmanager
def _strictness(engine: Backend) -> Iterator[None]:
    if engine.name != _STRICT:
        yield
        return
    flags = importlib.import_module(_STRICT).ArrayAPIStrictFlags
    with flags(
        api_version="2024.12", boolean_indexing=False, data_dependent_shapes=False
    ):
        yield


def tasks(only: list[str] | None = None) -> list[Task]:
    """Return what there is to prove; `only` keeps names that contain its words."""
    found = []
    for name, rule in cases.RULES.items():
        data = range(len(rule.arguments), len(rule.inputs))
        function = functools.partial(rule.rule, **rule.options)
        found.append(_pulled("rules", name, function, rule.inputs, data=data))
    for name, layer in cases.LAYERS.items():
        found.append(
            _pulled("layers", name, layer.layer, (layer.x,), train=layer.train)
        )
    for name, loss in cases.LOSSES.items():
        found.append(_pulled("losses", name, loss.loss, (loss.z, loss.t, loss.weight)))
    found += [
        Task("optimizers", name, functools.partial(_training, optimizer))
        for name, optimizer in cases.OPTIMIZERS.items()
    ]
    found += [
        Task("random numbers", "threefry, published vectors", _vectors),
        Task("random numbers", "dropout's bits, bit for bit", _bits),
    ]
    if only:
        found = [t for t in found if any(w.lower() in t.name.lower() for w in only)]
    return found


def _pulled(kind: str, name: str, target: Any, inputs: Any, **options: Any) -> Task:
    def run(engine: Backend, skip: Any) -> tuple[dict[str, str], float]:
        report = check_gradients(target, *inputs, backend=engine, skip=skip, **options)
        checks = dict(report.checks)
        numpy = backends.get("numpy")
        what = subject(
            target,
            inputs,
            options.get("data", ()),
            options.get("train", True),
            0,
            numpy,
        )
        if engine != numpy:
            _agreement(what, engine, numpy)
            checks["agreement"] = "ok"
        return checks, report.difference

    return Task(kind, name, run)


def _agreement(what: Subject, engine: Backend, numpy: Backend) -> None:
    """Compare value and gradients with NumPy's: with leading axes, and in float32."""
    there = tuple(k for k, a in enumerate(what.inputs) if a is not None)
    plain = [what.inputs[k] for k in there]
    many = [members(a) for a in plain]
    # The first of the members is the plain input.
    for dtype, items, lead in (
        ("float64", many, (2,)),
        ("float32", plain, ()),
    ):
        answers: list[list[Any]] = []
        for one in (numpy, engine):
            with one.scope(dtype):
                run = one.compile(build, what, there, dtype)
                arrays = [_cast(one, a, dtype) for a in items]
                shape = answers[0][0].shape if answers else _shape(what, items, there)
                dz = np.random.default_rng(3).normal(size=(*lead, *shape))
                z, grads = run(arrays, _cast(one, dz, dtype))
                pulled = [one.to_numpy(grads[k]) for k in what.active]
                answers.append([np.array(one.to_numpy(z)), *pulled])
        names = [
            "the value",
            *[f"the gradient of {what.label(k)}" for k in what.active],
        ]
        for name, want, got in zip(names, *answers, strict=True):
            if not near(got, want, _AGREEMENT[dtype]):
                with_lead = " with leading axes" if lead else ""
                gap = (
                    float(np.max(np.abs(got - want))) if got.shape == want.shape else 0
                )
                msg = (
                    f"{name} in {dtype}{with_lead} is not NumPy's: they differ by "
                    f"{gap:.1e}, shapes {got.shape} and {want.shape}"
                )
                raise GradientError(msg, check="agreement")


def _shape(what: Subject, items: list[Any], there: tuple[int, ...]) -> tuple[int, ...]:
    numpy = backends.get("numpy")
    arrays: list[Any] = [None] * len(what.inputs)
    for k, a in zip(there, items, strict=True):
        arrays[k] = a
    shape: tuple[int, ...] = what.run(numpy, arrays, "float64")[0].shape
    return shape


def _cast(engine: Backend, a: Any, dtype: str) -> Any:
    return engine.asarray(np.asarray(a), dtype if a.dtype.kind == "f" else None)


def _training(
    optimizer: Any, engine: Backend, skip: tuple[str, ...]
) -> tuple[dict[str, str], float]:
    """Train a small network as NumPy does, in both dtypes."""
    numpy = backends.get("numpy")
    if engine == numpy:
        _descends(optimizer)
        return {"differences": "ok"}, 0.0
    worst = 0.0
    for dtype, allowed in _AGREEMENT.items():
        thetas = [_trained(optimizer, one, dtype)[0] for one in (numpy, engine)]
        if not near(thetas[1], thetas[0], allowed):
            gap = float(np.max(np.abs(thetas[1] - thetas[0])))
            msg = (
                f"after {_STEPS} steps in {dtype} the parameters are not NumPy's: they "
                f"differ by {gap:.1e}"
            )
            raise GradientError(msg, check="agreement")
        if dtype == "float64":
            worst = float(np.max(np.abs(thetas[1] - thetas[0])))
    return {"agreement": "ok"}, worst


def _trained(optimizer: Any, engine: Backend, dtype: Any) -> tuple[Any, Any]:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(20, 3))
    y = np.tanh(x @ rng.normal(size=(3, 2)))
    network = layers.MLP((4, 2), activation="tanh")
    model = Model(network, optimizer=optimizer, backend=engine, dtype=dtype)
    # Two batches of 8 and a remainder of 4: three steps an epoch.
    history = model.fit(x, y, epochs=-(-_STEPS // 3), batch_size=8, progress=False)
    return model.get_weights()[0].astype(np.float64), history["loss"]


def _descends(optimizer: Any) -> None:
    _, losses = _trained(optimizer, backends.get("numpy"), "float64")
    if not losses[-1] < losses[0]:
        msg = f"the loss does not fall: {losses[0]:.3g}, then {losses[-1]:.3g}"
        raise GradientError(msg, check="differences")


def _vectors(engine: Backend, skip: tuple[str, ...]) -> tuple[dict[str, str], float]:
    """Compare the block with Random123's known answers."""

    def words(numbers: Any) -> Any:
        return np.array([[n] for n in numbers], dtype=np.uint32).view(np.int32)

    with engine.scope("float32"):
        for counter, key, wanted in _VECTORS:
            c = [engine.asarray(a, "int32") for a in words(counter)]
            k = engine.asarray(words(key)[:, 0], "int32")
            got = [
                engine.to_numpy(a)
                for a in random.threefry(k, (c[0], c[1]), xp=engine.xp)
            ]
            if not np.array_equal(np.stack(got), words(wanted)):
                msg = f"threefry of {counter} under {key} is not the published {wanted}"
                raise GradientError(msg, check="agreement")
    return {"agreement": "ok"}, 0.0


def _bits(engine: Backend, skip: tuple[str, ...]) -> tuple[dict[str, str], float]:
    """Compare random words with NumPy's, bit for bit."""
    numpy = backends.get("numpy")
    key = random.step_keys(2**40 + 7, 3, 1, 1)[0, 0]
    answers = []
    for one in (numpy, engine):
        with one.scope("float32"):
            there = one.asarray(key, "int32")
            answers.append(one.to_numpy(random.bits(there, 64, 9, xp=one.xp)))
    if not np.array_equal(*answers):
        msg = "the random words are not NumPy's, bit for bit"
        raise GradientError(msg, check="agreement")
    return {"agreement": "ok"}, 0.0


def prove(task: Task, name: str, engine: Backend, *, thorough: bool = False) -> Result:
    """Run one task on one backend; what goes wrong stands in the result.

    Where every new shape is compiled, leads and dtype are left to the comparison with
    NumPy, which has both, unless the proof is to be `thorough`.
    """
    skip = ("leads", "dtype") if engine.pads and not thorough else ()
    try:
        with _strictness(engine):
            checks, difference = task.run(engine, skip)
    except MissingLibraryError as error:
        checks = {"agreement": str(error)}
        return Result(task.kind, task.name, name, checks, None, 0.0)
    except GradientError as error:
        check = {"finite": "shape", "vacuous": "differences"}.get(
            error.check, error.check
        )
        return Result(task.kind, task.name, name, {check: "failed"}, str(error), np.inf)
    except Exception as error:  # the proof goes on, and says what failed
        text = f"{type(error).__name__}: {error}"
        return Result(task.kind, task.name, name, {"shape": "failed"}, text, np.inf)
    return Result(task.kind, task.name, name, checks, None, difference)
