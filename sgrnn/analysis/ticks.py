"""Ticks of logarithmic axes as plain numbers: 50, 100, 200, and 20, 25, 30 where an axis spans less than a decade."""

from math import ceil, floor, log10

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

_STEPS = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9))
_FEWEST, _MOST = 4, 9


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers within a range of positive numbers: as few to a decade as make four, and nine at most.

    >>> log_ticks(15, 180), log_ticks(0.9, 22), log_ticks(0.2, 0.45)
    ([20, 30, 50, 70, 100], [1, 2, 5, 10, 20], [0.2, 0.25, 0.3, 0.35, 0.4])
    >>> log_ticks(3, 3.25)  # as on a linear axis
    [3.0, 3.05, 3.1, 3.15, 3.2, 3.25]
    """
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks: list[float] = []
    for steps in _STEPS:
        found = [number for decade in decades for step in steps if low <= (number := _times(step, decade)) <= high]
        if len(found) > _MOST:
            break
        ticks = found
        if len(ticks) >= _FEWEST:
            break
    if len(ticks) < 2:
        ticks = [round(float(tick), 12) for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    return ticks


def plain_log_ticks(axes: Axes) -> None:
    """Mark the logarithmic axes of a drawn plot by plain numbers."""
    for axis, (low, high) in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
        if axis.get_scale() == "log":
            ticks = log_ticks(low, high)
            axis.set_major_locator(FixedLocator(ticks))
            axis.set_major_formatter(FixedFormatter([f"{tick:,.10g}" for tick in ticks]))
            axis.set_minor_locator(NullLocator())


def _times(step: float, decade: int) -> float:
    return step * 10**decade if decade >= 0 else float(f"{step}e{decade}")
