"""
A rare class, and what weights do
=================================

One sample in thirty is of the class that matters: a fault, a fraud, an illness. A
classifier that says "no" to everything is right in 97 cases of 100. Weights of the
classes move its border: more of the rare cases are found, and more of the others are
suspected. Which is better is not for the network to say.
"""

import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr

# %%
# The rare class is a cloud within reach of the common one.


def draw(seed, n=3000):
    rng = np.random.default_rng(seed)
    labels = (rng.uniform(size=n) < 1 / 30).astype(int)
    common = rng.normal(size=(n, 2)) * (1.4, 0.8)
    rare = rng.normal(size=(n, 2)) * 0.55 + (1.1, 1.3)
    return np.where(labels[:, None], rare, common), labels


x, y = draw(seed=0)
test, y_test = draw(seed=1, n=20_000)
print(f"{y.sum()} of {len(y)} samples are of the rare class")

# %%
# Weights from 1 to 30; the last makes both classes count alike.

weights = [1, 2, 5, 10, 30]
models, recall, precision = [], [], []
for weight in weights:
    model = cr.Model(
        cr.MLP((24, 24, 1), activation="tanh"),
        loss=cr.losses.BinaryCrossEntropy(class_weight=(1, weight)),
        optimizer=cr.AdamW(cr.schedules.CosineDecay(1e-2, decay_steps=1400)),
        seed=0,
    )
    model.fit(x, y, epochs=30, batch_size=64)
    found = model.predict_proba(test)[:, 0] > 0.5
    models.append(model)
    recall.append(found[y_test == 1].mean())
    precision.append(y_test[found].mean())
    print(
        f"weight {weight:>2}: finds {recall[-1]:.0%} of the rare class, "
        f"{precision[-1]:.0%} of its alarms are right, "
        f"accuracy {(found == y_test).mean():.1%}"
    )

# %%
# The borders of two of them, and the trade between the two numbers, on new samples.

fig, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
side_x, side_y = np.linspace(-4, 4, 200), np.linspace(-2.6, 3.4, 200)
grid = np.stack(np.meshgrid(side_x, side_y), axis=-1).reshape(-1, 2)
for ax, k in ((axes[0], 0), (axes[1], 4)):
    surface = models[k].predict_proba(grid).reshape(200, 200)
    ax.contourf(side_x, side_y, surface, levels=[0.5, 1], colors=["C1"], alpha=0.25)
    ax.contour(side_x, side_y, surface, levels=[0.5], colors="0.2", linewidths=1)
    ax.plot(*x[y == 0].T, ".", ms=2, color="C0", alpha=0.5, label="common")
    ax.plot(*x[y == 1].T, "o", ms=4, color="C1", mec="white", mew=0.4, label="rare")
    ax.set(
        xlim=(-4, 4), ylim=(-2.6, 3.4), title=f"Weight of the rare class: {weights[k]}"
    )
    ax.set(xlabel="first feature")
    ax.grid(visible=False)
axes[0].set_ylabel("second feature")
axes[0].legend(loc="lower left", markerscale=1.5)

axes[2].plot(recall, precision, "-o", color="C2")
for r, p, weight in zip(recall, precision, weights, strict=True):
    axes[2].annotate(f"{weight}", (r, p), xytext=(6, 4), textcoords="offset points")
axes[2].set(xlim=(0, 1.05), ylim=(0, 1.05), title="The trade, for weights of 1 to 30")
axes[2].set_xlabel("recall: share of the rare class that is found")
axes[2].set_ylabel("precision: share of alarms that are right")
plt.show()
