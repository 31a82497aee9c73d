"""Do synthetic gradients help? Truncation, synthetic gradients and two controls at each window, on real text.

    python benchmarks/quality.py [--quick] [--json FILE] [--task words] [--estimators synthetic ...] [--figure FILE]

The controls are a zero synthetic gradient (discount 0: what the machinery alone does; without dropout it equals
truncation to the bit, or something is wrong) and synthetic gradients shuffled across rows (what their noise alone
does). Everybody takes one update per span of 20 steps with the same optimizer; only the window differs, and the windows
of a span run as one batch. A window longer than 20 has a span of its own length, and so fewer updates. --rates trains
every condition at these multiples of the task's learning rate, and the table takes the best of each. --shapes asks the
same of other models. The tasks to convergence count the best epoch.

The contender with the same information is `exact ahead`: the exact gradient of the eight steps after each window, where
a synthesizer predicts that of the eight steps it sees. At a window as long as the span (20) it is TBPTT(20, 28), an
update every 20 steps and gradients through 28.

Beside these, with --estimators: `grounded` (in one span of four the windows are four times as long, up to the span),
`control variate` (all corrected by the true gradients of a quarter of the rows), `adjoint` (a learned backward pass
through the windows of a span), `lambda 0.5` (TD(lambda) over them), and cheaper: `light` (two steps ahead in the place
of eight, half of the synthesizer's units and rank) and `light, one ahead`.

Two numbers for each condition: after equal tokens, and after equal seconds, the time that truncation with the first
long window takes for its epoch. How long an update takes is measured beforehand, all conditions side by side in
interleaved rounds, one thread each, windows as one batch only where that is faster; --no-seconds leaves that out.
Differences from truncation at the same window and at the first long one are taken seed by seed, with their standard
errors. Operations and steps of the core per token are counted: of an update as it runs here, windows as one batch.

Every condition is an ordinary run of `sgrnn train` in a folder of its own under --out, --jobs of them at a time:
stopped, the benchmark goes on where it was when called again. --quick stops each after 232 updates, for words a tenth
of an epoch, and leaves out equal seconds. --from prints the tables and draws the figure of earlier records.

Needs the corpus: sgrnn data fetch ptb (characters are made from its words' text: sgrnn data list)
"""

import argparse
import math
import statistics
from collections.abc import Iterator

from frame import (
    Condition,
    Record,
    add_training_options,
    benchmark,
    best_settings,
    grid,
    positive,
    score_of,
    train_recipes,
    value_at,
    whole,
)  # fmt: skip
from matplotlib.figure import Figure
from shown import STYLES, new_figure, plot_middles, print_by_column, spread, style
from texts import ESTIMATORS, SHAPES, TASKS, own_rate, recipe_of
from updates import count, seconds_per_update

PLACE = ("task", "shape", "estimator", "window")


def plan(asked: argparse.Namespace) -> list[Condition]:
    """Return the runs to be made."""
    long = ["truncated", *(["exact ahead"] if "exact ahead" in asked.estimators else [])]
    places = [(estimator, window) for window in asked.long for estimator in long]
    places += [(estimator, window) for window in asked.windows for estimator in asked.estimators]
    conditions = []
    for fields in grid(seed=asked.seeds, task=asked.task, shape=asked.shapes, place=places, multiple=asked.rates):
        estimator, window = fields.pop("place")
        rate = fields.pop("multiple") * own_rate(fields["task"], fields["shape"])
        fields |= {"estimator": estimator, "window": window, "learning_rate": rate, "quick": asked.quick}
        conditions.append(Condition(fields, recipe_of(fields)))
    return conditions


def score(condition: Condition, rows: list[Record]) -> Record:
    """Return the score of a run: of the best epoch if trained to convergence, by early stopping, else of the last."""
    assert condition.recipe is not None
    name, training = condition.fields["task"], condition.recipe.training
    found = score_of(rows, TASKS[name].name, TASKS[name].figure, best="convergence" in name)
    return found | {"span": training.span, "precision": training.output_precision, "threads": 1}


