"""
Two spirals, and the decision surface
=====================================

Two classes wind around each other, so no straight line separates them. A small network
finds the border from 800 noisy points. The colour is the probability that it gives: it
changes within a narrow band half way between the arms, and it is extreme far outside,
where there was nothing to learn from.
"""

import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr

# %%
# Points along two spirals, half a turn apart, with some noise.

rng = np.random.default_rng(0)
n = 800
labels = np.arange(n) % 2
turn = 4 * np.pi * np.sqrt(rng.uniform(0.02, 1, size=n))
angle = turn + np.pi * labels
points = turn[:, None] / np.pi * np.stack([np.cos(angle), np.sin(angle)], axis=1)
points += 0.1 * rng.normal(size=points.shape)

# %%
# One output, a logit, and the loss for yes and no. A fifth of the points is kept back.

model = cr.Model(
    cr.MLP((48, 48, 1), activation="tanh"),
    loss="binary_cross_entropy",
    optimizer=cr.AdamW(cr.schedules.CosineDecay(2e-2, decay_steps=4000)),
    metrics=["accuracy"],
    seed=0,
)
history = model.fit(points, labels, epochs=200, batch_size=32, validation_split=0.2)
print(f"accuracy on the points kept back: {history['val_accuracy'][-1]:.1%}")

# %%
# The surface is the probability of class 1 on a grid; the line is where it is one half.

side = np.linspace(-4.8, 4.8, 300)
grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
surface = model.predict_proba(grid).reshape(300, 300)

fig, ax = plt.subplots(figsize=(6.6, 5.6), layout="constrained")
image = ax.imshow(
    surface,
    cmap="coolwarm",
    alpha=0.7,
    vmin=0,
    vmax=1,
    origin="lower",
    extent=(-4.8, 4.8, -4.8, 4.8),
)
ax.contour(side, side, surface, [0.5], colors="0.2", linewidths=1)
for k, colour in enumerate(("#2b4b9b", "#b3202c")):
    inside = points[labels == k]
    ax.scatter(*inside.T, s=14, c=colour, edgecolors="white", linewidths=0.5)
ax.set(xlabel="first feature", ylabel="second feature")
ax.set_title("What the network says between the points")
ax.grid(visible=False)
fig.colorbar(image, label="probability of the red class")
plt.show()
