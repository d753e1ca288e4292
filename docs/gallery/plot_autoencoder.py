"""
An autoencoder of digits, and its plane of codes
================================================

A network is asked to return the image that it is given, through a layer of two nodes.
So it has to find two numbers that say the most about a digit. Nobody tells it which
digit it sees, and yet the classes come apart in the plane of these codes. The second
half of the network turns any point of the plane into an image.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import chainrule as cr

# %%
# The whole is an encoder and a decoder. Pixels between 0 and 1 are taken as
# probabilities of ink, so the loss is the cross entropy of yes and no, pixel by pixel.
# Softsign keeps the codes between -1 and 1, and flattens slowly enough to spread them
# over the square.

images, labels = load_digits(return_X_y=True)
images = images / 16

encoder = cr.Sequential(cr.MLP((128, 64, 2), activation="tanh"), cr.Softsign())
decoder = cr.MLP((64, 128, 64), activation="tanh")
model = cr.Model(
    cr.Sequential(encoder, decoder),
    loss="binary_cross_entropy",
    optimizer=cr.Adam(cr.schedules.CosineDecay(5e-3, decay_steps=2900)),
    seed=0,
)
history = model.fit(images, images, epochs=100, batch_size=64)

# %%
# All parameters lie in one vector, layer after layer. Its head is the encoder and its
# tail is the decoder: each becomes a model of its own.

theta, state = model.get_weights()
encode = cr.Model(encoder).build(64)
decode = cr.Model(decoder, loss="binary_cross_entropy").build(2)
encode.set_weights((theta[: encode.theta.size], state))
decode.set_weights((theta[-decode.theta.size :], state))

codes = encode.predict(images)
assert np.allclose(decode.predict(codes), model.predict(images), atol=1e-4)

# %%
# How much of a digit do two numbers keep? A neighbour in the plane is mostly the same
# digit.

apart = np.linalg.norm(codes[:, None] - codes[None], axis=-1)
np.fill_diagonal(apart, np.inf)
same = labels[apart.argmin(axis=1)] == labels
print(f"nearest neighbour of the same class: {same.mean():.0%}")

# %%
# Left, the codes of all images; right, what the decoder makes of a grid of codes.

fig, (left, right) = plt.subplots(1, 2, figsize=(10.4, 5.2), layout="constrained")
left.scatter(*codes.T, c=labels, cmap="tab10", s=9, lw=0, alpha=0.7)
for digit in range(10):
    left.annotate(
        str(digit),
        np.median(codes[labels == digit], axis=0),
        ha="center",
        va="center",
        fontsize=13,
        fontweight="bold",
        bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": "0.6", "alpha": 0.9},
    )
left.set(xlabel="first code", ylabel="second code", title="1,797 digits as points")
left.set(aspect="equal", xlim=(-0.97, 0.97), ylim=(-0.97, 0.97))

n = 13
side = np.linspace(-0.9, 0.9, n)
grid = np.stack(np.meshgrid(side, side[::-1]), axis=-1).reshape(-1, 2)
tiles = np.zeros((n, n, 10, 10))  # with an empty border around each image
tiles[:, :, 1:9, 1:9] = decode.predict_proba(grid).reshape(n, n, 8, 8)
page = tiles.transpose(0, 2, 1, 3).reshape(10 * n, 10 * n)
right.imshow(page, cmap="gray_r", extent=(-0.97, 0.97, -0.97, 0.97))
right.set(xlabel="first code", title="What the decoder draws there")
right.grid(visible=False)
plt.show()
