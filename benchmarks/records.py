"""What every benchmark shares: its two options, and results as flat records."""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sgrnn.data.atomic import atomic_write

Record = dict[str, Any]


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with --quick and --json."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="minutes instead of hours")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the records there")
    return made


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
