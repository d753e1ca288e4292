"""
Learning from slopes, too
=========================

A simulation, or a physical law, often gives the derivative along with the value. A
network can be fitted to both. With eight samples of a wave, values alone leave the
curve open between them; the slopes close it.
"""

import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr

# %%
# Eight samples, and the slope at each.


def wave(x):
    return np.sin(5 * x) * np.exp(-x / 2)


def wave_slope(x):
    return (5 * np.cos(5 * x) - np.sin(5 * x) / 2) * np.exp(-x / 2)


x = np.linspace(0, 3, 8)[:, None]

# %%
# The same network twice, from the same weights. The second fit gets ``slopes`` as well,
# of the shape of the Jacobian: here one number for each sample.


def network():
    rate = cr.schedules.CosineDecay(1e-2, decay_steps=3000)
    return cr.Model(
        cr.MLP((32, 32, 1), activation="tanh"),
        optimizer=cr.Adam(rate),
        dtype="float64",
        seed=1,
    )


values, both = network(), network()
values.fit(x, wave(x), epochs=3000)
both.fit(x, wave(x), slopes=wave_slope(x), slope_weight=0.1, epochs=3000)

# %%
# Both go through the eight points. Only one of them knows what happens between.

grid = np.linspace(0, 3, 400)[:, None]
fig, axes = plt.subplots(
    2, 2, figsize=(9.6, 5.6), sharex=True, sharey="row", layout="constrained"
)
for (top, bottom), (title, model) in zip(
    axes.T,
    {"Values alone": values, "Values and slopes": both}.items(),
    strict=True,
):
    error = np.sqrt(np.mean((model.predict(grid) - wave(grid)) ** 2))
    print(f"{title}: root mean squared error between the samples {error:.3f}")
    top.plot(grid, wave(grid), color="C1", lw=5, alpha=0.4, label="truth")
    top.plot(grid, model.predict(grid), color="C0", lw=1.8, label="network")
    top.plot(x, wave(x), "o", ms=5, color="0.2", label="samples")
    top.set_title(f"{title}: error {error:.3f}")
    bottom.plot(grid, wave_slope(grid), color="C1", lw=5, alpha=0.4)
    bottom.plot(grid, model.jacobian(grid)[:, 0], color="C0", lw=1.8)
    bottom.set_xlabel("x")
dx = 0.09
for t in x[:, 0]:  # short strokes along the slopes that the second fit was given
    rise = wave_slope(t) * dx
    axes[0, 1].plot([t - dx, t + dx], [wave(t) - rise, wave(t) + rise], color="0.2")
axes[1, 1].plot(x, wave_slope(x), "o", ms=5, color="0.2")
axes[0, 0].legend(loc="upper right")
axes[0, 0].set_ylabel("value")
axes[1, 0].set_ylabel("slope")
plt.show()
