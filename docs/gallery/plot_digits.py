"""
Handwritten digits, and the mistakes
====================================

A classifier of digits of 8 by 8 pixels gets nearly all of them right. The ones that it
gets wrong tell more than its score: some are hard for a reader, too, and for some it
was sure of itself and wrong. The probabilities tell how sure.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import chainrule as cr

# %%
# Half of the 1,797 images are for training, the other half is only looked at in the
# end.

images, labels = load_digits(return_X_y=True)
train, test, y_train, y_test = train_test_split(
    images / 16, labels, test_size=0.5, random_state=0, stratify=labels
)

# %%
# Dropout and a little weight decay, since 900 images are few.

model = cr.Model(
    cr.Sequential(cr.Dense(128), cr.ReLU(), cr.Dropout(0.3), cr.Dense(10)),
    loss="cross_entropy",
    optimizer=cr.AdamW(cr.schedules.CosineDecay(3e-3, decay_steps=2900)),
    metrics=["accuracy"],
    seed=0,
)
model.fit(train, y_train, epochs=100, batch_size=32)
scores = model.evaluate(test, y_test)
print(f"accuracy on the other half: {scores['accuracy']:.1%}")

# %%
# The twelve mistakes of which the network was most certain. The bars are the
# probabilities of all ten digits: blue is the true digit, orange the one that the
# network chose.

probability = model.predict_proba(test)
guess, sure = probability.argmax(axis=1), probability.max(axis=1)
wrong = np.flatnonzero(guess != y_test)
wrong = wrong[np.argsort(-sure[wrong])]
print(f"{len(wrong)} mistakes in {len(y_test)} images")
print(f"median probability of a right answer: {np.median(sure[guess == y_test]):.3f}")
print(f"and of a wrong one: {np.median(sure[wrong]):.3f}")

fig = plt.figure(figsize=(9.6, 6.2), layout="constrained")
fig.suptitle("Twelve mistakes, the most certain first", fontweight="bold")
panels = fig.subfigures(3, 4).ravel()
for panel, i in zip(panels, wrong[:12], strict=True):
    picture, bars = panel.subplots(1, 2)
    picture.imshow(test[i].reshape(8, 8), cmap="gray_r")
    picture.axis("off")
    colours = np.full(10, "0.8", dtype=object)
    colours[y_test[i]], colours[guess[i]] = "C0", "C1"
    bars.barh(range(10), probability[i], color=colours)
    bars.set(xlim=(0, 1), xticks=(), yticks=range(10), ylim=(9.6, -0.6))
    bars.tick_params(labelsize=7, length=0)
    bars.grid(visible=False)
    panel.suptitle(f"a {y_test[i]}, taken for a {guess[i]}", fontsize=9)
plt.show()
