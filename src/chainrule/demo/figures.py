"""The pictures that ``python -m chainrule`` draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from chainrule.demo.run import Result, slopes
from chainrule.demo.tasks import GAP, Task, curve
from chainrule.plotting import BLUE, GREY, ORANGE, styled_pyplot

__all__ = ["draw", "gap", "parabola", "sphere"]


def draw(task: Task, result: Result, folder: Path) -> Path:
    """Write the task's picture."""
    path = folder / f"{task.name}.png"
    worst = f"worst error {result.worst:.1e}"
    if task.name == "parabola":
        x = np.linspace(-1.0, 1.0, 1001)
        values = np.asarray(result.model.predict_members(x[:, None]), dtype=np.float64)
        samples = np.hstack([task.x, task.y])[::15]
        title = f"{task.members} networks, {worst}"
        parabola(x, values[..., 0], slopes(result.model, x), samples, path, title)
    elif task.name == "gap":
        x = np.linspace(-1.1, 1.1, 601)
        members = np.asarray(result.model.predict_members(x[:, None]))[..., 0]
        samples = np.hstack([task.x, task.y])
        title = f"{task.members} networks: their curves, and the band of those"
        gap(x, curve(x), members, samples, GAP, path, title)
    else:
        error = np.linalg.norm(result.output - task.y, axis=1)
        losses = result.history["loss"]
        sphere(
            result.output,
            error,
            losses,
            path,
            f"Sphere from two angles: {worst}",
        )
    return path


def parabola(
    x: Any, values: Any, slopes: Any, samples: Any, path: Path, title: str
) -> None:
    """Draw f(x) = x²: fit and slope, each with its error and band below.

    x (n,); values and slopes (members, n), those of an ensemble; samples (k, 2) are
    some of the points that were fitted.
    """
    style, plt = styled_pyplot()
    with style:
        figure = plt.figure(figsize=(8.8, 5.2), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True, height_ratios=(3, 1.4))
        left, right = axes[0]
        for column, members, truth, label, scale in (
            (axes[:, 0], values, x**2, "f(x) = x²", 1000),
            (axes[:, 1], slopes, 2.0 * x, "f'(x) = 2x", 100),
        ):
            top, bottom = column
            mean, std = members.mean(axis=0), members.std(axis=0)
            top.plot(x, truth, color=GREY, lw=6, alpha=0.35, label=label)
            low, high = mean - 2.0 * std, mean + 2.0 * std
            band = {"color": BLUE, "alpha": 0.18, "lw": 0}
            top.fill_between(x, low, high, **band)
            top.plot(x, mean, color=BLUE, lw=1.8, label="mean of the members")
            error = scale * (mean - truth)
            low, high = scale * (low - truth), scale * (high - truth)
            bottom.fill_between(x, low, high, **band, label="mean ± 2 std")
            bottom.axhline(0.0, color=GREY, lw=1)
            bottom.plot(x, error, color=BLUE, lw=1.2)
            bottom.set(xlabel="x", ylabel=f"error × {scale}")
            bottom.set(xticks=(-1.0, -0.5, 0.0, 0.5, 1.0))
        left.plot(*samples.T, "o", ms=4, mfc="white", mec=ORANGE, label="some samples")
        left.set(ylabel="f(x)", title=title)
        left.legend(loc="upper center")
        right.set(ylabel="slope", title="Their mean's own slope, exact")
        right.legend(loc="upper left")
        axes[1, 0].legend(loc="lower center")
        figure.savefig(path, dpi=150)
        plt.close(figure)


