"""
The same run on three backends
==============================

The layers' math is written once, and NumPy, JAX and PyTorch run it. The seed gives the
same weights and the same order of batches on each, bit for bit. So the runs differ by
rounding alone: in float64 by a few 1e-15 after 1,600 steps. Longer training, or
float32, amplifies it more, as it does any change.
"""

import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr

# %%
# Those of the three that are installed take part.

here = cr.backends.available()
names = [name for name in here if name != "cupy"]
print(here)

# %%
# A callback notes the parameters after each epoch, as NumPy arrays.


class Diary(cr.callbacks.Callback):
    def on_train_begin(self, logs):
        self.pages = []

    def on_epoch_end(self, epoch, logs):
        theta, _ = self.model.get_weights()
        self.pages.append(theta)


rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, size=(256, 2))
y = np.sin(3 * x[:, :1]) * x[:, 1:]

losses, diaries = {}, {}
for name in names:
    model = cr.Model(
        cr.MLP((24, 24, 1), activation="tanh"),
        optimizer=cr.Adam(cr.schedules.CosineDecay(1e-2, decay_steps=1600)),
        dtype="float64",
        backend=name,
        seed=0,
    )
    diaries[name] = Diary()
    history = model.fit(x, y, epochs=200, batch_size=32, callbacks=[diaries[name]])
    losses[name] = np.array(history["loss"])

# %%
# The distance is the largest difference of any parameter from NumPy's.

first = np.array(diaries["numpy"].pages)
apart = {
    name: np.abs(np.array(diaries[name].pages) - first).max(axis=1)
    for name in names[1:]
}
print(f"the largest parameter is {np.abs(first[-1]).max():.1f}")
for name, distance in apart.items():
    print(
        f"{name} and numpy differ by {distance[0]:.1e} after the first epoch, "
        f"{distance[-1]:.1e} after the last"
    )

# %%
# The losses cannot be told apart by eye. On the right, how far apart they are.

fig, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.2), layout="constrained")
epochs = np.arange(1, 201)
for name, width, style in zip(names, (7, 3.5, 1.2), ("-", "-", "--"), strict=False):
    colour = {"numpy": "C4", "jax": "C0", "torch": "0.1"}[name]
    left.semilogy(epochs, losses[name], style, color=colour, lw=width, label=name)
left.set(xlabel="epoch", ylabel="training loss", title="Three runs, one curve")
left.legend()
for (name, distance), colour in zip(apart.items(), ("C0", "C1"), strict=False):
    right.semilogy(epochs, distance, color=colour, label=f"{name} and numpy")
right.axhline(np.finfo(float).eps, color="0.4", lw=1, ls="--")
right.text(
    200, 1.3 * np.finfo(float).eps, "float64's rounding of 1", ha="right", color="0.4"
)
right.set(xlabel="epoch", ylabel="largest difference of a parameter")
right.set(title="How far apart they are", ylim=(1e-16, None))
right.legend(loc="center right")
plt.show()
