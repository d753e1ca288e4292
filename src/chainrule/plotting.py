"""Pictures, drawn with matplotlib (the extra `plot`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import MissingLibraryError

__all__ = ["BLUE", "GREY", "ORANGE", "history", "learning_rates", "styled_pyplot"]


BLUE, ORANGE, GREY = "#2563a8", "#e07b39", "#8a8f98"

# Curves of a history that are dashed.
_DASHED = ("slope_loss", "val_slope_loss")


def styled_pyplot() -> tuple[Any, Any]:
    """Return a context inside which pictures have this library's style, and pyplot.

    Raises
    ------
    MissingLibraryError
        If there is no matplotlib.
    """
    try:
        import matplotlib as mpl
        from matplotlib import pyplot
    except ImportError as error:
        msg = (
            "pictures need matplotlib, which is not installed. "
            "Install it with: pip install matplotlib"
        )
        raise MissingLibraryError(msg) from error
    style = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.grid": True,
        "grid.color": "#e6e8eb",
        "legend.frameon": False,
    }
    return mpl.rc_context(style), pyplot


def history(record: Any, ax: Any = None) -> Any:
    """Draw a history over its epochs, counted from 0; return the axes of the losses.

    The losses are on a logarithmic axis where all are positive. With no `ax` given,
    each metric has a panel of its own below, and so has the learning rate.
    """
    style, plt = styled_pyplot()
    losses = [n for n in ("loss", "val_loss", *_DASHED) if n in record]
    others = [
        name
        for name in record
        if name not in losses
        and not name.endswith("member_loss")
        and not (name.startswith("val_") and name.removeprefix("val_") in record)
    ]
    others.sort(key="learning_rate".__eq__)  # the metrics before it
    with style:
        if ax is not None:
            _panel(ax, record, losses, "loss")
            ax.set_xlabel("epoch")
            return ax
        rows = 1 + len(others)
        figure = plt.figure(figsize=(6, 3.6 + 1.7 * len(others)), layout="constrained")
        axes = figure.subplots(
            rows, 1, sharex=True, squeeze=False, height_ratios=(2, *[1] * len(others))
        )[:, 0]
        _panel(axes[0], record, losses, "loss")
        for below, name in zip(axes[1:], others, strict=True):
            names = [n for n in (name, f"val_{name}") if n in record]
            _panel(below, record, names, name.replace("_", " "))
        axes[-1].set_xlabel("epoch")
    return axes[0]


def learning_rates(found: Any, ax: Any = None) -> Any:
    """Draw what `Model.find_learning_rate` returned; return the axes."""
    style, plt = styled_pyplot()
    with style:
        if ax is None:
            ax = plt.figure(figsize=(6, 3.6), layout="constrained").subplots()
        ax.plot(found.rates, found.losses, color=GREY, lw=0.8, label="of each batch")
        ax.plot(found.rates, found.smoothed, color=BLUE, label="smoothed")
        if found.suggestion is not None:
            label = f"suggestion {found.suggestion:.2g}"
            ax.axvline(found.suggestion, color=ORANGE, linestyle="--", label=label)
        ax.set_xscale("log")
        if (found.losses > 0).all():
            ax.set_yscale("log")
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss")
        ax.legend()
    return ax


def _panel(ax: Any, record: Any, names: list[str], label: str) -> None:
    """Draw some columns of a history into axes."""
    from matplotlib.ticker import MaxNLocator

    epochs = record.first + np.arange(record.epochs)
    columns = [np.asarray(record[name], dtype=np.float64) for name in names]
    for name, values in zip(names, columns, strict=True):
        # The learning rates of an ensemble are several lines of one colour.
        colour = ORANGE if name.startswith("val_") else BLUE
        style = "--" if name in _DASHED else "-"
        for k, line in enumerate(values.reshape(len(epochs), -1).T):
            legend = name if k == 0 else None
            ax.plot(epochs, line, color=colour, linestyle=style, label=legend)
            # An epoch alone is no line: it is a point.
            known = np.isfinite(np.concatenate(([np.nan], line, [np.nan])))
            alone = known[1:-1] & ~known[:-2] & ~known[2:]
            if alone.any():
                ax.plot(epochs[alone], line[alone], "o", ms=4, color=colour)
    values = np.concatenate([np.ravel(a) for a in columns]) if columns else np.zeros(0)
    values = values[np.isfinite(values)]
    if label in ("loss", "learning rate") and values.size and (values > 0).all():
        ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(epochs) == 1:
        ax.set_xlim(epochs[0] - 0.5, epochs[0] + 0.5)
    ax.set_ylabel(label)
    if len(names) > 1:
        ax.legend()
