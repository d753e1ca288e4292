"""Initial values: variance, bounds, orthogonality, names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import initializers
from chainrule.arrays import random
from chainrule.arrays.random import generator
from chainrule.network import Network

SHAPE = (300, 200)  # fan_out, fan_in
VARIANCE = {
    "glorot_uniform": 2 / 500,
    "glorot_normal": 2 / 500,
    "he_uniform": 2 / 200,
    "he_normal": 2 / 200,
    "lecun_uniform": 1 / 200,
    "lecun_normal": 1 / 200,
}
NAMES = [*VARIANCE, "orthogonal", "zeros", "ones", "constant"]


def _draw(initializer: Any, shape: Any = SHAPE, seed: int = 0) -> Any:
    return initializers.get("it", initializer)(shape, generator(seed, 0, 0))


@pytest.mark.parametrize("name", VARIANCE)
def test_moments_and_bounds(name: str) -> None:
    values, variance = _draw(name), VARIANCE[name]
    deviation = math.sqrt(variance)
    assert abs(values.mean()) < 5 * deviation / math.sqrt(values.size)
    assert values.var() == pytest.approx(variance, rel=0.03)
    bound = math.sqrt(3) * deviation
    if name.endswith("uniform"):
        assert 0.999 * bound < np.abs(values).max() <= bound
    else:
        share = np.mean(np.abs(values) < deviation)
        assert share == pytest.approx(math.erf(math.sqrt(0.5)), abs=0.01)
        assert np.abs(values).max() > 3.5 * deviation  # not truncated


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (1, 3)])
def test_orthogonal(shape: tuple[int, int]) -> None:
    q = _draw(initializers.Orthogonal(2.0), shape) / 2.0
    gram = q.T @ q if shape[0] >= shape[1] else q @ q.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-14)


def test_orthogonal_is_haar() -> None:
    draw = initializers.Orthogonal()
    rng = generator(0, 0, 0)
    corners = np.array([np.diagonal(draw((3, 3), rng)) for _ in range(2000)])
    assert np.abs(corners.mean(axis=0)).max() < 0.07  # QR alone would bias the signs
    assert corners.var(axis=0) == pytest.approx(np.full(3, 1 / 3), rel=0.1)


def test_orthogonal_wants_a_matrix() -> None:
    with pytest.raises(cr.ArgumentTypeError, match="matrix"):
        _draw("orthogonal", (3,))


@pytest.mark.parametrize("name", NAMES)
def test_names_draws_and_records(name: Any) -> None:
    values = _draw(name)
    assert values.dtype == np.float64
    assert values.shape == SHAPE
    np.testing.assert_array_equal(values, _draw(name))
    if name not in ("zeros", "ones", "constant"):
        assert not np.array_equal(values, _draw(name, seed=1))
    it = initializers.get("it", name)
    assert it == initializers.get("it", name)
    assert hash(it) == hash(initializers.get("it", name))
    assert eval(repr(it), vars(initializers)) == it


@pytest.mark.parametrize(
    ("it", "value"),
    [("zeros", 0.0), ("ones", 1.0), (initializers.Constant(-2.5), -2.5)],
)
def test_constants(it: Any, value: float) -> None:
    assert (_draw(it) == value).all()


def test_any_callable() -> None:
    def halves(shape: Any, rng: Any) -> Any:
        return np.full(shape, 0.5)

    network = Network(cr.Dense(3, True, halves, halves), (2,))
    assert (network.initial(0)[0] == 0.5).all()


@pytest.mark.parametrize("bad", ["glorot", "He_normal"])
def test_bad_names(bad: Any) -> None:
    with pytest.raises(cr.ArgumentError, match="kernel_initializer"):
        cr.Dense(3, kernel_initializer=bad)


def test_one_seed_one_network() -> None:
    network = Network(cr.MLP((5, 2)), (4,))
    theta, state = network.initial(3)
    assert theta.dtype == np.float64
    assert state.shape == (0,)
    np.testing.assert_array_equal(theta, network.initial(3)[0])
    assert not np.array_equal(theta, network.initial(4)[0])
    assert not np.array_equal(theta, network.initial(3, member=1)[0])
    want = _draw("glorot_uniform", (5, 4), 3)
    np.testing.assert_array_equal(theta[:20].reshape(5, 4), want)


def test_one_seed_the_same_weights_everywhere(where: Any) -> None:
    model = cr.Model(cr.MLP((5, 2)), seed=3, **where).build(4)
    want = Network(cr.MLP((5, 2)), (4,)).initial(3)[0].astype(np.float32)
    np.testing.assert_array_equal(model.get_weights()[0], want)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "too few": (lambda s, g: np.ones(3), cr.ShapeError, r"shape \(2, 3\).*got \(3,\)"),
    "too many": (lambda s, g: np.ones((s[0] + 1, *s[1:])), cr.ShapeError, r"\(3, 3\)"),
    "transposed": (lambda s, g: np.ones(s[::-1]), cr.ShapeError, r"got \(3, 2\)"),
    "flat": (lambda s, g: np.ones(math.prod(s)), cr.ShapeError, r"got \(6,\)"),
    "a number": (lambda s, g: 1.0, cr.ShapeError, r"got \(\)"),
    "nan": (lambda s, g: np.full(s, np.nan), cr.ArgumentError, "finite numbers"),
    "inf": (lambda s, g: np.full(s, np.inf), cr.ArgumentError, "finite numbers"),
    "complex": (lambda s, g: np.ones(s) * 1j, cr.ArgumentError, "got dtype complex128"),
    "text": (lambda s, g: np.full(s, "a"), cr.ArgumentError, "got dtype <U1"),
    "huge": (lambda s, g: np.full(s, 1e300), cr.ArgumentError, "too large for float32"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("members", [None, 2])
def test_what_an_initializer_must_return(case: str, members: int | None) -> None:
    """Refused before anything is built: a weight too many would shift all others."""
    initializer, error, match = WRONG[case]
    dense = cr.Dense(2, kernel_initializer=initializer)
    model = cr.Model(cr.Sequential(dense, cr.Dense(2)), members=members)
    with pytest.raises(error, match=match) as caught:
        model.build(3)
    assert case == "huge" or "0.weight" in str(caught.value)
    assert not model.built
    with pytest.raises(error, match=match):
        model.fit(np.ones((4, 3)), np.ones((4, 2)), epochs=1)
    assert not model.built
    assert model.backend is None


def test_whole_numbers_are_values() -> None:
    dense = cr.Dense(2, kernel_initializer=lambda s, g: np.ones(s, dtype=int))
    model = cr.Model(dense).build(3)
    np.testing.assert_array_equal(model.get_weights()[0], [1] * 6 + [0] * 2)


class Mixed(cr.Layer):
    """Has a weight whose shape does not say its fans, as that of a convolution."""

    def __init__(self, initializer: Any, *, trainable: bool = True) -> None:
        self._configure(trainable, initializer=initializer)

    initializer: Any

    @property
    def parameters(self) -> tuple[Any, ...]:
        start = initializers.get("initializer", self.initializer)
        return (cr.layers.Variable("kernel", (40, 9, 5), start, fans=(45, 360)),)


@pytest.mark.parametrize("name", VARIANCE)
def test_the_layer_says_its_fans(name: Any) -> None:
    theta, _ = Network(Mixed(name), (3,)).initial(5)
    scale = initializers.get("it", name)
    fan = 45 if scale.mode == "fan_in" else (45 + 360) / 2
    assert theta.var() == pytest.approx(scale.scale / fan, rel=0.1)
    stream = generator(5, random.WEIGHTS, 0)
    wanted = scale((40, 9, 5), stream, fans=(45, 360))
    np.testing.assert_array_equal(theta, wanted.ravel())


def test_one_of_ones_own_takes_a_shape_and_a_generator() -> None:
    class Own(initializers.VarianceScaling):
        def __call__(self, shape: Any, generator: Any) -> Any:  # type: ignore[override]
            return np.full(shape, 2.0)

    def function(shape: Any, generator: Any) -> Any:
        return np.full(shape, 3.0)

    for initializer, value in ((Own(), 2.0), (function, 3.0)):
        theta, _ = Network(Mixed(initializer), (3,)).initial(0)
        assert (theta == value).all()
        theta, _ = Network(cr.Dense(4, False, initializer), (3,)).initial(0)
        assert (theta == value).all()
