"""
Finding wrong labels
====================

Some of the labels of a data set are wrong, as they always are. Each sample pulls at the
parameters by the gradient of its own loss; a sample with a wrong label pulls harder
than the others, against what they agree on. ``sample_gradients`` returns all those
gradients, and their norms make a list of what to look at first.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import chainrule as cr

# %%
# The digits of 8 by 8 pixels, with one label in twenty changed to another one.

images, truth = load_digits(return_X_y=True)
images = images / 16
rng = np.random.default_rng(0)
changed = rng.uniform(size=len(truth)) < 0.05
labels = np.where(changed, (truth + rng.integers(1, 10, size=len(truth))) % 10, truth)
print(f"{changed.sum()} of {len(labels)} labels are wrong")

# %%
# A small network and a short fit: long enough to learn what digits look like, too short
# to learn the wrong labels by heart.

model = cr.Model(
    cr.MLP((32, 10), activation="tanh"),
    loss="cross_entropy",
    optimizer=cr.AdamW(3e-3, weight_decay=0.1),
    seed=0,
)
model.fit(images, labels, epochs=15, batch_size=32)

# %%
# One gradient by all parameters for each sample, and its norm.

gradients = model.sample_gradients(images, labels)
pull = np.linalg.norm(gradients, axis=1)
order = np.argsort(-pull)
print(f"gradients: {gradients.shape}")
first = changed[order[: changed.sum()]]
print(f"of the {len(first)} that pull hardest, {first.sum()} have a wrong label")

# %%
# The images are the twelve that pull hardest, with the labels that they carry: orange
# where the label was changed, blue where it was not.

found = np.cumsum(changed[order]) / changed.sum()
fig = plt.figure(figsize=(10.5, 4.4), layout="constrained")
left, right = fig.subfigures(1, 2, width_ratios=(1, 1.05))
ax, below = left.subplots(2, 1)
bins = np.linspace(0, pull.max(), 40)
ax.hist([pull[~changed], pull[changed]], bins, stacked=True, label=["right", "wrong"])
ax.set(xlabel="norm of a sample's gradient", ylabel="samples", yscale="log")
ax.set_title("Wrong labels pull harder")
ax.legend(title="label is")
below.plot(100 * np.arange(1, len(found) + 1) / len(found), 100 * found, color="C1")
below.plot([0, 100], [0, 100], color="0.5", lw=1, ls="--")
below.set(xlabel="% of all samples looked at", ylabel="% of the wrong\nlabels found")

right.suptitle("The twelve that pull hardest", fontweight="bold", fontsize=11)
for ax, i in zip(right.subplots(3, 4).ravel(), order, strict=False):
    ax.imshow(images[i].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"label {labels[i]}", color="C1" if changed[i] else "C0", fontsize=10)
    ax.axis("off")
plt.show()
