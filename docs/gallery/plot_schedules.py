"""
Learning-rate schedules and early stopping
==========================================

Two ways to end a fit well. A schedule lets the learning rate fall, so that the steps
become small where the noise of the batches would keep large ones from settling. Early
stopping watches samples that are not trained on, and returns to the epoch that was best
for them.
"""

import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr

# %%
# A function of three inputs, with noise: 400 samples to train on, 600 to watch.

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, size=(1000, 3))
signal = np.sin(3 * x[:, :1]) * x[:, 1:2] + x[:, 2:] ** 2
y = signal + 0.2 * rng.normal(size=signal.shape)
train, watched = (x[:400], y[:400]), (x[400:], y[400:])


def network(rate):
    return cr.Model(
        cr.MLP((64, 64, 1), activation="relu"), optimizer=cr.Adam(rate), seed=0
    )


# %%
# The same start and the same highest rate for each schedule, and 60 epochs of 25 steps.
# The constant rate ends highest, and where it ends is chance.

steps = 60 * 25
s = cr.schedules
schedules = {
    "constant": s.Constant(1e-2),
    "steps": s.StepDecay(1e-2, every=steps // 4, factor=0.3),
    "1/t": s.InverseTimeDecay(1e-2, decay_steps=steps // 5),
    "cosine": s.CosineDecay(1e-2, decay_steps=steps, warmup_steps=steps // 20),
}
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, schedule in schedules.items():
    history = network(schedule).fit(*train, epochs=60, batch_size=16)
    left.plot(np.arange(steps) / 25, [schedule(k) for k in range(steps)], label=name)
    right.plot(history["loss"], label=name)
    print(f"{name:>8}: training loss of the last epoch {history['loss'][-1]:.4f}")
left.set(xlabel="epoch", ylabel="learning rate", title="Four schedules")
left.legend()
right.set(xlabel="epoch", ylabel="training loss", title="What they make of it")
right.set_ylim(0.02, 0.12)
plt.show()

# %%
# A network that is too large for its samples, here 120 of them, goes on to learn their
# noise. With others to watch, the fit ends 20 epochs after the best one, whose weights
# come back.

few = (x[:120], y[:120])
stopping = cr.EarlyStopping(patience=20)
model = network(3e-3)
history = model.fit(
    *few, epochs=300, batch_size=16, validation_data=watched, callbacks=[stopping]
)
on = network(3e-3)  # the same fit, without the callback
whole = on.fit(*few, epochs=150, batch_size=16, validation_data=watched)
print(f"best epoch {stopping.best_epoch}, the last one {stopping.stopped_epoch}")
print(
    f"error on the watched samples: stopped {model.evaluate(*watched)['loss']:.4f}, "
    f"after 150 epochs {on.evaluate(*watched)['loss']:.4f}"
)

# %%
# The grey part of the curves is what the callback saved.

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(whole["loss"], color="C0", label="120 samples in training")
ax.plot(whole["val_loss"], color="C1", label="600 that are watched")
ax.axhline(0.2**2, color="0.4", lw=1, ls="--", label="variance of the noise")
ax.plot(stopping.best_epoch, stopping.best, "o", color="C3", ms=8, label="best epoch")
ax.axvspan(stopping.stopped_epoch, 149, color="0.94", lw=0)
ax.text(112, 0.05, "not trained", ha="center", color="0.45")
ax.set(xlabel="epoch", ylabel="squared error", title="Early stopping", ylim=(0, 0.2))
ax.legend(loc="upper right")
plt.show()
