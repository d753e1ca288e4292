"""Optimizers of one's own: `step`, the numbers that they read, what they return."""

from __future__ import annotations

import inspect
import pickle
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.files import registry
from chainrule.optimizers import Optimizer
from chainrule.optimizers.base import Placeholder

from tests.support.libraries import here

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 3))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)


class Reading(cr.SGD):
    """Reads a number of its own in its `step`."""

    def __init__(self, learning_rate: Any = 0.1, scale: float = 1.0, **more: Any):
        super().__init__(learning_rate, **more)
        self.scale = scale

    def step(self, xp: Any, s: Any, g: Any, theta: Any, *slots: Any) -> Any:
        theta -= self.scale * s.rate * g
        return theta, *slots


class ReadingInUpdate(Reading):
    """Does so in an `update` of its own, which decays by itself."""

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        if decay is not None:
            g = g + self.weight_decay * decay * theta
        theta -= self.scale * s.rate * g
        return theta, *slots


class Travelling(Optimizer):
    """Says that its number travels as a scalar."""

    scale: float
    numbers = ("scale",)

    def __init__(
        self,
        learning_rate: Any = 0.1,
        scale: float = 1.0,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, clip_norm=clip_norm)
        self.scale = scale

    def own_scalars(self, first: int, rates: Any, previous: Any) -> dict[str, Any]:
        return {"rate": rates, "scale": self.scale}

    def step(self, xp: Any, s: Any, g: Any, theta: Any) -> Any:
        theta -= s.scale * s.rate * g
        return (theta,)


def fitted(optimizer: Any, where: dict[str, Any], **more: Any) -> Any:
    """Return the weights of a network after some epochs."""
    model = cr.Model(cr.MLP((5, 2), "tanh"), optimizer=optimizer, **where, **more)
    model.fit(X, Y, epochs=3, batch_size=16)
    return model.get_weights()[0]


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize("cls", [Reading, ReadingInUpdate, Travelling])
def test_a_number_of_ones_own_is_the_one_that_was_given(
    cls: Any, members: int | None, where: dict[str, Any]
) -> None:
    """In whatever order: what was compiled for one number serves no other."""
    options: dict[str, Any] = {"weight_decay": 0.1, "clip_norm": 0.5}
    for scale in (0.25, 0.5, 0.25):
        got = fitted(cls(0.2, scale, **options), where, members=members)
        want = fitted(cr.SGD(0.2 * scale, **options), where, members=members)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    rates = (0.2, 0.1)
    if members:
        got = fitted(cls(rates, 0.5, **options), where, members=members)
        want = fitted(cr.SGD((0.1, 0.05), **options), where, members=members)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


class Stubborn(cr.SGD):
    """Reads numbers that ours take from the scalars alone."""

    def step(self, xp: Any, s: Any, g: Any, theta: Any, *slots: Any) -> Any:
        rate: Any = self.learning_rate
        theta -= rate * self.momentum * g
        return theta, *slots


def test_numbers_of_ours_may_be_read_by_a_step_of_ones_own(
    where: dict[str, Any],
) -> None:
    for rate, momentum in ((0.2, 0.5), (0.2, 0.25), (0.1, 0.25)):
        got = fitted(Stubborn(rate, momentum), where)
        want = fitted(cr.SGD(rate * momentum), where)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not here("torch"), reason="needs torch")
@pytest.mark.filterwarnings("ignore:jit_compile=True. PyTorch could not compile")
@pytest.mark.parametrize("cls", [Reading, ReadingInUpdate, Travelling])
def test_a_number_of_ones_own_in_a_compiled_step_of_torch(cls: Any) -> None:
    where = {"backend": "torch", "jit_compile": True}
    for scale in (0.25, 0.5):
        got = fitted(cls(0.2, scale), where)
        want = fitted(cr.SGD(0.2 * scale), {"backend": "numpy"})
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not here("jax"), reason="needs JAX")
def test_what_compiles_anew() -> None:
    """A number that the step reads itself; one that travels as a scalar does not."""
    from chainrule.backends.jax.engine import _compiled

    def compilations(*optimizers: Any) -> int:
        fitted(optimizers[0], {"backend": "jax"})
        before = _compiled.cache_info().misses
        for optimizer in optimizers[1:]:
            fitted(optimizer, {"backend": "jax"})
        return _compiled.cache_info().misses - before

    assert compilations(Travelling(0.1, 0.5), Travelling(0.2, 0.7)) == 0
    assert compilations(Reading(0.1, 0.5), Reading(0.1, 0.5)) == 0
    assert compilations(Reading(0.1, 0.6), Reading(0.1, 0.7)) == 1

    class Renamed(cr.Adam):
        """Has no code of its own that could read a number."""

    assert compilations(Renamed(0.1), Renamed(0.2, 0.8, weight_decay=0.0)) == 0


