"""Two and three levels against flat LSTMs of as many products per character and of as many parameters.

    python benchmarks/hierarchy.py [--quick] [--json FILE] [--recipes NAME ...] [--windows 4 16]
                                   [--estimators truncated synthetic ...] [--seeds 0 1 2] [--epochs 1] [--jobs 1]
                                   [--out FOLDER] [--figure FILE] [--no-seconds]

The recipes `hierarchy-*` on characters of Penn Treebank, with every window and estimator, of which `zero` and
`shuffled` (every row has the gradient predicted for another) are controls: one update per span of 16 steps, or of the
window where that is longer, with the same optimizer. Validation bits per character after so many epochs, the best of
them. Beside it what a model takes: parameters, products per character, and the time of an update, measured beforehand
side by side in interleaved rounds on one thread, over that of the flat LSTM of as many products with the same window
and estimator.

Every condition is an ordinary run of `sgrnn train` in a folder of its own under --out, --jobs of them at a time:
stopped, the benchmark goes on where it was when called again. --quick stops each after 100 updates of one seed.

Needs the corpus: sgrnn data fetch ptb (characters are made from its words' text)
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from options import command, parser, whole
from records import Record, late_metrics, plot_by_window, save_figure, spread, write_records
from runs import COMPARED, seconds_per_update

from sgrnn.config.build.model import build_model
from sgrnn.config.files import load_recipe, shipped_recipes
from sgrnn.config.recipe import Recipe
from sgrnn.cores import HierarchicalCore
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.training.train_all import train_all

PREFIX = "hierarchy-"
FLAT = PREFIX + "flat"
FIGURE = "valid_bits_per_character"
CHARACTERS = 50
SPAN = 16


@dataclass(frozen=True)
class Condition:
    """One run to be made."""

    recipe: str
    estimator: str
    window: int
    seed: int
    epochs: int
    quick: bool

    @property
    def name(self) -> str:
        parts = [self.recipe, self.estimator, f"T{self.window}", f"{self.epochs}epochs", f"seed{self.seed}"]
        return "-".join(parts + ["quick"] * self.quick)

    @property
    def loaded(self) -> Recipe:
        """The shipped recipe with this estimator and window."""
        overrides = [*COMPARED[self.estimator], f"--gradient.window={self.window}"]
        overrides += [f"--training.span={max(SPAN, self.window)}"]
        overrides += [f"--training.seed={self.seed}", f"--training.epochs={self.epochs}"]
        overrides += ["--training.max_updates=100"] if self.quick else ["--training.evaluate_every=1000"]
        return load_recipe(self.recipe, overrides)


def products_per_step(model: SequenceModel) -> float:
    """Multiplications of weights in a step of the core, and of the output layer; a slower level's on the average."""
    parts: list[tuple[float, int]] = [(model.output.weight.numel(), 1)]
    core = model.core
    if isinstance(core, HierarchicalCore):
        for level, period in zip(core.levels, core.periods, strict=True):
            parts += [(weight.numel(), period) for weight in level.parameters() if weight.ndim == 2]
        for message, period in zip(core.condition, core.periods[1:], strict=True):
            parts += [(weight.numel(), period) for weight in message.parameters()]
    else:
        parts += [(weight.numel(), 1) for weight in core.parameters() if weight.ndim == 2]
    return sum(number / period for number, period in parts)


def summarize(condition: Condition, rows: list[Record]) -> Record:
    """How a run went; a value of None if it diverged."""
    model = build_model(condition.loaded, CHARACTERS)
    scores = [row for row in rows if FIGURE in row]
    record: Record = {
        "metric": "validation bits per character", "value": min((row[FIGURE] for row in scores), default=None),
        "recipe": condition.recipe, "estimator": condition.estimator, "window": condition.window,
        "seed": condition.seed,
        "epochs": condition.epochs, "quick": condition.quick,
        "products": products_per_step(model),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "curve": [[row["update"], row[FIGURE]] for row in scores],
    }  # fmt: skip
    return record | late_metrics(rows, ("target_r2", "shrinkage", "cell_norm"))


