"""
64 learning rates in one pass
=============================

Which learning rate is right? Try 64 of them at once: the members of an ensemble share
every pass over the data, and each may have a rate of its own. The curve of the final
losses then shows how wide the good range is, which one trial alone does not tell.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import chainrule as cr

# %%
# A noisy surface of two inputs.

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, size=(512, 2))
y = np.sin(3 * x[:, :1]) * x[:, 1:] + 0.05 * rng.normal(size=(512, 1))
x_new = rng.uniform(-1, 1, size=(1000, 2))
y_new = np.sin(3 * x_new[:, :1]) * x_new[:, 1:]

# %%
# One model with 64 members, and a schedule for each, which falls from its own rate.
# Members begin with weights of their own; here all get those of the first, so that they
# differ by the rate alone.

rates = np.logspace(-5, 0.5, 64)
epochs, steps = 60, 60 * 16
network = cr.MLP((24, 24, 1), activation="gelu_tanh")
schedules = [cr.schedules.CosineDecay(rate, decay_steps=steps) for rate in rates]
sweep = cr.Model(network, optimizer=cr.Adam(schedules), members=64, seed=0).build(2)
theta, state = sweep.get_weights()
sweep.set_weights((np.tile(theta[0], (64, 1)), state))

start = time.perf_counter()
history = sweep.fit(x, y, epochs=epochs, batch_size=32)
together = time.perf_counter() - start

# %%
# For comparison, one network alone.

alone = cr.Model(network, optimizer=cr.Adam(schedules[32]), seed=0)
start = time.perf_counter()
alone.fit(x, y, epochs=epochs, batch_size=32)
once = time.perf_counter() - start
print(f"64 members took {together / once:.0f} times as long as one network")

# %%
# ``member`` takes a network out of the ensemble, here the best on new data.

error = ((sweep.predict_members(x_new) - y_new) ** 2).mean(axis=(1, 2))
best = int(error.argmin())
print(f"best rate {rates[best]:.2g}: squared error on new data {error[best]:.1e}")
model = sweep.member(best)
assert np.isclose(model.evaluate(x_new, y_new)["loss"], error[best], rtol=1e-3)

# %%
# Small rates do not arrive in 60 epochs, large ones go astray; between them lies a
# range of rates that are about as good as one another.

fig, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.2), layout="constrained")
norm, cmap = LogNorm(rates[0], rates[-1]), plt.get_cmap("viridis")
losses = np.array(history["member_loss"])  # (epochs, members)
for rate, curve in zip(rates, losses.T, strict=True):
    left.semilogy(curve, color=cmap(norm(rate)), lw=1)
left.set(xlabel="epoch", ylabel="training loss", ylim=(1e-3, 30))
left.set(title="64 fits, one pass")
colours = plt.cm.ScalarMappable(norm, cmap)
fig.colorbar(colours, ax=left, label="learning rate")
right.loglog(rates, error, color="0.75", lw=1, zorder=1)
right.scatter(rates, error, c=rates, cmap=cmap, norm=norm, s=22, zorder=2)
right.plot(rates[best], error[best], "o", ms=12, mfc="none", mec="C1", mew=2)
right.annotate(
    f"best: {rates[best]:.2g}",
    (rates[best], error[best]),
    xytext=(0, -18),
    textcoords="offset points",
    ha="center",
)
right.set(xlabel="learning rate", ylabel="squared error on new data")
right.set(title="Where each of them ends", ylim=(error.min() / 4, None))
plt.show()
