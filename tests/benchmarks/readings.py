"""Reads printed tables and drawn lines back."""

import re

from matplotlib.axes import Axes


def cells(text: str) -> dict[str, list[str]]:
    """Return the cells after the first of every line of printed Markdown tables, by the first."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {line[0]: line[1:] for line in lines if not re.fullmatch("-+", line[0])}


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float], str]]:
    """Return x, y and colour of the lines with a label."""
    return {
        str(line.get_label()): ([*map(float, line.get_xdata())], [*map(float, line.get_ydata())], str(line.get_color()))  # pyright: ignore
        for line in axes.lines
        if not str(line.get_label()).startswith("_")
    }  # fmt: skip


def dots(axes: Axes) -> set[tuple[float, float]]:
    """Return the points without a label."""
    return {
        (float(x), float(y))
        for line in axes.lines
        if str(line.get_label()).startswith("_")
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)  # pyright: ignore
    }
