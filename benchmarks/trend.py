"""Whether a figure stays what it is: the first quarter of a long run beside the last. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

HOUR = 3600.0

Point = tuple[float, float]
"""When, s from the beginning, and how much."""


@dataclass(frozen=True)
class Figure:
    """What is watched.

    Parameters:
        name: What it is, with its unit.
        slack: By how much it may differ in the end, in its unit.
        share: By which share of what it was it may differ, 0 to 1; the larger of both counts.
    """

    name: str
    slack: float
    share: float = 0.0


@dataclass(frozen=True)
class Trend:
    """What became of a figure.

    Parameters:
        figure: Which one.
        first: Median of the first quarter of the time.
        last: Median of the last quarter.
        slope: By how much it grew in an hour (least squares).
        count: From how many values.
    """

    figure: Figure
    first: float
    last: float
    slope: float
    count: int

    @property
    def verdict(self) -> str:
        """Whether it is steady, has risen, or has fallen."""
        change = self.last - self.first
        if abs(change) <= max(self.figure.slack, self.figure.share * abs(self.first)):
            return "steady"
        return "has risen" if change > 0 else "has fallen"

    def row(self) -> dict[str, Any]:
        """The figures for programs."""
        return {
            "figure": self.figure.name,
            "values": self.count,
            "first_quarter": round(self.first, 4),
            "last_quarter": round(self.last, 4),
            "per_hour": round(self.slope, 4),
            "verdict": self.verdict,
        }


def trend(figure: Figure, points: Sequence[Point], seconds: float) -> Trend | None:
    """Find a figure's trend.

    Args:
        figure: The figure.
        points: Its values, by time.
        seconds: How long the run was.

    Returns:
        None when one of the two quarters has no value.
    """
    first = [value for at, value in points if at <= seconds / 4]
    last = [value for at, value in points if at >= seconds * 3 / 4]
    if not first or not last:
        return None
    times, values = zip(*points, strict=True)
    slope = float(np.polyfit(times, values, 1)[0]) * HOUR
    return Trend(figure, statistics.median(first), statistics.median(last), slope, len(points))
