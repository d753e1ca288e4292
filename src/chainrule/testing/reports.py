"""What `check_gradients` hands out."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ArgumentReport", "GradientReport"]


class ArgumentReport(NamedTuple):
    """What was found for one argument: its largest relative difference, its redraws."""

    name: str
    shape: tuple[int, ...]
    directions: int
    difference: float
    redraws: int
    flat: bool  # whether every slope was 0: the argument was not really tested


class GradientReport(NamedTuple):
    """What `check_gradients` found; it is handed out only where everything holds.

    Attributes
    ----------
    name, backend : str
    arguments : tuple of ArgumentReport
    data : tuple of str
        Inputs that have no gradient.
    checks : dict
        Check -> "ok", or why it was not made.
    """

    name: str
    backend: str
    arguments: tuple[ArgumentReport, ...]
    data: tuple[str, ...]
    checks: dict[str, str]

    @property
    def redraws(self) -> dict[str, int]:
        """Argument -> how often a point near a kink was replaced, where it was."""
        return {a.name: a.redraws for a in self.arguments if a.redraws}

    @property
    def difference(self) -> float:
        """The largest relative difference."""
        return max(a.difference for a in self.arguments)

    @property
    def flat(self) -> tuple[str, ...]:
        """Arguments of which every slope was 0, so that little was tested."""
        return tuple(a.name for a in self.arguments if a.flat)

    def __str__(self) -> str:
        lines = [f"{self.name} on {self.backend}: the gradients are right"]
        wide = max(len(a.name) for a in self.arguments)
        for a in self.arguments:
            notes = f", redrawn {a.redraws} times at a kink" if a.redraws else ""
            notes += ", flat: every slope is 0" if a.flat else ""
            lines.append(
                f"  {a.name:<{wide}}  {a.shape!s}: differs by {a.difference:.1e} along "
                f"{a.directions} directions{notes}"
            )
        if self.data:
            lines.append(f"  data, without a gradient: {', '.join(self.data)}")
        lines.append("  " + ", ".join(f"{k} {v}" for k, v in self.checks.items()))
        return "\n".join(lines)
