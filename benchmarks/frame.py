"""A benchmark as a command: its options, the conditions that it runs, and its flat records, written and read again."""

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sgrnn.config.recipe import Recipe
from sgrnn.data.atomic import atomic_write
from sgrnn.errors import InputError
from sgrnn.training.train_all import processes, train_all

Record = dict[str, Any]
LARGE: dict[str, Any] = {"hidden_size": 128, "rank": 32, "projection": 32, "near": 2}
"""Sizes of the synthesizer that was the default until the small one was, which most records were measured with."""
COMPARED = {
    "truncated": ["--gradient.kind=truncated"],
    "synthetic": ["--gradient.kind=synthetic"],
    "zero": ["--gradient.kind=synthetic", "--gradient.discount=0"],
    "shuffled": ["--gradient.kind=synthetic", "--gradient.shuffle=true"],
}  # overrides of a recipe: synthetic gradients, what they are compared with, and two controls
LATE = ("target_r2", "shrinkage", "target_cosine", "cell_norm")


def benchmark(
    doc: str | None,
    options: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], Iterable[Record]],
    show: Callable[[list[Record]], None],
    draw: Callable[[list[Record]], Figure] | None = None,
) -> None:
    """Run a benchmark as the command line asks, or read its records, then print its tables and draw its figure.

    Args:
        doc: what it is, for its help.
        options: adds those that are its own.
        run: yields the records, which are written after every one of them.
        show: prints the tables.
        draw: makes the figure.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options(parser)
    parser.add_argument("--quick", action="store_true", help="minutes instead of hours")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records there")
    parser.add_argument("--from", dest="source", type=Path, nargs="+", metavar="FILE", help="read records, run nothing")
    if draw is not None:
        parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the records there, as PNG")
    asked = parser.parse_args()
    try:
        records: list[Record] = []
        for record in run(asked) if asked.source is None else itertools.chain(*map(read_records, asked.source)):
            records.append(record)
            if asked.json is not None:
                write(asked.json, (json.dumps(records, indent=1) + "\n").encode())
        if not records:
            raise InputError("nothing to show: no condition is left by these options, or no record is in these files")
        try:
            show(records)
            if draw is not None and asked.figure is not None:
                draw(records).savefig(asked.figure, format="png", dpi=110)
        except KeyError as missing:
            if asked.source is None:
                raise
            raise InputError(f"these are no records of {parser.prog}: {missing} is missing or unknown") from missing
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def add_training_options(parser: argparse.ArgumentParser, seeds: int = 3, jobs: int = 1) -> None:
    """Add the options of a benchmark that trains: seeds, processes, and where its runs lie."""
    out = Path("benchmarks/out") / Path(parser.prog).stem
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=list(range(seeds)))
    parser.add_argument("--jobs", type=whole(1), default=jobs, help="conditions trained at a time")
    parser.add_argument("--out", type=Path, default=out, help="the folder of runs, which go on when called again")


def whole(least: int) -> Callable[[str], int]:
    """Return the type of an option that is a whole number from `least` on."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} on, got {text}")
        return int(text)

    return read


def positive(text: str) -> float:
    """Read an option that is a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def read_records(path: Path) -> list[Record]:
    """Read the records of an earlier run.

    Raises:
        InputError: the file cannot be read, or holds anything else.
    """
    try:
        records = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the records in {path}: {error}") from None
    if not isinstance(records, list) or not all(isinstance(one, dict) and "metric" in one for one in records):
        raise InputError(f"{path} must hold a list of records, each with a metric, as --json writes them")
    return records


def write(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(content)


@dataclass(frozen=True)
class Condition:
    """One run, and what it is measured on.

    Args:
        fields: plain values, which name the run and are part of every record of it.
        recipe: of a run that is trained by one.
    """

    fields: Record
    recipe: Recipe | None = None

    @property
    def name(self) -> str:
        """Name of the condition's files: texts as they are, numbers after their field, flags where they are set."""
        parts: list[str] = []
        for key, value in self.fields.items():
            if isinstance(value, bool):
                parts += [key] * value
            else:
                parts.append(value if isinstance(value, str) else f"{key}{value:.9g}")
        return "-".join(parts).replace(" ", "_").replace(",", "")


