"""
A rule of your own, checked
===========================

tanh ends in a constant, so a network of it cannot go on with a wave beyond its data.
The activation x + sin²(a x) / a can: it is a line with a wave on it, whose frequency a
is learned. It is not in the library. A rule is a value with its pullback; one call
checks it, another shows that a mistake is found.
"""

import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr
from chainrule.testing import check_gradients

# %%
# The rule: F(x) = x + sin²(a x) / a, and what a change of its value means for x and for
# a. It uses the functions of ``xp``, so that it runs on every backend.


def snake(x, a, *, xp=np):
    """z = x + sin(a x)² / a, with x (..., rows, n) and a (..., n)."""
    a = a[..., None, :]
    s, c = xp.sin(a * x), xp.cos(a * x)
    z = x + s * s / a

    def pullback(dz):
        dx = dz * (1 + 2 * s * c)
        da = xp.sum(dz * (2 * x * s * c / a - s * s / (a * a)), axis=-2)
        return dx, da

    return z, pullback


rng = np.random.default_rng(0)
print(check_gradients(snake, rng.normal(size=(6, 3)), rng.uniform(0.5, 2, size=3)))

# %%
# The check compares with central differences. Where a gradient is twice what it should
# be, it says which and where.


def wrong(x, a, *, xp=np):
    z, pullback = snake(x, a, xp=xp)
    return z, lambda dz: (pullback(dz)[0], 2 * pullback(dz)[1])


try:
    check_gradients(wrong, rng.normal(size=(6, 3)), rng.uniform(0.5, 2, size=3))
except cr.GradientError as error:
    print(error)

# %%
# The layer says which parameters it has, and calls the rule. That is all that training,
# derivatives by the inputs and ensembles need.


class Snake(cr.Layer):
    @property
    def parameters(self):
        start = cr.initializers.Constant(3.0)
        return (cr.layers.Variable("a", self.input_shape, start),)

    def forward(self, params, x, context):
        z, pull = snake(x, *params, xp=context.xp)

        def pullback(dz, dx=True, dp=True):
            by_x, by_a = pull(dz)
            return by_x, ((by_a,) if dp and self.trainable else None)

        return z, pullback


print(
    check_gradients(cr.Sequential(cr.Dense(4), Snake(), cr.Dense(1)), np.ones((5, 2)))
)

# %%
# Two networks see a rising wave in the grey part, and are asked far beyond it.

x = np.linspace(-6, 6, 300)[:, None]


def wave(x):
    return np.sin(2 * x) + 0.3 * x


fits = {
    "tanh": cr.MLP((24, 24, 1), activation="tanh"),
    "Snake": cr.MLP((32, 1), activation=Snake()),
}
for name, network in fits.items():
    rate = cr.schedules.CosineDecay(1e-2, decay_steps=4000)
    fits[name] = cr.Model(network, optimizer=cr.Adam(rate), seed=0)
    fits[name].fit(x, wave(x), epochs=400, batch_size=32)

far = np.linspace(-15, 15, 900)[:, None]
outside = np.abs(far) > 6
fig, axes = plt.subplots(
    2, 1, figsize=(9.6, 5.4), sharex=True, sharey=True, layout="constrained"
)
for ax, (name, model) in zip(axes, fits.items(), strict=True):
    z = model.predict(far)
    error = np.sqrt(np.mean((z - wave(far))[outside] ** 2))
    print(f"{name}: root mean squared error outside the samples {error:.2f}")
    ax.axvspan(-6, 6, color="0.95", lw=0)
    ax.plot(far, wave(far), color="C1", lw=5, alpha=0.4, label="truth")
    ax.plot(far, z, color="C0", lw=1.6, label="network")
    ax.set(
        title=f"{name}: error {error:.2f} outside",
        ylabel="y",
        xlim=(-15, 15),
        ylim=(-6.5, 6.5),
    )
    ax.text(0, -5.8, "samples", ha="center", color="0.45")
axes[0].legend(loc="upper left")
axes[1].set_xlabel("x")
plt.show()
