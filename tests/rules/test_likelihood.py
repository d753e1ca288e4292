"""Likelihoods: SciPy's densities, PyTorch's and JAX's slopes, extremes, widths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import rules
from chainrule.errors import ShapeError
from chainrule.rules import likelihood

from tests.support.libraries import Library, need
from tests.support.rules import Case, RuleChecks, call, cases, close, finite, pull

pytestmark = pytest.mark.no_sync

CASES = cases(likelihood)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def _mean(entries: Any, weight: Any) -> Any:
    each = entries.reshape(len(entries), -1).mean(-1)
    return each.mean() if weight is None else (weight * each).sum() / weight.sum()


def _parts(z: Any, k: int, m: int) -> tuple[Any, Any, Any]:
    core = (len(z), k, m)
    means, scales = z[:, k : k + k * m], z[:, k + k * m :]
    return z[:, :k], means.reshape(core), scales.reshape(core)


def _scipy(case: Case) -> Any:
    """-log p of each entry, or of each row of a mixture."""
    stats = need("scipy.stats")
    (z,), (t, _), o = case.arguments, case.data, case.options
    m = t.shape[-1]
    mean, *more = (z[:, i : i + m] for i in range(0, z.shape[1], m))
    if case.name == "gaussian_nll":
        return -stats.norm.logpdf(t, mean, np.exp(0.5 * more[0]))
    if case.name == "student_t":
        df = o.get("df", 5.0)
        df = 2.0 + np.exp(more[1]) if df is None else df
        return -stats.t.logpdf(t, df, mean, np.exp(more[0]))
    if case.name == "negative_binomial":
        phi = o["dispersion"] if o else np.exp(more[0])
        return -stats.nbinom.logpmf(t, 1 / phi, 1 / (1 + phi * np.exp(mean)))
    logits, means, s = _parts(z, o.get("components", 3), m)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    densities = stats.norm.pdf(t[:, None], means, np.exp(s)).prod(-1)
    return -np.log((p * densities).sum(-1))


class TestLikelihoods(RuleChecks):
    def jax_oracle(self, name: str) -> Callable[..., Any]:
        import jax
        import jax.numpy as jnp
        from jax.scipy.special import gammaln
        from jax.scipy.stats import norm
        from jax.scipy.stats import t as students

        def forward(z: Any, t: Any, weight: Any = None, **o: Any) -> Any:
            m = t.shape[-1]
            mean, *more = (z[:, i : i + m] for i in range(0, z.shape[1], m))
            if name == "gaussian_nll":
                l = norm.logpdf(t, mean, jnp.exp(0.5 * more[0]))  # noqa: E741
            elif name == "student_t":
                df = o.get("df", 5.0)
                df = 2.0 + jnp.exp(more[1]) if df is None else df
                l = students.logpdf(t, df, mean, jnp.exp(more[0]))  # noqa: E741
            elif name == "negative_binomial":
                phi = o["dispersion"] if o else jnp.exp(more[0])
                n, mu = 1 / phi, jnp.exp(mean)
                l = gammaln(t + n) - gammaln(n) - gammaln(t + 1)  # noqa: E741
                l = l - n * jnp.log1p(phi * mu) + t * jnp.log(phi * mu / (1 + phi * mu))  # noqa: E741
            else:
                logits, means, s = _parts(z, o.get("components", 3), m)
                each = norm.logpdf(t[:, None], means, jnp.exp(s)).sum(-1)
                each = each + jax.nn.log_softmax(logits)
                l = jax.scipy.special.logsumexp(each, axis=-1)  # noqa: E741
            return -_mean(l, weight)

        return forward

    def torch_oracle(self, name: str) -> Callable[..., Any] | None:
        import torch
        from torch import distributions as d

        def forward(z: Any, t: Any, weight: Any = None, **o: Any) -> Any:
            m = t.shape[-1]
            mean, *more = (z[:, i : i + m] for i in range(0, z.shape[1], m))
            if name == "gaussian_nll":
                l = -torch.nn.functional.gaussian_nll_loss(  # noqa: E741
                    mean, t, more[0].exp(), full=True, eps=0.0, reduction="none"
                )
            elif name == "student_t":
                df = o.get("df", 5.0)
                df = 2.0 + more[1].exp() if df is None else df
                l = d.StudentT(df, mean, more[0].exp()).log_prob(t)  # noqa: E741
            elif name == "negative_binomial":
                fixed = torch.full_like(mean, np.log(o.get("dispersion", 1.0)))
                log_phi = fixed if o else more[0]
                n = torch.exp(-log_phi)
                l = d.NegativeBinomial(n, logits=mean + log_phi).log_prob(t)  # noqa: E741
            else:
                logits, means, s = _parts(z, o.get("components", 3), m)
                each = d.Independent(d.Normal(means, s.exp()), 1)
                mixture = d.MixtureSameFamily(d.Categorical(logits=logits), each)
                l = mixture.log_prob(t)  # noqa: E741
            return -_mean(l, weight)

        return forward


def test_every_likelihood_has_a_case() -> None:
    assert {case.name for case in CASES.values()} == set(likelihood.__all__)


def test_is_minus_the_log_of_scipys_density(case: Case, lib: Library) -> None:
    close(lib.host(call(case, lib)[0]), _mean(_scipy(case), case.data[1]))


@pytest.mark.parametrize("beta", [0.3, 1.0])
@pytest.mark.parametrize("weighted", ["", ", weighted"])
def test_beta_nll_is_the_papers(beta: float, weighted: str, lib: Library) -> None:
    """Its own code: ``loss * variance.detach() ** beta``."""
    torch = need("torch")
    case = CASES["gaussian_nll" + weighted]._replace(options={"beta": beta})
    (z,), (t, weight) = case.arguments, case.data
    tensor = torch.tensor(z, requires_grad=True)
    mean, a = tensor[:, :2], tensor[:, 2:]
    l = -torch.distributions.Normal(mean, (0.5 * a).exp()).log_prob(torch.tensor(t))  # noqa: E741
    l = l * a.exp().detach() ** beta  # noqa: E741
    wanted = _mean(l, None if weight is None else torch.tensor(weight))
    wanted.backward()
    value, pullback = call(case, lib)
    close(lib.host(value), wanted.item())
    close(lib.host(pullback()[0]), tensor.grad.numpy())


def test_beta_one_has_the_means_gradient_of_the_squared_error() -> None:
    (z,), (t, weight) = CASES["gaussian_nll, weighted"][1:3]
    dz = rules.gaussian_nll(z, t, weight, beta=1.0)[1]()[0]
    close(dz[:, :2], rules.squared_error(z[:, :2], t, weight)[1]()[0] / 2.0)


def test_weights_that_sum_to_zero_and_no_rows(case: Case, lib: Library) -> None:
    (z,), (t, _) = case.arguments, case.data
    value, pullback = call(case, lib, (z, t, np.zeros(5)))
    assert lib.host(value) == 0.0
    assert not lib.host(pullback()[0]).any()
    value, pullback = call(case, lib, (z[:0], t[:0], None))
    assert lib.host(value) == 0.0
    assert pullback()[0].shape == (0, z.shape[1])


def test_a_row_without_weight_counts_as_none(case: Case, lib: Library) -> None:
    """Though its loss be infinite."""
    (z,), (t, _) = case.arguments, case.data
    z, t, w = z.copy(), t.copy(), np.array([1.0, 2.0, 0.0, 1.0, 0.5])
    z[2] = -1e4
    t[2] = 1e6
    with np.errstate(over="ignore"):
        value, pullback = call(case, lib, (z, t, w))
        dz = lib.host(pullback()[0])
    rows = w > 0
    wanted, back = call(case, lib, (z[rows], t[rows], w[rows]))
    close(lib.host(value), lib.host(wanted))
    close(dz[rows], lib.host(back()[0]))
    assert not dz[2].any()


# Raw heads and targets whose losses and slopes fit float32.
EDGES: dict[str, tuple[Any, Any]] = {
    "gaussian_nll": (
        [[0.0, 1e4], [0.0, -1e4], [3.0, 88.0], [3e38, 170.0], [1e-30, -130.0]],
        [[1.0], [0.0], [-1e15], [-3e38], [0.0]],
    ),
    "student_t": (
        [[0.0, 1e4], [0.0, -1e4], [1.0, -1e4], [3e38, 0.0], [1e-30, -60.0]],
        [[1.0], [0.0], [0.0], [-3e38], [0.0]],
    ),
    "negative_binomial": (
        [[0.0, 1e4], [5.0, -1e4], [-1e4, 0.0], [60.0, 3.0], [-80.0, -80.0]],
        [[1.0], [1e6], [7.0], [0.0], [0.0]],
    ),
    "mixture_density": (
        [
            [0.0, 1e4, 1.0, 2.0, 0.0, 1.0],
            [-1e4, 1e4, 1e4, -1e4, -1e4, -1e4],
            [0.0, 0.0, 3e38, 3e38, 1e4, -1e4],
            [1e4, 1e4, 0.0, 0.0, 1e4, 1e4],
            [0.0, 0.0, 1e-40, 0.0, 0.0, -1e4],
        ],
        [[1.0], [0.0], [-3e38], [1e15], [0.0]],
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EDGES)
def test_finite_at_the_edges(name: str, dtype: str, lib: Library) -> None:
    z, t = (np.array(a, dtype) for a in EDGES[name])
    options = {"components": 2} if name == "mixture_density" else {}
    for i in range(len(z)):
        with np.errstate(all="raise", under="ignore"):
            value, pullback = getattr(rules, name)(
                lib.array(z[i : i + 1]), lib.array(t[i : i + 1]), **options, xp=lib.xp
            )
            (dz,) = pull(lib, pullback, np.ones((), dtype))
        finite(dtype, lib.host(value), dz)


@pytest.mark.parametrize("df", [2.5, 1e3, 1e9])
def test_learned_degrees_of_freedom_are_the_fixed_ones(df: float) -> None:
    (z,), (t, _) = CASES["student_t"][1:3]
    raw = np.full((5, 2), np.log(df - 2.0))
    value, pullback = rules.student_t(np.hstack([z, raw]), t, df=None)
    wanted, back = rules.student_t(z, t, df=df)
    close(value, wanted, 1e-9 if df < 1e6 else 1e-6)
    close(pullback()[0][:, :4], back()[0])


def test_many_degrees_of_freedom_are_gaussian() -> None:
    (z,), (t, _) = CASES["student_t"][1:3]
    raw = np.full((5, 2), 25.0)
    value, _ = rules.student_t(np.hstack([z, raw]), t, df=None)
    both = np.hstack([z[:, :2], 2.0 * z[:, 2:]])  # a log-variance is twice a log-scale
    close(value, rules.gaussian_nll(both, t)[0], 1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_dispersion_counts_are_poissons(dtype: str) -> None:
    stats = need("scipy.stats")
    t = np.array([[0.0], [1.0], [7.0], [40.0]], dtype)
    eta = np.array([[-3.0], [0.5], [2.0], [3.5]], dtype)
    for raw in (-1e4, -29.0, -20.0):
        z = np.hstack([eta, np.full_like(eta, raw)])
        value, pullback = rules.negative_binomial(z, t)
        wanted = -stats.poisson.logpmf(t, np.exp(eta.astype(float))).mean()
        tight = dtype == "float64"
        close(value, wanted, 1e-7 if tight else 1e-5)
        close(
            pullback()[0][:, :1],
            (np.exp(eta) - t) / 4.0,
            *((1e-6,) if tight else (1e-4, 1e-5)),
        )


@pytest.mark.parametrize("shape", [(5, 1), (5, 3), (4, 4)], ids=str)
@pytest.mark.parametrize("name", likelihood.__all__)
def test_outputs_of_another_width_are_refused(
    name: str, shape: tuple[int, ...], lib: Library
) -> None:
    with pytest.raises(ShapeError, match=f"^{name}: the target must have.*times the"):
        getattr(rules, name)(
            lib.array(np.ones(shape)), lib.array(np.ones((5, 2))), xp=lib.xp
        )


def test_one_gaussian_is_a_mixture_of_one() -> None:
    (z,), (t, _) = CASES["gaussian_nll"][1:3]
    one = np.hstack([np.zeros((5, 1)), z[:, :2], 0.5 * z[:, 2:]])
    value, pullback = rules.mixture_density(one, t, components=1)
    wanted, back = rules.gaussian_nll(z, t)
    close(value, 2.0 * wanted)  # of two columns, whose mean the other is
    close(pullback()[0][:, 1:3], 2.0 * back()[0][:, :2])
    close(pullback()[0][:, 3:], 4.0 * back()[0][:, 2:])
