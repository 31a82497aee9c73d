"""Tables in Markdown, and figures in which a colour means the same everywhere."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgrnn.errors import InputError

Middle = Callable[[Sequence[float]], float]
BLUE, GREEN, RED, BLACK = "#0072B2", "#009E73", "#D55E00", "black"
ORANGE, PURPLE, GRAY = "#E69F00", "#CC79A7", "#888888"
STYLES = {
    # real gradients, cut off
    "truncated": (BLUE, "o", "-"), "waiting": (BLUE, "o", "-"),
    # synthetic ones
    "synthetic": (GREEN, "o", "-"), "synthetic, large": (GREEN, "s", ":"),
    "grounded": (GREEN, "v", "--"), "adjoint": (GREEN, "D", "-."),
    "lambda 0.5": (GREEN, "^", ":"), "light": (GREEN, "P", "--"), "light, one ahead": (GREEN, "p", ":"),
    "synthetic, light": (GREEN, "P", "--"), "default": (GREEN, "D", "-."), "state": (GREEN, "v", ":"),
    "literature": (GREEN, "p", ":"), "literature, auxiliary": (GREEN, "P", ":"),
    "every step": (GREEN, "v", "--"), "no error": (GREEN, "D", "-."),
    "message alone": (GREEN, "^", ":"), "control variate": (GREEN, "s", "--"),
    # controls
    "zero": (RED, "+", ":"), "shuffled": (RED, "x", ":"), "none": (RED, "x", ":"),
    # exact ones
    "full": (BLACK, "s", "-"), "exact ahead": (BLACK, "s", "-"), "rtrl": (BLACK, "D", ":"),
    # of networks whose layers are trained apart
    "backprop": (BLACK, "s", "-"), "dni": (GREEN, "v", ":"), "cdni": (GREEN, "o", "-"), "error": (GREEN, "D", "-."),
    "unlocked": (GREEN, "^", "--"), "fa": (ORANGE, "o", "-"), "dfa": (ORANGE, "D", "-."),
    "kickback": (PURPLE, "v", ":"),
    # the rest of those that need no window
    "bp-lambda": (GRAY, "v", ":"), "snap-1": (GRAY, "^", ":"), "uoro": (GRAY, "x", ":"),
}  # fmt: skip


def style(name: str) -> dict[str, Any]:
    """Return colour, marker and line of an estimator, as `Axes.plot` takes them."""
    return dict(zip(("color", "marker", "linestyle"), STYLES[name], strict=True))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table in Markdown, its columns aligned."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    print(f"\n{title}\n" if title else "")
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def print_by_column(cells: Mapping[tuple[str, str], str], title: str = "") -> None:
    """Print a table of cells by row and column, both in the order in which they first occur."""
    rows, columns = (list(dict.fromkeys(place[axis] for place in cells)) for axis in (0, 1))
    body = [[row, *(cells.get((row, column), "") for column in columns)] for row in rows]
    print_table(["", *columns], body, title)


def middle(values: Sequence[float]) -> float:
    """Return the mean of four values or more, else the median."""
    return statistics.fmean(values) if len(values) >= 4 else statistics.median(values)


def spread(values: Iterable[float | None], digits: int = 3) -> str:
    """Write the mean and its standard error of four values or more, else median and range; None is infinite."""
    numbers = [math.inf if value is None else value for value in values]
    text = f"{middle(numbers):.{digits}f}"
    if len(numbers) >= 4 and math.inf not in numbers:
        return f"{text} ± {statistics.stdev(numbers) / len(numbers) ** 0.5:.{digits}f}"
    return f"{text} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})" if len(numbers) > 1 else text


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the median as `value`, and the quartiles as `low` and `high`."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else [*values] * 3
    return {"value": middle, "low": low, "high": high}


def write_quartiles(record: Mapping[str, Any]) -> str:
    """Write a median, and the quartiles where it has some."""
    if "low" not in record:
        return f"{record['value']:.2f}"
    return f"{record['value']:.2f} ({record['low']:.2f} to {record['high']:.2f})"


def new_figure(columns: int, rows: int = 1, height: float = 4.5, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels, and these row by row.

    Raises:
        InputError: there are none, for want of records.
    """
    if not columns:
        raise InputError("there is nothing to draw: the records hold no value that the figure shows")
    figure = Figure(figsize=(max(6.5 * columns, 7), height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for axes in panels:
        axes.grid(visible=True, alpha=0.3)
    return figure, panels


def plot_middles(
    axes: Axes,
    points: Sequence[tuple[Any, float]],
    label: str,
    places: Sequence[Any],
    middle: Middle = middle,
    **look: Any,
) -> None:
    """Draw a line through the middle at each place, and a faint dot for every point; nothing if there are none.

    Args:
        axes: where the places stand side by side, the n-th at n.
        points: (place, value).
        label: of the line.
        places: all that there are, in order.
        middle: of the values at a place.
        look: of the line.
    """
    if not points:
        return
    at = {place: number for number, place in enumerate(places)}
    values = {place: [value for where, value in points if where == place] for place in places}
    middles = [(at[place], middle(found)) for place, found in values.items() if found]
    axes.plot(*zip(*middles, strict=True), label=label, **look)
    axes.plot([at[where] for where, _ in points], [value for _, value in points], ".", color=look["color"], alpha=0.4)
    axes.set_xticks(range(len(places)), [str(place) for place in places])


def plot_curves(
    axes: Axes, curves: Sequence[Sequence[Sequence[float]]], label: str, x: int, y: int, **options: Any
) -> None:
    """Draw the median of several curves, and each of them faintly; a curve of one point is a dot.

    Args:
        axes: where.
        curves: of each seed, rows of numbers.
        label: of the median.
        x: the column that goes to the right.
        y: the column that goes up.
        options: of the median's line.
    """
    for curve in curves:
        axes.plot(*zip(*((row[x], row[y]) for row in curve), strict=True), **{**options, "alpha": 0.25})
    rows = list(zip(*curves, strict=False))
    middles = [[statistics.median(row[column] for row in at) for at in rows] for column in (x, y)]
    axes.plot(*middles, label=label, **options)


def legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of one panel below all of them, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, max(1, len(labels))), fontsize="small")
