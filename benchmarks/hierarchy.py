"""Two and three levels against flat LSTMs of as many products per character and of as many parameters.

    python benchmarks/hierarchy.py [--quick] [--json FILE] [--recipes NAME ...] [--windows 4 16] [--figure FILE]

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
from collections.abc import Iterator

from frame import (
    COMPARED,
    Condition,
    Record,
    add_training_options,
    benchmark,
    grid,
    score_of,
    train_recipes,
    whole,
)  # fmt: skip
from matplotlib.figure import Figure
from shown import new_figure, plot_middles, print_table, spread, style
from updates import seconds_per_update

from sgrnn.config.build.model import build_model
from sgrnn.config.files import load_recipe, shipped_recipes
from sgrnn.config.recipe import Recipe
from sgrnn.cores import HierarchicalCore
from sgrnn.models.sequence_model import SequenceModel

PREFIX = "hierarchy-"
FLAT = PREFIX + "flat"
CHARACTERS = 50
SPAN = 16
PLACE = ("recipe", "estimator", "window")


def recipe_of(fields: Record) -> Recipe:
    """Return the shipped recipe with an estimator and a window."""
    overrides = [*COMPARED[fields["estimator"]], f"--gradient.window={fields['window']}"]
    overrides += [f"--training.span={max(SPAN, fields['window'])}"]
    overrides += [f"--training.seed={fields['seed']}", f"--training.epochs={fields['epochs']}"]
    overrides += ["--training.max_updates=100"] if fields["quick"] else ["--training.evaluate_every=1000"]
    return load_recipe(fields["recipe"], overrides)


def products_per_step(model: SequenceModel) -> float:
    """Count multiplications of weights in a step of core and output layer; a slower level's on the average."""
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


def score(condition: Condition, rows: list[Record]) -> Record:
    """Return the best evaluation of a run, and the size of its model."""
    assert condition.recipe is not None
    model = build_model(condition.recipe, CHARACTERS)
    sizes = {"products": products_per_step(model), "parameters": sum(p.numel() for p in model.parameters())}
    return score_of(rows, "validation bits per character", "valid_bits_per_character") | sizes


def show(records: list[Record]) -> None:
    """Print a line for every recipe, estimator and window."""
    lines = []
    for place in dict.fromkeys(tuple(r[name] for name in PLACE) for r in records):
        same = [r for r in records if tuple(r[name] for name in PLACE) == place]
        flat = [r for r in records if tuple(r[name] for name in PLACE) == (FLAT, *place[1:])]
        seconds, reference = ((group[0].get("seconds_per_update") if group else None) for group in (same, flat))
        ratio = f"{seconds / reference:.2f}" if seconds and reference else ""
        sizes = [f"{same[0][name]:,.0f}" if name in same[0] else "" for name in ("products", "parameters")]
        lines.append([place[0], place[1], f"{place[2]}", spread((r["value"] for r in same), 4), *sizes, ratio])
    print_table(["model", "estimator", "T", "bits per character", "products", "parameters", "time"], lines)


def draw(records: list[Record]) -> Figure:
    """Draw the value against the window: a colour for each estimator, a marker and line for each model."""
    kept = [r for r in records if r["value"] is not None]
    windows = sorted({r["window"] for r in kept})
    figure, (axes,) = new_figure(1)
    names = list(dict.fromkeys(r["recipe"] for r in kept))
    looks = [("o", "-"), ("s", "--"), ("^", "-."), ("D", ":")]
    for estimator in COMPARED:
        for name, (marker, line) in zip(names, looks, strict=False):
            points = [(r["window"], r["value"]) for r in kept if (r["recipe"], r["estimator"]) == (name, estimator)]
            options = {**style(estimator), "marker": marker, "linestyle": line}
            plot_middles(axes, points, f"{name.removeprefix(PREFIX)}, {estimator}", windows, **options)
    axes.set(xlabel="window T", ylabel="validation bits per character", title="Levels of several rates on characters")
    figure.legend(loc="outside right upper", fontsize="small")
    return figure


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Time and train every condition."""
    seeds = asked.seeds[:1] if asked.quick else asked.seeds
    chosen = grid(seed=seeds, recipe=asked.recipes, window=asked.windows, estimator=asked.estimators)
    planned = [fields | {"epochs": asked.epochs, "quick": asked.quick} for fields in chosen]
    conditions = [Condition(fields, recipe_of(fields)) for fields in planned]
    seconds: dict[tuple, float] = {}
    if not asked.no_seconds:
        firsts = {tuple(c.fields[name] for name in PLACE): recipe_of(c.fields) for c in reversed(conditions)}
        seconds = seconds_per_update(firsts, rounds=3 if asked.quick else 12)
    for record in train_recipes(conditions, asked, score):
        yield record | {"seconds_per_update": seconds.get(tuple(record[name] for name in PLACE))}


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_training_options(made)
    shipped = [name for name in shipped_recipes() if name.startswith(PREFIX)]
    made.add_argument("--recipes", nargs="+", choices=shipped, default=shipped)
    made.add_argument("--windows", type=whole(1), nargs="+", default=[4, 16])
    made.add_argument("--estimators", nargs="+", choices=COMPARED, default=["truncated", "synthetic"])
    made.add_argument("--epochs", type=whole(1), default=1)
    made.add_argument("--no-seconds", action="store_true", help="leave out the time of an update")


if __name__ == "__main__":
    benchmark(__doc__, options, run, show, draw)