def test_an_optimizer_that_says_nothing_else() -> None:
    """It neither decays nor clips, and its scalars are the rates."""
    plain = Plain(0.1)
    assert (plain.learning_rate, plain.weight_decay, plain.clip_norm) == (
        0.1,
        0.0,
        None,
    )
    rates = np.array([0.1, 0.2])
    scalars = plain.scalars(0, rates, 0.1)
    assert list(scalars) == ["rate"]
    np.testing.assert_array_equal(scalars["rate"], rates)
    with pytest.raises(cr.ArgumentError, match="Plain: weight_decay"):
        Plain(0.1, weight_decay=-1.0)

    class Bare(Plain):
        def __init__(self) -> None:
            self.learning_rate = 0.1

    assert fitted(Bare(), {"backend": "numpy"}).tolist() == (
        fitted(plain, {"backend": "numpy"}).tolist()
    )


def test_structure() -> None:
    own = Reading(0.1, 0.5)
    assert own.structure() == own
    assert own.structure() != Reading(0.1, 0.25).structure()
    declared = Travelling(0.1, 0.5).structure()
    assert declared == Travelling(lambda _: 0.2, 0.25).structure()
    assert declared != Travelling(0.1, 0.0).structure()
    assert declared != Travelling(0.1, 0.5, weight_decay=0.1).structure()
    assert pickle.loads(pickle.dumps(declared)) == declared


def test_a_declared_number_is_none_in_the_step(where: dict[str, Any]) -> None:
    class Forgetful(Travelling):
        numbers = ("scale",)

        def step(self, xp: Any, s: Any, g: Any, theta: Any) -> Any:
            theta -= self.scale * s.rate * g
            return (theta,)

    with pytest.raises(
        cr.ArgumentTypeError, match=r"Forgetful\.scale travels as a scalar"
    ):
        fitted(Forgetful(0.1, 0.5), where)


def test_placeholder_computes_nothing() -> None:
    zero, other = (Placeholder("SGD.momentum", b) for b in (False, True))
    assert not zero
    assert other
    assert zero != other
    computations: list[Any] = [
        lambda p: p + 1.0,
        lambda p: 1.0 - p,
        lambda p: X * p,
        lambda p: p / X,
        lambda p: 2.0**p,
        lambda p: -p,
    ]
    for compute in computations:
        with pytest.raises(cr.ArgumentTypeError, match=r"^SGD\.momentum travels"):
            compute(other)


# A step of one's own: decay, clipping, files.


class Halved(cr.AdamW):
    """Adam's steps, half as long: the decay stays decoupled."""

    def step(self, xp: Any, s: Any, g: Any, theta: Any, *slots: Any) -> Any:
        new, *slots_ = super().step(xp, s, g, theta + 0.0, *slots)
        return 0.5 * (theta + new), *slots_


class Plain(Optimizer):
    """The shortest."""

    def step(self, xp: Any, s: Any, g: Any, theta: Any) -> Any:
        return (theta - s.rate * g,)


class Outer(cr.SGD):
    """Goes around the decay of its base, as before there was `step`."""

    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        return super().update(xp, s, 2.0 * g, decay, theta, *slots)


def test_a_step_of_ones_own_is_clipped_and_decays(where: dict[str, Any]) -> None:
    options: dict[str, Any] = {"weight_decay": 0.3, "clip_norm": 0.2}
    got = fitted(Plain(0.1, **options), where)
    np.testing.assert_allclose(
        got, fitted(cr.SGD(0.1, **options), where), rtol=1e-4, atol=1e-6
    )
    # Half the rate, and twice the decoupled decay.
    got = fitted(Halved(0.1, **options), where)
    twin = cr.AdamW(0.05, weight_decay=0.6, clip_norm=0.2)
    np.testing.assert_allclose(got, fitted(twin, where), rtol=1e-3, atol=1e-5)


