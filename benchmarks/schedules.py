"""Real and synthetic gradients by schedule: the recipes `schedule-*` side by side, over several seeds.

    python benchmarks/schedules.py [--quick] [--json FILE] [--recipes NAME ...] [--seeds 0 1 2] [--jobs 2]
                                   [--out FOLDER] [--figure FILE]

The six conditions of Shang & Zhang (2019), at a size that two CPU cores train to convergence, and our own beside them.
For each: the best validation perplexity, the epoch and the time at which it was reached, and the time of the whole run,
in units of BPTT's whole run. What an update costs on real and on synthetic gradients is measured beforehand, side by
side in interleaved rounds, one thread each; the time of a run is the sum over its updates, by their source, so that
what else the machine did meanwhile does not count. The figure shows the curves over epochs and over that time. A run
that is dearer is not cut off at another's time: its learning rate would not have come down.

Every run is an ordinary one of `sgrnn train` in a folder of its own under --out, --jobs of them at a time: stopped, the
benchmark goes on where it was when called again. --quick stops after 300 updates of one seed, before the
source ever changes: it shows that everything runs.

Needs the corpus: sgrnn data fetch ptb
"""

import argparse
import math
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure
from options import command, parser, whole
from records import Record, save_figure, spread, write_records
from runs import seconds_per_update

from sgrnn.config.build.gradient import build_source, time_unit
from sgrnn.config.files import load_recipe, shipped_recipes
from sgrnn.config.recipe import Recipe
from sgrnn.training.train_all import train_all

PREFIX = "schedule-"
REFERENCE = PREFIX + "bptt"
REAL = "real gradients"


def cumulative_seconds(recipe: Recipe, scores: list[Record], real: float, own: float) -> list[float]:
    """When a run stood at each evaluation, by what an update costs while its share is 0 and while it is not."""
    schedule, found, total, update = build_source(recipe), [], 0.0, 0
    for row in scores:
        unit = row["update"] / row["epoch"] if time_unit(recipe) == "epochs" else 1
        while update < row["update"]:
            total += real if schedule(update / unit) == 0 else own
            update += 1
        found.append(total)
    return found


def summarize(name: str, seed: int, recipe: Recipe, rows: list[Record], costs: dict[str, float]) -> Record:
    """The best perplexity of a run and its curve over updates and seconds."""
    scores = [row for row in rows if "valid_loss" in row]
    record: Record = {
        "metric": "best validation perplexity", "recipe": name, "seed": seed, "span": recipe.training.span,
        "value": min((row["valid_perplexity"] for row in scores), default=None), "epochs": recipe.training.epochs,
        "synthetic_cost_ratio": costs[name] / costs[REAL],
    }  # fmt: skip
    seconds = cumulative_seconds(recipe, scores, costs[REAL], costs[name])
    record["curve"] = [[row["epoch"], at, row["valid_perplexity"]] for row, at in zip(scores, seconds, strict=True)]
    if scores:
        whole = scores[-1]["update"] * costs[REAL]
        best = min(range(len(scores)), key=lambda place: scores[place]["valid_perplexity"])
        record |= {
            "time_ratio": seconds[-1] / whole, "best_epoch": scores[best]["epoch"], "best_time": seconds[best] / whole,
        }  # fmt: skip
    return record


def print_table(records: list[Record]) -> None:
    """A line for each recipe."""
    print(f"\n{'':34s}{'best validation perplexity':>34s}{'after epoch':>14s}{'at time':>10s}{'whole time':>12s}")
    for name in dict.fromkeys(record["recipe"] for record in records):
        found = [record for record in records if record["recipe"] == name]
        values = spread([math.inf if r["value"] is None else r["value"] for r in found], 2)
        keys = ("best_epoch", "best_time", "time_ratio")
        epoch, at, whole = (median([r[key] for r in found if key in r] or [math.nan]) for key in keys)
        print(f"{name:34s}{values:>34s}{epoch:14.0f}{at:10.2f}{whole:12.2f}")


def plot(records: list[Record], path: Path) -> None:
    """Validation perplexity over epochs and over seconds: medians, and each seed faintly."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    by_epoch, by_seconds = figure.subplots(1, 2, sharey=True)
    records = [record for record in records if record["curve"]]
    for index, name in enumerate(dict.fromkeys(record["recipe"] for record in records)):
        curves = [record["curve"] for record in records if record["recipe"] == name]
        for axes, column in ((by_epoch, 0), (by_seconds, 1)):
            for curve in curves:
                axes.plot([row[column] for row in curve], [row[2] for row in curve], color=f"C{index}", alpha=0.25)
            rows = list(zip(*curves, strict=False))
            middle = [median(row[2] for row in at) for at in rows]
            axes.plot([at[0][column] for at in rows], middle, "o-", color=f"C{index}", label=name.removeprefix(PREFIX))
    by_epoch.set(xlabel="epoch", ylabel="validation perplexity")
    by_seconds.set(xlabel="seconds of one core")
    by_epoch.legend()
    for axes in (by_epoch, by_seconds):
        axes.grid(alpha=0.3, which="both")
    save_figure(figure, path)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__ or "")
    shipped = [name for name in shipped_recipes() if name.startswith(PREFIX)]
    made.add_argument("--recipes", nargs="+", choices=shipped, default=shipped)
    made.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1, 2])
    made.add_argument("--jobs", type=whole(1), default=2, help="runs trained at a time")
    made.add_argument("--figure", type=Path, metavar="FILE", help="draw the curves there, as PNG")
    made.add_argument("--out", type=Path, default=Path("benchmarks/out/schedules"))
    return made.parse_args()


def main() -> None:
    """Run every recipe and report."""
    arguments = parse_arguments()
    names = list(dict.fromkeys([REFERENCE, *arguments.recipes]))
    seeds = [arguments.seeds[0]] if arguments.quick else list(dict.fromkeys(arguments.seeds))
    while_synthetic = {name: load_recipe(name, ["--gradient.source.kind=constant"]) for name in names[1:]}
    costs = seconds_per_update({REAL: load_recipe(REFERENCE), **while_synthetic})
    costs[REFERENCE] = costs[REAL]
    planned = {}
    for seed in seeds:
        for name in names:
            overrides = [f"--training.seed={seed}", *["--training.max_updates=300"] * arguments.quick]
            planned[name, seed] = load_recipe(name, overrides)
    folders = {f"{name}-seed{seed}" + "-quick" * arguments.quick: recipe for (name, seed), recipe in planned.items()}
    records: list[Record] = []
    runs = train_all(folders, arguments.out, arguments.jobs)
    for ((name, seed), recipe), (folder, rows) in zip(planned.items(), runs, strict=True):
        records.append(summarize(name, seed, recipe, rows, costs))
        print(f"{folder}: {records[-1]['value']}", flush=True)
        write_records(records, arguments.json)
    print_table(records)
    if arguments.figure is not None:
        plot(records, arguments.figure)
    write_records(records, arguments.json)


if __name__ == "__main__":
    command(main)