def key(record: Record) -> tuple:
    """Return the fields of a record that identify a line of a table."""
    return tuple(record[name] for name in PLACE)


def costs(conditions: list[Condition], asked: argparse.Namespace) -> Iterator[Record]:
    """Count and time an update of every estimator and window; over truncation at the first long window, if any.

    Equal seconds compare curves over one epoch: to convergence the learning rate has not come down in time, so these
    are not timed.
    """
    firsts = {key(condition.fields): condition for condition in reversed(conditions)}
    seconds: dict[tuple, float] = {}
    if asked.long and not asked.no_seconds and not asked.quick:
        timed = {place: recipe_of(c.fields, "null") for place, c in firsts.items() if "convergence" not in place[0]}
        for group in dict.fromkeys(place[:2] for place in timed):
            seconds |= seconds_per_update({place: recipe for place, recipe in timed.items() if place[:2] == group})
    counted = {} if asked.no_counts else {place: count(c.recipe) for place, c in firsts.items() if c.recipe}
    for place in firsts:
        reference = (*place[:2], "truncated", asked.long[0]) if asked.long else place
        found = {f"{name} per token": value for name, value in counted.get(place, {}).items()}
        if place in counted:
            found["operations over truncated"] = counted[place]["operations"] / counted[reference]["operations"]
        if place in seconds:
            found["seconds per update"] = seconds[place]
            found["time over truncated"] = seconds[place] / seconds[reference]
        fields = {**dict(zip(PLACE, place, strict=True)), "truncated_window": reference[3]}
        for metric, value in found.items():
            yield {"metric": metric, "value": value, **fields}


def differences(records: list[Record], long: int | None) -> list[Record]:
    """Return the mean over seeds of every estimator's distance from truncation with the same seed.

    Truncation is that at the same window, and that at the long one; the standard error is that of the mean.
    """
    found: list[Record] = []
    groups: dict[tuple, dict[int, float]] = {}
    for record in best_rates([r for r in records if r["value"] is not None]):
        groups.setdefault(key(record), {})[record["seed"]] = record["value"]
    for (task, shape, estimator, window), values in groups.items():
        for other in dict.fromkeys(([window] if estimator != "truncated" else []) + ([long] if long else [])):
            reference = groups.get((task, shape, "truncated", other), {})
            seeds = sorted(values.keys() & reference.keys())
            if (estimator, window) == ("truncated", other) or len(seeds) < 2:
                continue
            gaps = [values[seed] - reference[seed] for seed in seeds]
            found.append({
                "metric": f"difference in {TASKS[task].name}", "value": statistics.fmean(gaps),
                "standard_error": statistics.stdev(gaps) / len(gaps) ** 0.5, "task": task, "shape": shape,
                "estimator": estimator, "window": window, "truncated_window": other, "seeds": seeds,
            })  # fmt: skip
    return found


def at_equal_seconds(records: list[Record], ratios: dict[tuple, float], long: int) -> list[Record]:
    """Return each record with the value that it had when the time was up that truncation at the long window takes.

    What trains faster than that would have gone on for longer than it did: it is left out, but for the reference.
    """
    found: list[Record] = []
    for record in records:
        reference = (record["task"], record["shape"], "truncated", long)
        ends = [other["updates"] for other in records if key(other) == reference and other["curve"]]
        if key(record) in ratios and ends:
            ratio = ratios[key(record)]
            value = value_at(record["curve"], max(ends) / ratio)
            if value is not None:
                metric = f"{record['metric']} at equal seconds"
                found.append({**record, "metric": metric, "value": value, "cost_ratio": ratio})
    return found


def best_rates(records: list[Record]) -> list[Record]:
    """Return the records of the learning rate with the best median of every task, shape, estimator and window."""
    place = ("metric", *PLACE)
    return best_settings(records, place, ("learning_rate",), lambda r: -math.inf if r["value"] is None else -r["value"])


