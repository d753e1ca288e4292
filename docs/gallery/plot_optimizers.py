"""
Levenberg-Marquardt, L-BFGS and Adam on one fit
===============================================

Three optimizers fit the same network to the same smooth curve, from the same weights,
with about the same time each. Levenberg-Marquardt uses that the loss is a sum of
squares, L-BFGS learns the curvature from gradients, Adam sees a batch at a time. On a
small problem without noise the first goes furthest by far. With many parameters, many
samples or much noise it would not: its iterations are then too expensive, and their
precision is of no use.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr

# %%
# A wave whose frequency rises, on 200 points.

x = np.linspace(-1, 1, 200)[:, None]
y = np.sin(3 * (x + 1) ** 2)


class Clock(cr.callbacks.Callback):
    """Notes the seconds since the fit began, after each epoch."""

    def on_train_begin(self, logs):
        self.start, self.seconds = time.perf_counter(), []

    def on_epoch_end(self, epoch, logs):
        self.seconds.append(time.perf_counter() - self.start)


# %%
# The numbers of epochs are chosen so that each takes about as long. Adam gets batches
# of 20 and a rate that falls along a cosine from 0.05, the best of five that were
# tried. The other two always see all samples.

runs = {
    "Adam": (cr.Adam(cr.schedules.CosineDecay(5e-2, decay_steps=16_000)), 1600),
    "L-BFGS": (cr.LBFGS(), 4000),
    "Levenberg-Marquardt": (cr.LevenbergMarquardt(), 800),
}
curves = {}
for name, (optimizer, epochs) in runs.items():
    model = cr.Model(
        cr.MLP((20, 1), activation="tanh"),
        optimizer=optimizer,
        dtype="float64",
        seed=0,
    )
    clock = Clock()
    history = model.fit(x, y, epochs=epochs, batch_size=20, callbacks=[clock])
    curves[name] = np.array(clock.seconds), np.array(history["loss"]), model
    print(
        f"{name:>20}: {history.epochs:>5} epochs, {clock.seconds[-1]:.1f} s, "
        f"loss {history['loss'][-1]:.1e}"
    )

# %%
# The loss over the time that it took, and the error that each leaves.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(10.5, 4.2), width_ratios=(1.2, 1), layout="constrained"
)
for name, (seconds, loss, model) in curves.items():
    left.loglog(seconds, loss, lw=1.5, label=name)
    right.semilogy(x, np.abs(model.predict(x) - y), lw=1.2)
left.set(xlabel="seconds since the fit began", ylabel="squared error")
left.set_title("Loss over time")
left.legend(loc="lower left")
right.set(xlabel="x", ylabel="absolute error", title="What each leaves")
plt.show()
