"""
A parabola, its slope and its curvature
=======================================

A network of 16 hidden nodes learns f(x) = x² from 41 points. What it learned can be
differentiated: ``jacobian`` and ``hessian`` are exact derivatives of the network, not
differences. So the picture shows how well the fit knows the slope, 2x, and the
curvature, 2, although it never saw either.
"""

import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr

# %%
# Levenberg-Marquardt is made for small least-squares problems like this one. An epoch
# is one of its iterations, on all samples.

x = np.linspace(-1, 1, 41)[:, None]
y = x**2

model = cr.Model(
    cr.MLP((16, 1), activation="tanh"),
    optimizer=cr.LevenbergMarquardt(),
    dtype="float64",
    seed=0,
)
history = model.fit(x, y, epochs=150)
print(
    f"squared error after {len(history['loss'])} iterations: {history['loss'][-1]:.1e}"
)

# %%
# Between the samples, too, the fit and its first two derivatives are right. Each
# derivative costs about two digits.

fine = np.linspace(-1, 1, 501)[:, None]
value = model.predict(fine)[:, 0]
slope = model.jacobian(fine)[:, 0, 0]
curvature = model.hessian(fine)[:, 0, 0]

# %%
# Above, the network over the truth; below, the absolute error of each.

t = fine[:, 0]
columns = [
    ("f(x) = x²", value, t**2),
    ("slope f'(x) = 2x", slope, 2 * t),
    ("curvature f''(x) = 2", curvature, np.full_like(t, 2)),
]
fig, axes = plt.subplots(
    2, 3, figsize=(10, 5), sharex=True, sharey="row", layout="constrained"
)
for (title, fit, truth), top, bottom in zip(columns, axes[0], axes[1], strict=True):
    top.plot(t, truth, color="C1", lw=6, alpha=0.4, label="truth")
    top.plot(t, fit, color="C0", lw=1.6, label="network")
    top.set_title(title)
    bottom.semilogy(t, np.abs(fit - truth), color="C0", lw=1)
    bottom.set_xlabel("x")
    print(f"{title}: largest error {np.abs(fit - truth).max():.1e}")
axes[0, 0].plot(x, y, ".", color="0.25", label="41 samples")
axes[0, 0].legend(loc="lower right")
axes[1, 0].set_ylabel("absolute error")
plt.show()
