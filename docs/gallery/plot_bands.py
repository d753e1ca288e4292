"""
Three kinds of bands around one noisy curve
===========================================

"How sure is it?" is several questions. An ensemble says how far fits differ that began
elsewhere and saw other samples; Laplace's approximation says how well the data
determine this one fit; quantiles say where new observations will lie. The three bands
of the same data differ, because they answer different questions.
"""

import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr

# %%
# A curve whose noise grows to the right, with a gap in the middle where nothing was
# measured.

rng = np.random.default_rng(4)
x = rng.uniform(-2, 2, size=500)
x = np.sort(x[(x < -0.3) | (x > 0.6)])[:, None]


def curve(x):
    return np.sin(2 * x) + 0.3 * x


noise = 0.06 + 0.08 * (x + 2)
y = curve(x) + noise * rng.normal(size=x.shape)

# %%
# **Ensemble.** Twenty networks, trained in one pass, each on a bootstrap sample of its
# own.

ensemble = cr.Model(
    cr.MLP((24, 24, 1), activation="gelu_tanh"),
    optimizer=cr.Adam(cr.schedules.CosineDecay(2e-2, decay_steps=2800)),
    members=20,
    seed=0,
)
ensemble.fit(x, y, epochs=400, batch_size=64, bootstrap=True)

# %%
# **Laplace.** One small network, fitted by least squares to the optimum. The covariance
# of its parameters there, carried to the output, is the band. It sees one optimum, and
# takes the noise to be the same everywhere.

laplace = cr.Model(
    cr.MLP((3, 1), activation="tanh"),
    optimizer=cr.LevenbergMarquardt(),
    dtype="float64",
    seed=0,
)
laplace.fit(x, y, epochs=200)

# %%
# **Quantiles.** Two networks whose losses ask for the 5 % and the 95 % quantile: nine
# in ten observations should lie between them.

low, high = (
    cr.Model(
        cr.MLP((12, 12, 1), activation="tanh"),
        loss=cr.losses.Quantile(q),
        optimizer=cr.Adam(cr.schedules.CosineDecay(1e-2, decay_steps=2400)),
        seed=0,
    )
    for q in (0.05, 0.95)
)
for model in (low, high):
    model.fit(x, y, epochs=200, batch_size=32)

# %%
# The first two bands are about the curve: they hold it, they open in the gap, and most
# new observations lie outside, since the noise is not in them. The quantiles are about
# observations, and hold about nine in ten. They know nothing of the gap: across it the
# band is a guess, and it need not hold the curve.

grid = np.linspace(-2.2, 2.2, 400)[:, None]
new = rng.uniform(-2, 2, size=(2000, 1))
seen = new[(new < -0.3) | (new > 0.6)][:, None]
noise = 0.06 + 0.08 * (seen + 2)
observed = curve(seen) + noise * rng.normal(size=seen.shape)


def two_deviations(model, x, **method):
    mean, std = model.predict(x, return_std=True, **method)
    return mean - 2 * std, mean + 2 * std


bands = {
    "Ensemble: mean ± 2 std": lambda x: two_deviations(ensemble, x),
    "Laplace: fit ± 2 std": lambda x: two_deviations(laplace, x, method="laplace"),
    "Quantiles: 5 % to 95 %": lambda x: (low.predict(x), high.predict(x)),
}
fig, axes = plt.subplots(
    1, 3, figsize=(11, 4), sharex=True, sharey=True, layout="constrained"
)
for ax, (title, band) in zip(axes, bands.items(), strict=True):
    bottom, top = band(seen)
    inside = np.mean((observed > bottom) & (observed < top))
    inside_curve = np.mean((curve(seen) > bottom) & (curve(seen) < top))
    print(f"{title}: {inside:.0%} of new observations, {inside_curve:.0%} of the curve")
    bottom, top = band(grid)
    ax.axvspan(-0.3, 0.6, color="0.94", lw=0)
    ax.fill_between(grid[:, 0], bottom[:, 0], top[:, 0], color="C0", alpha=0.25, lw=0)
    ax.plot(grid, (bottom + top) / 2, color="C0", lw=1.5, label="middle of the band")
    ax.plot(grid, curve(grid), color="0.2", lw=1.2, ls="--", label="truth")
    ax.plot(x, y, ".", ms=3, color="C1", alpha=0.7, label="samples")
    ax.set(title=title, xlabel="x", ylim=(-2.4, 2.4), xlim=(-2.2, 2.2))
    ax.text(0.15, -2.25, "no samples", ha="center", color="0.45", fontsize=9)
axes[0].set_ylabel("y")
axes[0].legend(loc="upper left")
plt.show()
