"""
Counts: Poisson regression
==========================

How many bicycles pass in an hour? Counts are not negative, and they scatter the more
the higher they are, by the square root of their rate. The Poisson loss knows both: the
network's output is the logarithm of the rate. A fit of squares knows neither: it
attends to the rush hours, where numbers and scatter are large, and is careless at
night.
"""

import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr

# %%
# Four weeks at one counter. On working days there are two rushes, at the weekend one
# long afternoon, and at night hardly anybody.

rng = np.random.default_rng(0)


def true_rate(hour, weekend):
    def peak(centre, width):
        return np.exp(-0.5 * ((hour - centre) / width) ** 2)

    work = 60 * peak(8, 1) + 70 * peak(17, 1.6) + 18 * peak(13, 3)
    return 0.3 + np.where(weekend, 45 * peak(14.5, 3), work)


hour = np.tile(np.arange(24) + 0.5, 28)
weekend = np.repeat(np.arange(28) % 7 >= 5, 24)
count = rng.poisson(true_rate(hour, weekend))


def features(hour, weekend):
    """The hour as a point on the clock's face, so that 24 is 0, and the day's kind."""
    angle = 2 * np.pi * hour / 24
    return np.stack([np.cos(angle), np.sin(angle), 1.0 * weekend], axis=1)


# %%
# The same network with both losses.

models = {
    loss: cr.Model(
        cr.MLP((24, 24, 1), activation="tanh"),
        loss=loss,
        optimizer=cr.Adam(cr.schedules.CosineDecay(1e-2, decay_steps=6600)),
        seed=0,
    )
    for loss in ("poisson", "squared_error")
}
for model in models.values():
    model.fit(features(hour, weekend), count, epochs=300, batch_size=32)

# %%
# The rate is the exponential of the Poisson network's output.

fine = np.linspace(0, 24, 289)
truth, rate, squares = {}, {}, {}
for day, weekend_day in (("Working day", False), ("Weekend", True)):
    inputs = features(fine, np.full(len(fine), weekend_day))
    truth[day] = true_rate(fine, weekend_day)
    rate[day] = np.exp(models["poisson"].predict(inputs)[:, 0])
    squares[day] = models["squared_error"].predict(inputs)[:, 0]

night = truth["Working day"] < 1
for name, fit in (("Poisson loss", rate), ("squared error", squares)):
    off = np.abs(fit["Working day"] / truth["Working day"] - 1)
    print(
        f"{name}: off by {np.median(off[night]):.0%} where fewer than one passes, "
        f"by {np.median(off[~night]):.0%} elsewhere (medians)"
    )

# %%
# Nine in ten counts should lie within the band, which is drawn by sampling from the
# rate. On the right both losses, on a logarithmic axis: there a factor is a length.

fig, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
for ax, day in zip(axes, rate, strict=False):
    draws = rng.poisson(rate[day], (4000, len(fine)))
    band = np.quantile(draws, (0.05, 0.95), axis=0)
    ax.fill_between(fine, *band, color="C0", alpha=0.2, lw=0, label="90 % of counts")
    ax.plot(fine, rate[day], color="C0", lw=2, label="rate")
    ax.plot(fine, truth[day], color="0.2", lw=1.2, ls="--", label="true rate")
    seen = weekend == (day == "Weekend")
    ax.plot(hour[seen], count[seen], ".", ms=3, color="C1", alpha=0.5, zorder=1)
    ax.set(title=day, ylim=(-3, 110))
axes[0].set_ylabel("bicycles in an hour")
axes[1].legend(loc="upper right")

axes[2].semilogy(fine, rate["Working day"], color="C0", lw=2, label="Poisson loss")
axes[2].semilogy(fine, squares["Working day"], color="C3", lw=2, label="squared error")
axes[2].semilogy(fine, truth["Working day"], "--", color="0.2", lw=1.2, label="truth")
axes[2].set_title("Working day, both losses")
axes[2].legend(loc="lower center")
for ax in axes:
    ax.set(xlabel="hour of the day", xticks=range(0, 25, 6))
plt.show()
