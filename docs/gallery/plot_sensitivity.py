"""
A surrogate of five inputs, and what it is sensitive to
=======================================================

The pressure that a pipe loses depends on its length and diameter, on the speed and
viscosity of the flow, and on the roughness of the wall, through an equation that has to
be solved by iteration. A network learns it from 2,000 solutions. Its exact Jacobian
then says what counts: by how many per cent the loss of pressure changes if an input
changes by one per cent.
"""

import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr

# %%
# Water-like flow in rough pipes: Darcy's law, with Colebrook's friction factor.

names = ["length", "diameter", "speed", "viscosity", "roughness"]
lowest = np.array([1, 0.02, 0.3, 3e-7, 2e-6])  # m, m, m/s, m²/s, m
highest = np.array([100, 0.5, 5, 3e-6, 1e-3])


def pressure_loss(inputs):
    """Return the loss in pascals, for water's density, and the Reynolds number."""
    length, diameter, speed, viscosity, roughness = inputs.T
    reynolds = speed * diameter / viscosity
    root = np.full_like(reynolds, 7.0)  # 1 / sqrt(friction factor)
    for _ in range(30):
        root = -2 * np.log10(roughness / diameter / 3.7 + 2.51 * root / reynolds)
    return 500 * length / diameter * speed**2 / root**2, reynolds


rng = np.random.default_rng(0)
x = rng.uniform(np.log(lowest), np.log(highest), size=(3000, 5))  # logarithms
loss, reynolds = pressure_loss(np.exp(x))

# %%
# Inputs and output go in as logarithms, scaled to about -1 to 1. A derivative between
# logarithms is the change in per cent for one per cent, an *elasticity*.

middle, half = np.log(lowest * highest) / 2, np.log(highest / lowest) / 2
shift, scale = np.log(loss).mean(), np.log(loss).std()
inputs = (x - middle) / half
target = (np.log(loss)[:, None] - shift) / scale
train, test = slice(0, 2000), slice(2000, None)

model = cr.Model(
    cr.MLP((32, 32, 1), activation="tanh"),
    optimizer=cr.Adam(cr.schedules.CosineDecay(1e-2, decay_steps=6300)),
    seed=0,
)
model.fit(inputs[train], target[train], epochs=200, batch_size=64)
error = np.abs(np.expm1(scale * (model.predict(inputs[test]) - target[test])))
print(f"median error on new pipes {np.median(error):.2%}, largest {error.max():.1%}")

# %%
# The Jacobian by the scaled inputs, in units of the logarithms. The same derivatives by
# differences of the equation itself say how good they are.

elasticity = model.jacobian(inputs[test])[:, 0] * scale / half
step = 1e-4 * np.eye(5)
truth = np.stack(
    [
        np.log(
            pressure_loss(np.exp(x[test] + d))[0]
            / pressure_loss(np.exp(x[test] - d))[0]
        )
        / 2e-4
        for d in step
    ],
    axis=1,
)
print(f"error of the elasticities: {np.sqrt(np.mean((elasticity - truth) ** 2)):.3f}")

# %%
# A dot is a pipe. Length counts as it must, one for one. In slow, narrow or viscous
# flow (a low Reynolds number, dark) viscosity counts; in fast flow (bright) it hardly
# does.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(10.5, 4.6), width_ratios=(1.7, 1), layout="constrained"
)
for k in range(5):
    # Dots are spread in height as far as there are many: the outline is a histogram.
    counts, edges = np.histogram(elasticity[:, k], bins=20)
    width = counts[np.clip(np.searchsorted(edges, elasticity[:, k]) - 1, 0, 19)]
    height = k + 0.4 * width / counts.max() * rng.uniform(-1, 1, size=len(width))
    dots = left.scatter(
        elasticity[:, k],
        height,
        c=reynolds[test],
        s=7,
        cmap="viridis",
        norm="log",
        lw=0,
    )
left.axvline(0, color="0.3", lw=1)
left.set_yticks(range(5), names)
left.invert_yaxis()
left.grid(visible=False, axis="y")
left.set_xlabel("change of the pressure loss, in % per 1 % of the input")
left.set_title("Sensitivity of 1,000 new pipes")
fig.colorbar(dots, ax=left, label="Reynolds number")

for k, name in enumerate(names):
    right.plot(truth[:, k], elasticity[:, k], ".", ms=3, label=name)
right.plot([-1.6, 2.2], [-1.6, 2.2], color="0.3", lw=1, zorder=0)
right.set(xlabel="from the equation", ylabel="from the network")
right.set_title("The same, against the truth")
right.legend(markerscale=3, loc="upper left")
plt.show()