def show(records: list[Record]) -> None:
    """Print what updates cost, a table by estimator and window for every task, shape and metric, and differences."""
    scores = [r for r in records if "learning_rate" in r]
    cells = {(_name(r), r["metric"]): f"{r['value']:.4g}" for r in records if r not in scores and "seeds" not in r}
    if cells:
        print_by_column(cells, "an update; truncated is that at the first long window")
    for group in sorted({(r["task"], r["shape"], r["metric"]) for r in scores}):
        found = [r for r in scores if (r["task"], r["shape"], r["metric"]) == group]
        digits = TASKS[group[0]].digits
        cells, rates = {}, sorted({r["learning_rate"] for r in found})
        chosen = [("", best_rates(found))]
        if len(rates) > 1:
            chosen += [(f", rate {rate:g}", [r for r in found if r["learning_rate"] == rate]) for rate in rates]
        for suffix, kept in chosen:
            for window in sorted({r["window"] for r in found}):
                for estimator in ESTIMATORS:
                    values = [r["value"] for r in kept if (r["estimator"], r["window"]) == (estimator, window)]
                    if values:
                        cells[estimator + suffix, f"T={window}"] = spread(values, digits)
        print_by_column(cells, ", ".join(group))
    cells = {}
    for r in records:
        if "standard_error" in r:
            digits = TASKS[r["task"]].digits
            value = f"{r['value']:+.{digits}f} ± {r['standard_error']:.{digits}f} ({len(r['seeds'])} seeds)"
            cells[_name(r), f"less truncated T={r['truncated_window']}"] = value
    if cells:
        print_by_column(cells, "differences, seed by seed")


def _name(record: Record) -> str:
    return ", ".join(key(record)[:3]) + f" T={record['window']}"


def draw(records: list[Record]) -> Figure:
    """Draw the value against the window for every task, estimators as lines through medians, seeds as dots."""
    wanted = [r for r in records if "learning_rate" in r and "seconds" not in r["metric"] and r["value"] is not None]
    groups = sorted({(r["task"], r["shape"]) for r in wanted}, key=lambda group: list(TASKS).index(group[0]))
    figure, panels = new_figure(len(groups))
    for axes, (task, shape) in zip(panels, groups, strict=True):
        here = [r for r in best_rates(wanted) if (r["task"], r["shape"]) == (task, shape)]
        windows = sorted({r["window"] for r in here})
        for estimator in (name for name in STYLES if name in ESTIMATORS):
            points = [(r["window"], r["value"]) for r in here if r["estimator"] == estimator]
            plot_middles(axes, points, estimator, windows, **style(estimator))
        title = f"Penn Treebank {task}" + ("" if shape == "base" else f", {shape}")
        axes.set(xlabel="window T", ylabel=TASKS[task].name, title=title)
        axes.legend()
    return figure


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Count, time and train every condition."""
    conditions, long = plan(asked), next(iter(asked.long), None)
    ratios = {}
    for record in costs(conditions, asked):
        if record["metric"] == "time over truncated":
            ratios[key(record)] = record["value"]
        yield record
    records = []
    for record in train_recipes(conditions, asked, score):
        records.append(record)
        yield record
    if long is not None:
        yield from at_equal_seconds(records, ratios, long)
    yield from differences(records, long)


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_training_options(made)
    made.add_argument("--task", choices=TASKS, nargs="+", default=["words"])
    made.add_argument("--windows", type=whole(1), nargs="+", default=[1, 2, 5, 10])
    made.add_argument("--long", type=whole(1), nargs="*", default=[20, 50], help="longer windows, for truncation alone")
    made.add_argument("--estimators", nargs="+", choices=ESTIMATORS, default=list(ESTIMATORS)[:4])
    made.add_argument("--rates", type=positive, nargs="+", default=[1.0], help="multiples of the task's learning rate")
    made.add_argument("--shapes", nargs="+", choices=SHAPES, default=["base"])
    made.add_argument("--no-seconds", action="store_true", help="leave out the values at equal seconds")
    made.add_argument("--no-counts", action="store_true", help="count no operations")


if __name__ == "__main__":
    benchmark(__doc__, options, run, show, draw)
