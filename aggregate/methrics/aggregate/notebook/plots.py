"""Draws the plots that the notebooks share: an empty chart with labels, and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from methrics.schema.errors import LocalError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that remain distinct for colour-blind people and in black and white (Okabe and Ito)."""

TRUTH = "#000000"
"""The colour of the truth in every plot."""

DPI = 80


def chart(title: str, *, x: str = "", y: str = "", width: float = 8.5, height: float = 3.4) -> Axes:
    """Draw an empty chart with its labels. Sizes are in inches. Raises LocalError if matplotlib is
    not installed."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise LocalError(
            "extra-missing", "matplotlib is not installed", "pip install 'methrics[notebooks]'"
        ) from None
    _, axes = pyplot.subplots(figsize=(width, height), dpi=DPI, layout="constrained")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_prop_cycle(color=COLORS)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def dates(axes: Axes) -> None:
    """Show the dates on the x axis as days of a month."""
    from matplotlib.dates import AutoDateLocator, DateFormatter

    axes.xaxis.set_major_locator(AutoDateLocator(maxticks=8))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(DateFormatter("%d %b"))  # type: ignore[no-untyped-call]


def legend(axes: Axes, title: str = "") -> None:
    """Put the legend beside the chart."""
    axes.legend(title=title, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))


def intervals(
    axes: Axes,
    labels: Sequence[str],
    estimates: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    *,
    truths: Sequence[float] | None = None,
    name: str = "estimate, 95 % interval",
) -> None:
    """Draw one row per label: the estimate with its interval, and the truth where it is known."""
    paths = range(len(labels))
    below = [max(0.0, one - low) for one, low in zip(estimates, lows, strict=True)]
    above = [max(0.0, high - one) for one, high in zip(estimates, highs, strict=True)]
    axes.errorbar(
        estimates, paths, xerr=[below, above], fmt="o", capsize=4, color=COLORS[0], label=name
    )
    if truths is not None:
        axes.plot(truths, paths, "D", color=TRUTH, fillstyle="none", markersize=8, label="truth")
    axes.set_yticks(list(paths), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.grid(visible=False, axis="y")
