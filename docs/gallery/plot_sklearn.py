"""
From scikit-learn, by one import
================================

``chainrule.sklearn`` has scikit-learn's perceptrons: the same parameters, the same
draws for the same ``random_state``, the same numbers. They go into pipelines and
searches as before. What is new are keywords, here dropout and an interval in place of a
single prediction.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor as Theirs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from chainrule.sklearn import MLPRegressor

# %%
# How far does diabetes progress within a year? Ten measurements of 442 patients. The
# target is scaled to about 1.

x, y = load_diabetes(return_X_y=True)
y = y / 100
train, test, y_train, y_test = train_test_split(x, y, test_size=0.5, random_state=0)

# %%
# The same estimator of both libraries, with early stopping.

options = {
    "hidden_layer_sizes": (32, 16),
    "activation": "tanh",
    "max_iter": 500,
    "early_stopping": True,
    "n_iter_no_change": 20,
    "random_state": 0,
}
curves = {}
for name, estimator in (("scikit-learn", Theirs), ("chainrule", MLPRegressor)):
    fitted = make_pipeline(StandardScaler(), estimator(**options)).fit(train, y_train)
    curves[name] = np.array(fitted[-1].loss_curve_)
    print(f"{name}: R² on the other half {fitted.score(test, y_test):.6f}")
difference = np.abs(curves["scikit-learn"] - curves["chainrule"]).max()
print(f"largest difference of the two loss curves: {difference:.0e}")

# %%
# One patient in ten should be below the interval, and one above it.

interval = make_pipeline(
    StandardScaler(),
    MLPRegressor(
        loss="quantile",
        quantiles=(0.1, 0.5, 0.9),
        hidden_layer_sizes=(32, 16),
        dropout=0.2,
        early_stopping=True,
        max_iter=500,
        n_iter_no_change=20,
        random_state=0,
    ),
).fit(train, y_train)
low, high = interval[-1].predict_interval(interval[:-1].transform(test)).T
inside = (y_test >= low) & (y_test <= high)
print(f"inside the interval: {inside.mean():.0%} of the other half")

# %%
# Left, two fits on one curve. Right, the patients in the order of their predictions.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(10.4, 4.2), width_ratios=(1, 1.5), layout="constrained"
)
left.plot(curves["scikit-learn"], color="C1", lw=6, alpha=0.5, label="scikit-learn")
left.plot(curves["chainrule"], color="C0", lw=1.6, label="chainrule")
left.set(
    xlabel="epoch", ylabel="training loss", title="The same numbers", ylim=(0, None)
)
left.legend()
order = np.argsort(high + low)
rank = np.arange(len(order))
right.fill_between(
    rank, low[order], high[order], color="C0", alpha=0.2, lw=0, label="10 % to 90 %"
)
right.plot(rank, y_test[order], ".", color="C1", label="a patient")
right.set(xlabel="patients, ordered by prediction", ylabel="progression within a year")
right.set_title(f"An interval holds {inside.mean():.0%} of them")
right.legend(loc="upper left")
plt.show()