def print_table(records: list[Record], seconds: dict[tuple[str, str, int], float]) -> None:
    """A line for every recipe, estimator and window."""
    print(
        f"\n{'':28s}{'estimator':>11s}{'T':>4s}{'bits per character':>30s}{'products':>10s}"
        f"{'parameters':>12s}{'time':>7s}"
    )
    for place in dict.fromkeys((record["recipe"], record["estimator"], record["window"]) for record in records):
        found = [record for record in records if (record["recipe"], record["estimator"], record["window"]) == place]
        values = spread([math.inf if r["value"] is None else r["value"] for r in found], 4)
        reference = seconds.get((FLAT, *place[1:]))
        ratio = f"{seconds[place] / reference:.2f}" if reference and place in seconds else ""
        sizes = f"{found[0]['products']:10,.0f}{found[0]['parameters']:12,d}"
        print(f"{place[0]:28s}{place[1]:>11s}{place[2]:4d}{values:>30s}{sizes}{ratio:>7s}")


def plot(records: list[Record], path: Path) -> None:
    """For every recipe the figure against the window, a line for each estimator through the medians, seeds as dots."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    known = [record for record in records if record["value"] is not None]
    windows = sorted({record["window"] for record in known})
    for index, name in enumerate(dict.fromkeys(record["recipe"] for record in known)):
        for estimator, line in zip(COMPARED, ("o--", "o-", "+:", "x:"), strict=True):
            found = [record for record in known if (record["recipe"], record["estimator"]) == (name, estimator)]
            plot_by_window(axes, found, windows, f"{line}C{index}", f"{name.removeprefix(PREFIX)}, {estimator}")
    axes.set_ylabel("validation bits per character")
    figure.legend(loc="outside right upper")
    save_figure(figure, path)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__ or "")
    shipped = [name for name in shipped_recipes() if name.startswith(PREFIX)]
    made.add_argument("--recipes", nargs="+", choices=shipped, default=shipped)
    made.add_argument("--windows", type=whole(1), nargs="+", default=[4, 16])
    made.add_argument("--estimators", nargs="+", choices=COMPARED, default=["truncated", "synthetic"])
    made.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1, 2])
    made.add_argument("--epochs", type=whole(1), default=1)
    made.add_argument("--jobs", type=whole(1), default=1, help="conditions trained at a time")
    made.add_argument("--no-seconds", action="store_true", help="leave out the time of an update")
    made.add_argument("--figure", type=Path, metavar="FILE", help="draw the table there, as PNG")
    made.add_argument("--out", type=Path, default=Path("benchmarks/out/hierarchy"))
    return made.parse_args()


def main() -> None:
    """Run every condition and report."""
    asked = parse_arguments()
    seeds = [asked.seeds[0]] if asked.quick else list(dict.fromkeys(asked.seeds))
    planned = [
        Condition(name, estimator, window, seed, asked.epochs, asked.quick)
        for seed in seeds
        for name in dict.fromkeys(asked.recipes)
        for window in dict.fromkeys(asked.windows)
        for estimator in dict.fromkeys(asked.estimators)
    ]
    seconds: dict[tuple[str, str, int], float] = {}
    if not asked.no_seconds:
        first = {(c.recipe, c.estimator, c.window): c.loaded for c in planned if c.seed == seeds[0]}
        seconds = seconds_per_update(first, rounds=3 if asked.quick else 12)
    records: list[Record] = []
    runs = train_all({condition.name: condition.loaded for condition in planned}, asked.out, asked.jobs)
    for condition, (name, rows) in zip(planned, runs, strict=True):
        record = summarize(condition, rows)
        record["seconds_per_update"] = seconds.get((condition.recipe, condition.estimator, condition.window))
        records.append(record)
        print(f"{name}: {record['value']}", flush=True)
        write_records(records, asked.json)
    print_table(records, seconds)
    if asked.figure is not None:
        plot(records, asked.figure)


if __name__ == "__main__":
    command(main)
