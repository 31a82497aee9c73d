"""Real and synthetic gradients by schedule: the recipes `schedule-*` side by side, over several seeds.

    python benchmarks/schedules.py [--quick] [--json FILE] [--recipes NAME ...] [--seeds 0 1 2] [--figure FILE]

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
from collections.abc import Iterator
from statistics import median

from frame import Condition, Record, add_training_options, benchmark, grid, score_of, train_recipes
from matplotlib.figure import Figure
from shown import BLUE, GREEN, ORANGE, PURPLE, legend, new_figure, plot_curves, print_table, spread
from updates import seconds_per_update

from sgrnn.config.build.gradient import build_source, time_unit
from sgrnn.config.files import load_recipe, shipped_recipes
from sgrnn.config.recipe import Recipe

PREFIX = "schedule-"
REFERENCE = PREFIX + "bptt"
REAL = "real gradients"
SOURCES = {"bptt": BLUE, "synthetic": GREEN, "alternating": ORANGE, "grounded": PURPLE}
RATES = {"": ("o", "-"), "half": ("^", "--"), "doubling": ("s", ":")}  # one cosine, or restarted


def cumulative_seconds(recipe: Recipe, scores: list[Record], real: float, own: float) -> list[float]:
    """Return a run's seconds at each evaluation, from the cost of an update with and without synthetic gradients."""
    schedule, found, total, update = build_source(recipe), [], 0.0, 0
    for row in scores:
        unit = row["update"] / row["epoch"] if time_unit(recipe) == "epochs" else 1
        while update < row["update"]:
            total += real if schedule(update / unit) == 0 else own
            update += 1
        found.append(total)
    return found


def score(condition: Condition, rows: list[Record], costs: dict[str, float]) -> Record:
    """Return the best perplexity of a run and its curve of [epoch, time, perplexity], BPTT's whole time being 1."""
    recipe, own = condition.recipe, costs[condition.fields["recipe"]]
    assert recipe is not None
    scores = [row for row in rows if "valid_loss" in row]
    record = score_of(rows, "best validation perplexity", "valid_perplexity")
    record |= {"span": recipe.training.span, "synthetic_cost_ratio": own / costs[REAL], "curve": []}
    if scores:
        seconds = cumulative_seconds(recipe, scores, costs[REAL], own)
        times = [at / (scores[-1]["update"] * costs[REAL]) for at in seconds]
        curve = [[row["epoch"], at, row["valid_perplexity"]] for row, at in zip(scores, times, strict=True)]
        best = min(curve, key=lambda place: place[2])
        record |= {"curve": curve, "time_ratio": times[-1], "best_epoch": best[0], "best_time": best[1]}
    return record


def show(records: list[Record]) -> None:
    """Print a line for each recipe."""
    lines = []
    for name in dict.fromkeys(r["recipe"] for r in records):
        same = [r for r in records if r["recipe"] == name]
        keys = ("best_epoch", "best_time", "time_ratio")
        epoch, at, whole = (median([r[key] for r in same if key in r] or [math.nan]) for key in keys)
        lines.append([name, spread((r["value"] for r in same), 2), f"{epoch:.0f}", f"{at:.2f}", f"{whole:.2f}"])
    print_table(["", "best validation perplexity", "after epoch", "at time", "whole time"], lines)


def draw(records: list[Record]) -> Figure:
    """Draw validation perplexity over epochs and over time: medians, and each seed faintly.

    A colour for each source of gradients, a marker and line for each course of the learning rate.
    """
    figure, panels = new_figure(2, height=5, sharey=True)
    for name in dict.fromkeys(r["recipe"] for r in records if r["curve"]):
        curves = [r["curve"] for r in records if r["recipe"] == name and r["curve"]]
        source, _, rates = name.removeprefix(PREFIX).partition("-")
        marker, line = RATES[rates]
        look = {"color": SOURCES[source], "marker": marker, "linestyle": line}
        for axes, column in zip(panels, (0, 1), strict=True):
            plot_curves(axes, curves, name.removeprefix(PREFIX), column, 2, **look)
    whole = any(len(r["curve"]) > 1 for r in records)
    figure.suptitle(("Validation perplexity" if whole else "Best validation perplexity") + " by schedule")
    panels[0].set(xlabel="epoch", ylabel="validation perplexity", title="by epoch")
    panels[1].set(xlabel="time, the whole run of bptt being 1", title="by time")
    legend(figure, panels[0])
    return figure


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Time and train every recipe."""
    names = list(dict.fromkeys([REFERENCE, *asked.recipes]))
    while_synthetic = {name: load_recipe(name, ["--gradient.source.kind=constant"]) for name in names[1:]}
    costs = seconds_per_update({REAL: load_recipe(REFERENCE), **while_synthetic}, rounds=3 if asked.quick else 12)
    costs[REFERENCE] = costs[REAL]
    conditions = []
    for fields in grid(seed=asked.seeds[:1] if asked.quick else asked.seeds, recipe=names):
        overrides = [f"--training.seed={fields['seed']}", *["--training.max_updates=300"] * asked.quick]
        conditions.append(Condition(fields | {"quick": asked.quick}, load_recipe(fields["recipe"], overrides)))
    yield from train_recipes(conditions, asked, lambda condition, rows: score(condition, rows, costs))


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_training_options(made, jobs=2)
    shipped = [name for name in shipped_recipes() if name.startswith(PREFIX)]
    made.add_argument("--recipes", nargs="+", choices=shipped, default=shipped)


if __name__ == "__main__":
    benchmark(__doc__, options, run, show, draw)
