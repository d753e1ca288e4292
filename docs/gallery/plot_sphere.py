"""
Points on a sphere
==================

The network learns the map from two angles to a point (x, y, z) on the unit sphere. The
angles leave a seam where longitude jumps from 180° to -180°, and two poles where all
longitudes meet: those are the places where the fit is worst, and the picture shows it.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import chainrule as cr

# %%
# 1,024 points of a Fibonacci lattice, which spreads them evenly over the sphere.


def sphere(longitude, latitude):
    """Return points of the unit sphere, from angles in radians."""
    r = np.cos(latitude)
    points = (r * np.cos(longitude), r * np.sin(longitude), np.sin(latitude))
    return np.stack(points, axis=-1)


n = 1024
i = np.arange(n)
longitude = np.mod(i * np.pi * (3 - np.sqrt(5)), 2 * np.pi) - np.pi
latitude = np.arcsin(1 - (2 * i + 1) / n)
angles = np.stack([longitude, latitude], axis=-1)

# %%
# A few hundred epochs, with a rate that rises for a twentieth of the steps and then
# falls to zero along a cosine.

epochs = 400
steps = epochs * n // 32
rate = cr.schedules.CosineDecay(1e-2, decay_steps=steps, warmup_steps=steps // 20)
model = cr.Model(
    cr.MLP((32, 32, 3), activation="gelu_tanh"), optimizer=cr.Adam(rate), seed=0
)
history = model.fit(angles, sphere(longitude, latitude), epochs=epochs, batch_size=32)

# %%
# What is measured is the distance between the network's point and the true one, on a
# grid of angles that it has not seen.

longitude = np.radians(np.linspace(-180, 180, 181))
latitude = np.radians(np.linspace(-90, 90, 91))
grid = np.stack(np.meshgrid(longitude, latitude), axis=-1)
output = model.predict(grid.reshape(-1, 2)).reshape(91, 181, 3)
distance = np.linalg.norm(output - sphere(grid[..., 0], grid[..., 1]), axis=-1)
print(f"median distance {np.median(distance):.1e}, largest {distance.max():.1e}")

# %%
# The surface that the network gives, coloured by its error, and the same errors as a
# map, where the seam is the left and the right edge.

fig = plt.figure(figsize=(10.5, 4.3), layout="constrained")
left, right = fig.subfigures(1, 2, width_ratios=(1, 1.4), wspace=0.04)

norm = LogNorm(3e-4, 3e-2, clip=True)
ball = left.add_subplot(projection="3d")
colours = plt.get_cmap("plasma")(norm(distance))
ball.plot_surface(
    *np.moveaxis(output, -1, 0), facecolors=colours, rcount=91, ccount=181, shade=False
)
ball.set_box_aspect((1, 1, 1), zoom=1.1)
ball.view_init(elev=20, azim=155)
ball.set(xlabel="x", ylabel="y", zlabel="z", title="The network's sphere")
ball.zaxis.labelpad = -2
ball.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1), zticks=(-1, 0, 1))

flat = right.add_subplot()
image = flat.pcolormesh(
    np.degrees(longitude), np.degrees(latitude), distance, norm=norm, cmap="plasma"
)
flat.set(
    xlabel="longitude (degrees)",
    ylabel="latitude (degrees)",
    title="Its errors on a map",
    xticks=(-180, -90, 0, 90, 180),
    yticks=(-90, -45, 0, 45, 90),
)
flat.grid(visible=False)
right.colorbar(image, extend="both", label="distance from the true point")
plt.show()