def sphere(points: Any, error: Any, losses: Any, path: Path, title: str) -> None:
    """Write the picture of the sphere: points (n, 3) coloured by their error (n,).

    Errors above the 99th percentile share the last colour: a few points at the poles
    would take the others' apart.
    """
    style, plt = styled_pyplot()
    with style:
        figure = plt.figure(figsize=(10.4, 5), layout="constrained")
        # Each half lays out its own: the bar stays clear of the other's axis.
        half, other = figure.subfigures(1, 2, width_ratios=(1.35, 1), wspace=0.03)
        left = half.add_subplot(projection="3d")
        azimuth, height = np.deg2rad(-55.0), np.deg2rad(22.0)
        eye = np.array([np.cos(azimuth), np.sin(azimuth), np.tan(height)])
        front = points @ (eye / np.linalg.norm(eye)) > 0.0
        left.scatter(*points[~front].T, c="#d5d8dc", s=4, linewidths=0)
        colours = left.scatter(
            *points[front].T,
            c=error[front],
            cmap="plasma",
            s=26,
            linewidths=0,
            vmin=0.0,
            vmax=np.percentile(error, 99),
            depthshade=False,
        )
        left.set_box_aspect((1, 1, 1), zoom=1.1)
        left.view_init(elev=22, azim=-55)
        ticks = (-1, 0, 1)
        left.set(xlabel="x", ylabel="y", zlabel="z", title=title)
        left.set(xticks=ticks, yticks=ticks, zticks=ticks)
        for axis in (left.xaxis, left.yaxis, left.zaxis):
            axis.set_pane_color((1, 1, 1, 0))
        bar = half.colorbar(colours, ax=left, shrink=0.7, pad=0.1, extend="max")
        bar.set_label("distance from the true point")
        bar.formatter.set_powerlimits((0, 0))
        bar.outline.set_visible(False)
        bar.ax.grid(False)
        right = other.add_subplot()
        right.semilogy(np.arange(len(losses)), losses, color=BLUE, lw=0.8)
        right.set(xlabel="epoch", ylabel="squared error", title="Training loss")
        figure.savefig(path, dpi=150)
        plt.close(figure)


def gap(
    x: Any,
    truth: Any,
    members: Any,
    samples: Any,
    hole: tuple[float, float],
    path: Path,
    title: str,
) -> None:
    """Draw an ensemble: its members, mean and band, and its spread below.

    x, truth (n,); members (k, n); samples (j, 2); hole is where there are no samples.
    """
    style, plt = styled_pyplot()
    mean, std = members.mean(axis=0), members.std(axis=0)
    with style:
        figure = plt.figure(figsize=(7.2, 6), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        for ax in (top, bottom):
            ax.axvspan(*hole, color=GREY, alpha=0.08, lw=0)
        low, high = mean - 2.0 * std, mean + 2.0 * std
        top.fill_between(
            x, low, high, color=BLUE, alpha=0.18, lw=0, label="± 2 std of the members"
        )
        top.plot(x, members.T, color=BLUE, lw=0.5, alpha=0.3)
        top.plot(x, truth, color="#3a3f47", lw=1.4, ls=(0, (4, 2.5)), label="truth")
        top.plot(x, mean, color=BLUE, lw=2.2, label="mean of the members")
        top.plot(*samples.T, "o", ms=4, mfc="white", mec=ORANGE, label="noisy samples")
        # The band may run away beyond the data; the picture does not follow it.
        edge = 1.15 * np.abs(np.concatenate([samples[:, 1], truth])).max()
        top.set(ylabel="f(x)", title=title, ylim=(-edge, edge), xlim=(x[0], x[-1]))
        top.text(
            sum(hole) / 2,
            -0.93 * edge,
            "no samples",
            ha="center",
            va="bottom",
            color=GREY,
        )
        top.legend(loc="upper left")
        bottom.fill_between(x, std, color=BLUE, alpha=0.18, lw=0)
        bottom.plot(x, std, color=BLUE, lw=1.4)
        bottom.plot(samples[:, 0], np.zeros(len(samples)), "|", ms=7, color=ORANGE)
        bottom.set(xlabel="x", ylabel="std", ylim=(0, None))
        figure.savefig(path, dpi=150)
        plt.close(figure)
