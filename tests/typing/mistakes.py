"""Mistakes of a user's script, each on one line that mypy and pyright must report.

Both are told to ignore the line, and to report what they ignore for nothing: a mistake
that one of them no longer sees fails `nox -s typecheck`. `test_mistakes.py` makes each
of them, to see what it gives at run time.
"""

from __future__ import annotations

import numpy as np

import chainrule as cr
from chainrule import callbacks, losses
from chainrule.sklearn import MLPClassifier, MLPRegressor

x = np.linspace(-1.0, 1.0, 16)[:, None]
y = x**2
labels = np.arange(16) % 2
network = cr.MLP((4, 1))


def model(members: int | None = None) -> cr.Model:
    """A model with weights."""
    return cr.Model(network, members=members, backend="numpy").build(1)


# Names.


def a_loss_that_is_a_number() -> None:
    cr.Model(network, loss=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_misspelt_loss() -> None:
    cr.Model(network, loss="squared_eror")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_misspelt_loss_that_is_set() -> None:
    model().loss = "hubber"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]


def a_loss_that_is_looked_up() -> None:
    losses.get("crossentropy_loss")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_dtype_that_there_is_not() -> None:
    cr.Model(network, dtype="float16")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_dtype_of_numpy_that_there_is_not() -> None:
    cr.Model(network, dtype=np.float16)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_precision_that_is_a_dtype() -> None:
    cr.Model(network, precision="float16")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_backend_of_others() -> None:
    cr.Model(network, backend="tensorflow")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_backend_to_go_to() -> None:
    model().to("cuda")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_misspelt_activation() -> None:
    cr.MLP((4, 1), activation="rellu")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_misspelt_initializer() -> None:
    cr.Dense(4, kernel_initializer="he_norml")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_misspelt_optimizer() -> None:
    cr.Model(network, optimizer="adamm")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def an_optimizer_s_class() -> None:
    cr.Model(network, optimizer=cr.Adam)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_misspelt_metric() -> None:
    cr.Model(network, metrics=["acuracy"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def a_mode_that_there_is_not() -> None:
    cr.EarlyStopping(mode="minimum")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Numbers and keywords.


def epochs_as_text() -> None:
    model().fit(x, y, epochs="10")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_share_as_text() -> None:
    model().fit(x, y, validation_split="0.2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_learning_rate_as_text() -> None:
    cr.Adam("1e-3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def units_as_text() -> None:
    cr.Dense("4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_fit_without_targets() -> None:
    model().fit(x)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_misspelt_keyword() -> None:
    model().fit(x, y, epoch=10)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_keyword_of_another_call() -> None:
    cr.Model(network, epochs=10)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def callbacks_by_name() -> None:
    model().fit(x, y, callbacks=["early_stopping"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def a_hook_that_is_no_function() -> None:
    callbacks.LambdaCallback(on_epoch_end=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# What comes out.


def a_pair_as_one_array() -> None:
    model(members=2).predict(x, return_std=True).mean()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def an_array_of_a_history_s_list() -> None:
    model().fit(x, y, epochs=1)["loss"].min()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def a_misspelt_method_of_what_is_loaded() -> None:
    model().save("model.safetensors")
    cr.load("model.safetensors").fitt(x, y)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def a_misspelt_source_of_deviations() -> None:
    model().predict(x, return_std=True, method="laplas")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


# Estimators.


def a_misspelt_solver() -> None:
    MLPClassifier(solver="adamm").fit(x, labels)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_misspelt_schedule() -> None:
    MLPRegressor(learning_rate="adaptiv").fit(x, y)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def an_estimator_s_misspelt_activation() -> None:
    MLPRegressor(activation="rellu").fit(x, y)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def an_estimator_s_pair_as_one_array() -> None:
    MLPRegressor(members=2, max_iter=1).fit(x, labels).predict(x, return_std=True).max()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
