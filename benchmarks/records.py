"""Results as flat records and figures: what every benchmark makes."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgrnn.data.atomic import atomic_write

Record = dict[str, Any]


def write_records(records: Sequence[Record], path: Path | None) -> None:
    """Write a list of flat records as JSON, if a file was named."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write((json.dumps(list(records), indent=1) + "\n").encode())
        print(f"records: {path}")


def best_settings(
    records: Sequence[Record], place: Sequence[str], settings: Sequence[str], score: Callable[[Record], float]
) -> dict[tuple, list[Record]]:
    """For every place in a table the records of the settings with the highest median score; both are names of fields.

    Of several that are equal the first.
    """
    groups: dict[tuple, dict[tuple, list[Record]]] = {}
    for record in records:
        where, tried = (tuple(record[name] for name in names) for names in (place, settings))
        groups.setdefault(where, {}).setdefault(tried, []).append(record)
    return {
        where: max(found.values(), key=lambda same: statistics.median(score(record) for record in same))
        for where, found in groups.items()
    }


def late_metrics(rows: Sequence[Record], names: Sequence[str]) -> Record:
    """What a run logged of the figures that it has, in the mean over its last five lines with a loss."""
    late = [row for row in rows if "loss" in row][-5:]
    return {name: statistics.fmean(row[name] for row in late) for name in names if late and name in late[-1]}


def plot_by_window(axes: Axes, records: Sequence[Record], windows: Sequence[int], style: str, label: str) -> None:
    """A line through the medians at each window, and a dot for every record; nothing if there are none.

    Args:
        axes: where the windows stand side by side, the n-th at n.
        records: with `window` and `value`.
        windows: all that there are, in order.
        style: of the line, as matplotlib abbreviates it.
        label: of the line.
    """
    if not records:
        return
    places = {window: place for place, window in enumerate(windows)}
    values = {window: [r["value"] for r in records if r["window"] == window] for window in windows}
    middles = [(places[window], statistics.median(found)) for window, found in values.items() if found]
    (line,) = axes.plot(*zip(*middles, strict=True), style, label=label)
    dots = [places[record["window"]] for record in records]
    axes.plot(dots, [record["value"] for record in records], ".", color=line.get_color(), alpha=0.4)
    axes.set_xticks(range(len(windows)), [str(window) for window in windows])
    axes.set_xlabel("window T")
    axes.grid(visible=True, alpha=0.3)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median, with the quartiles where there are enough values for them, else the range."""
    middle = statistics.median(values)
    if len(values) >= 4:
        low, _, high = statistics.quantiles(values, n=4)
    else:
        low, high = min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})" if len(values) > 1 else f"{middle:.{digits}f}"