def test_an_update_of_ones_own_gets_a_clipped_gradient(where: dict[str, Any]) -> None:
    """Clipped once, though it calls the update of its base."""
    got = fitted(Outer(0.05, clip_norm=0.01), where)
    want = fitted(cr.SGD(0.1, clip_norm=0.01), where)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_an_optimizer_of_ones_own_is_kept_in_a_file(tmp_path: Path) -> None:
    registry.register(Travelling, name="test_own.Travelling")
    schedule = cr.schedules.CosineDecay(0.1, 40)
    optimizer = Travelling(schedule, 0.25, weight_decay=0.1, clip_norm=0.5)
    model = cr.Model(cr.MLP((5, 2)), optimizer=optimizer, backend="numpy")
    model.fit(X, Y, epochs=2)
    path = tmp_path / "it.safetensors"
    model.save(path, include_optimizer=True)
    loaded = cr.load(path)
    assert loaded.optimizer == optimizer
    for each in (model, loaded):
        each.fit(X, Y, epochs=2)
    np.testing.assert_array_equal(model.theta, loaded.theta)


# What a step returns.


class Returning(cr.SGD):
    """Returns what a function makes of what it should."""

    slots = ("m", "v")  # type: ignore[assignment]

    def __init__(self, change: Any) -> None:
        super().__init__(0.1)
        self.change = change

    def step(self, xp: Any, s: Any, g: Any, theta: Any, *slots: Any) -> Any:
        return self.change((theta - s.rate * g, *slots))


class ReturningFromUpdate(Returning):
    def update(
        self, xp: Any, s: Any, g: Any, decay: Any, theta: Any, *slots: Any
    ) -> Any:
        return self.change((theta - s.rate * g, *slots))


WRONG: dict[str, tuple[Any, str]] = {
    "too few": (lambda new: new[:2], r"got 2 arrays"),
    "one": (lambda new: new[:1], r"got 1 array\."),
    "too many": (lambda new: (*new, new[0]), r"got 4 arrays"),
    "theta alone": (lambda new: new[0], r"got an array of shape \(.*\)"),
    "nothing": (lambda new: None, r"got None"),
    "a number in a slot's place": (lambda new: (*new[:2], 0.0), r"got 0\.0 for v"),
    "another shape": (
        lambda new: (new[0][..., :1], *new[1:]),
        r"got shape .* for theta",
    ),
}


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("cls", [Returning, ReturningFromUpdate])
def test_what_a_step_returns_is_checked(
    cls: Any, case: str, members: int | None, where: dict[str, Any]
) -> None:
    change, got = WRONG[case]
    model = cr.Model(
        cr.MLP((5, 2)), optimizer=cls(change), members=members, **where
    ).build(3)
    before = model.get_weights()[0]
    method = "update" if cls is ReturningFromUpdate else "step"
    wanted = (
        rf"{cls.__name__}\.{method} must return the tuple \(theta, m, v\), .*{got}.*"
        rf"Return every slot, also one that has not changed\."
    )
    with pytest.raises(cr.ArgumentError, match=wanted):
        model.fit(X, Y, epochs=2, batch_size=16)
    np.testing.assert_array_equal(model.get_weights()[0], before)
    assert model.history.epochs == 0
    model.optimizer = cr.SGD(0.1)
    model.fit(X, Y, epochs=1)


@pytest.mark.skipif(not here("torch"), reason="needs torch")
def test_what_a_step_returns_is_checked_where_it_is_compiled() -> None:
    model = cr.Model(
        cr.MLP((5, 2)),
        optimizer=Returning(WRONG["too few"][0]),
        backend="torch",
        jit_compile=True,
    )
    with pytest.raises(cr.ArgumentError, match="got 2 arrays"):
        model.fit(X, Y, epochs=2, batch_size=16)


def test_the_example_of_the_documentation() -> None:
    doc = inspect.getdoc(Optimizer)  # Python dedents docstrings from 3.13 on
    assert doc is not None
    code = doc[doc.index("    class SignDescent") : doc.index("One that overrides")]
    names: dict[str, Any] = {"chainrule": cr}
    exec(textwrap.dedent(code), names)
    optimizer = names["SignDescent"](1e-3, 0.5, weight_decay=0.1)
    assert (
        optimizer.structure() == names["SignDescent"](1.0, weight_decay=1.0).structure()
    )
    moved = fitted(optimizer, {"backend": "numpy"})
    start = cr.Model(cr.MLP((5, 2), "tanh"), backend="numpy").build(3).get_weights()[0]
    step = np.abs(moved - start)
    assert 0.0 < step.max() < 9.5e-3  # nine steps of 1e-3


def test_an_optimizer_without_a_step(where: dict[str, Any]) -> None:
    class Idle(Optimizer):
        pass

    with pytest.raises(cr.ArgumentError, match=r"Idle has no step.*def step\(self, xp"):
        fitted(Idle(0.1), where)