def grid(**choices: Iterable[Any]) -> list[Record]:
    """Return every combination of the choices once, the last changing fastest."""
    combinations = itertools.product(*(dict.fromkeys(values) for values in choices.values()))
    return [dict(zip(choices, values, strict=True)) for values in combinations]


def train_recipes(
    conditions: Sequence[Condition],
    asked: argparse.Namespace,
    score: Callable[[Condition, list[Record]], Record],
) -> Iterator[Record]:
    """Train the recipes of all conditions, several at a time, and yield the score of each with its fields."""
    recipes = {condition.name: condition.recipe for condition in conditions if condition.recipe is not None}
    for condition, (name, rows) in zip(conditions, train_all(recipes, asked.out, asked.jobs), strict=True):
        record = {**score(condition, rows), **condition.fields}
        print(f"{name}: {record['value']} in {record.get('seconds', 0):.0f} s", flush=True)
        yield record


def score_of(rows: list[Record], metric: str, figure: str, best: bool = True) -> Record:
    """Return the score of a run; its value is None if it diverged.

    Args:
        rows: what it logged.
        metric: the name of the value.
        figure: the logged number that counts.
        best: take the lowest evaluation, in the place of the last.
    """
    scores = [row for row in rows if figure in row]
    values = [row[figure] for row in scores] or [None]
    record: Record = {
        "metric": metric, "value": min(values) if best else values[-1],
        "curve": [[row["update"], row[figure]] for row in scores],
    }  # fmt: skip
    if scores:
        record |= {"updates": scores[-1]["update"], "epochs": scores[-1]["epoch"], "seconds": scores[-1]["seconds"]}
    late = [row for row in rows if "loss" in row][-5:]
    found = {name: [row[name] for row in late if name in row] for name in LATE}
    return record | {name: statistics.fmean(values) for name, values in found.items() if values}


def value_at(curve: list[list[float]], update: float) -> float | None:
    """Interpolate between two evaluations; None before the first and after the last."""
    for (before, low), (after, high) in pairwise(curve):
        if before <= update <= after:
            return low + (high - low) * (update - before) / (after - before)
    return None


def run_all(train: Callable[..., Record], conditions: Sequence[Condition], out: Path, jobs: int) -> Iterator[Record]:
    """Yield the results of ``train(**fields)`` in the conditions' order, those already there from files in `out`."""
    paths = [out / f"{condition.name}.json" for condition in conditions]
    with processes(jobs, 1) as pool:
        running = [
            None if path.exists() else pool.submit(_run, train, condition, path)
            for condition, path in zip(conditions, paths, strict=True)
        ]
        for path, future in zip(paths, running, strict=True):
            if future is not None:
                future.result()
            yield json.loads(path.read_text("utf-8"))


def _run(train: Callable[..., Record], condition: Condition, path: Path) -> None:
    write(path, (json.dumps(train(**condition.fields)) + "\n").encode())


def best_settings(
    records: Iterable[Record], place: Sequence[str], settings: Sequence[str], score: Callable[[Record], float]
) -> list[Record]:
    """Return for every place the records of the setting with the highest median score, of equal ones the first."""
    groups: dict[tuple, dict[tuple, list[Record]]] = {}
    for record in records:
        where, tried = (tuple(record[name] for name in names) for names in (place, settings))
        groups.setdefault(where, {}).setdefault(tried, []).append(record)
    best = [
        max(group.values(), key=lambda same: statistics.median(score(record) for record in same))
        for group in groups.values()
    ]
    return [record for same in best for record in same]
