"""What does a synthetic gradient cost, and what would a user take in its place? The table that decides.

    python benchmarks/cost.py [--quick] [--json FILE] [--shapes 2x200 ...] [--only seconds ...] [--seeds 0 1 2]
    python benchmarks/cost.py --from quality.json seconds.json ...

Asked twice: with a budget of memory that holds the graph of one window (--windows), where windows go one after another
and each graph is freed, and with any memory (--any-memory), where they run as one batch where that is faster. Both have
the same numbers, so that each is trained once. Everybody takes one update per span of 20 steps.

Rivals: `truncated` at each window; `longer`, truncated at 28 with spans as long; `exact ahead`, TBPTT(20, 28);
`checkpointed`, the exact gradient of the span of 20, and of 28 (`longer`), at the memory of a window: their numbers are
those of truncation at 20 and of `longer`. Synthetic gradients: `synthetic`, the default; `large`, with a larger network
and the model run ahead, and so with output gradients beyond the span from its `targets` alone; `diagonal`, without a
network; those that learn in one of eight updates (`every 8th`); and the control `shuffled`, what noise alone does. A
stream takes an update every step, and its longer window is TBPTT(1, k). Estimators that a recipe has no words for are
left out, and named.

Measured are, each by itself with --only, all but the first in one go:

quality: validation perplexity or bits along an ordinary run of `sgrnn train`, and at its end, seed by seed.
seconds: of an update, one thread, all with a window and the reference, truncation at 20, side by side in
    interleaved rounds. Ratios are between neighbours in a round, per token: to truncation at the same window and
    budget, and to the reference. Medians and quartiles. Wants an idle machine.
memory: bytes of tensors that the third update adds at most, of a stream the 41st, as torch's allocator on a CPU counts
    them: activations, gradients, what is in between; neither parameters and optimizers, nor what other libraries take.
calls: of torch's operators in that update, those inside others too.

Quality at equal seconds is that which a run had when the time was up that the reference takes for all its tokens, from
the curve, straight in the logarithm of time between its points. What is faster and was at its end by then has a star.
What learns in one of eight updates is timed as it does that; its first 1,000, in all of which it learns, count as long
as those of what always learns, and without a time of that as long as its own.
Records of several files count together, of the same thing the last.

Every run lies in a folder of its own under --out, --jobs of them at a time: stopped, the benchmark goes on where it was
when called again. Seconds, memory and calls are taken anew. --quick stops each run after 40 updates of one seed, at one
window for each budget. 3x1150 is trained for a tenth of an epoch. Seeds come one after another, shapes in their order.

Needs the corpus: sgrnn data fetch ptb (characters are made from its words' text: sgrnn data list)
"""

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence

from frame import Condition, Record, add_training_options, benchmark, score_of, train_recipes, value_at, whole
from rivals import RIVALS, SHAPES, Place, fields_of, places, recipe_of, reference
from shown import print_by_column, print_table, quartiles, spread, write_quartiles
from texts import TASKS
from updates import round_of, seconds_by_round, weigh

from sgrnn.synthesizers.predictor import FIRST

PARTS = ("calls", "memory", "seconds", "quality")
MILLISECONDS, MEMORY, CALLS = "milliseconds per update", "peak memory of an update, MiB", "operator calls per update"
OVER_TRUNCATED, OVER_REFERENCE = "time over truncated", "time over the reference"
FIELDS = Place._fields
MEBIBYTE = 1 << 20


def weights(place: Place, parts: Sequence[str]) -> Iterator[Record]:
    """Yield the operator calls and the memory of an update."""
    recipe, graphs = recipe_of(place)
    # A stream has its whole past by then.
    calls, size = weigh(recipe, before=2 if SHAPES[place.shape].evaluate_every else 40)
    for part, metric, value in (("calls", CALLS, calls), ("memory", MEMORY, size / MEBIBYTE)):
        if part in parts:
            yield {"metric": metric, "value": value, "graphs": graphs, **fields_of(place)}


def seconds(lines: Sequence[Place], rounds: int) -> Iterator[Record]:
    """Time the places of a shape, those with the same window and the reference side by side."""
    unit, updates = reference(lines[0].shape), SHAPES[lines[0].shape].updates
    for window in dict.fromkeys(place.window for place in lines):
        group = {place: recipe_of(place) for place in (unit, *lines) if place.window == window or place == unit}
        recipes = {place: recipe for place, (recipe, _) in group.items()}
        whole_rounds = math.lcm(*map(round_of, recipes.values()))
        times = seconds_by_round(recipes, rounds, -(-updates // whole_rounds) * whole_rounds)
        per_token = {place: [value / (group[place][0].span or 1) for value in found] for place, found in times.items()}
        for place in group:
            if place == unit and window != unit.window:
                continue
            found = {MILLISECONDS: [1e3 * value for value in times[place]]}
            own = Place(place.shape, "truncated", window, place.budget)
            for metric, other in ((OVER_TRUNCATED, own), (OVER_REFERENCE, unit)):
                if other in group:
                    pairs = zip(per_token[place], per_token[other], strict=True)
                    found[metric] = [one / two for one, two in pairs]
            fields = {"rounds": rounds, "graphs": group[place][1], **fields_of(place)}
            yield from ({"metric": metric, **quartiles(values), **fields} for metric, values in found.items())


def conditions(lines: Sequence[Place], seed: int, quick: bool) -> list[Condition]:
    """Return the runs to be made, each once though several places have its numbers."""
    found = []
    for place in dict.fromkeys(place.trained for place in lines if SHAPES[place.shape].evaluate_every is not None):
        recipe, _ = recipe_of(place, seed, 40 if quick else None)
        fields = fields_of(place)
        del fields["budget"]
        found.append(Condition({**fields, "seed": seed, "quick": quick}, recipe))
    return found


def score(condition: Condition, rows: list[Record]) -> Record:
    """Return the last evaluation of a run, and the curve up to it."""
    task = TASKS[condition.fields["task"]]
    return score_of(rows, task.name, task.figure, best=False)


def at_equal_seconds(record: Record, ratio: float, first: float | None = None) -> float | None:
    """Return what a run was at when the time was up in which the reference learns from as many tokens.

    None before its first evaluation. What is faster than the reference has what it was at in its end.

    Args:
        record: of the run.
        ratio: its time over the reference's, per token.
        first: this ratio in the first updates, in all of which a synthesizer learns; None for the same.
    """
    in_time = updates_in_time(record["updates"], ratio, first)
    if in_time >= record["updates"] or record["value"] is None:
        return record["value"]
    curve = [[math.log(update), value] for update, value in record["curve"]]
    return value_at(curve, math.log(in_time))


def updates_in_time(updates: int, ratio: float, first: float | None) -> float:
    """Return how many updates of a run take the time of so many of the reference; see `at_equal_seconds`."""
    longer = 0.0 if first is None else (first - ratio) * min(FIRST, updates / first)
    return (updates - longer) / ratio


def show(records: list[Record]) -> None:
    """Print for every shape a line for each estimator, window and budget; then the curves."""
    for shape in dict.fromkeys(r["shape"] for r in records):
        here = [r for r in records if r["shape"] == shape]
        measured = {(Place(*(r[name] for name in FIELDS)), r["metric"]): r for r in here if "budget" in r}
        runs = {(r["estimator"], r["window"], r["seed"]): r for r in here if "seed" in r}
        lines = [place for place, _ in measured]
        shown = {(place.trained.estimator, place.window) for place in lines if not place.rival.numbers}
        lines += [Place(shape, name, window, "any") for name, window, _ in runs if (name, window) not in shown]
        _print_lines(shape, sorted(dict.fromkeys(lines), key=lambda place: place.budget), measured, runs)
        _print_curves(shape, runs)


def _print_lines(
    shape: str, lines: list[Place], measured: dict[tuple[Place, str], Record], runs: dict[tuple, Record]
) -> None:
    task, rows = TASKS[SHAPES[shape].task], []
    for place in lines:
        own = [run for (*which, _), run in runs.items() if which == [place.trained.estimator, place.trained.window]]
        ratio, first = (
            measured.get((each, OVER_REFERENCE), {}).get("value") for each in (place, place.while_learning)
        )  # fmt: skip
        cells = [spread([run["value"] for run in own], task.digits) if own else ""]
        equal = [value for run in own if ratio and (value := at_equal_seconds(run, ratio, first)) is not None]
        faster = ratio and any(updates_in_time(run["updates"], ratio, first) > run["updates"] for run in own)
        cells.append(spread(equal, task.digits) + "*" * bool(faster) if equal else "")
        for metric, form in (
            (OVER_REFERENCE, ""),
            (OVER_TRUNCATED, ""),
            (MILLISECONDS, ""),
            (MEMORY, ".1f"),
            (CALLS, ",.0f"),
        ):
            record = measured.get((place, metric))
            cells.append("" if record is None else format(record["value"], form) if form else write_quartiles(record))
        graphs = next((r["graphs"] for (which, _), r in measured.items() if which == place), "")
        rows.append([place.estimator, f"{place.window}", place.budget, graphs, *cells])
    unit = f"T={reference(shape).window}"
    print_table(
        ["", "T", "memory", "graphs", task.name, "at equal seconds", f"time of truncated {unit}", "of truncated T",
         "ms", "MiB", "calls"], rows, shape,
    )  # fmt: skip


def _print_curves(shape: str, runs: dict[tuple, Record]) -> None:
    """Print the medians over seeds at every evaluation."""
    values: dict[tuple[str, str], list[float]] = {}
    for (estimator, window, _), run in runs.items():
        for update, value in run["curve"]:
            values.setdefault((f"{estimator} T={window}", f"{update}"), []).append(value)
    task = TASKS[SHAPES[shape].task]
    cells = {place: f"{statistics.median(found):.{task.digits}f}" for place, found in values.items()}
    if cells:
        print_by_column(cells, f"{shape}, {task.name} by update")


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Weigh and time every shape, then train, seed by seed."""
    shapes = asked.shapes or (["2x200", "1x128", "stream of 64"] if asked.quick else list(SHAPES))
    windows, any_memory = (
        (asked.windows[:1], asked.any_memory[-1:]) if asked.quick else (asked.windows, asked.any_memory)
    )
    lines = {shape: places(shape, asked.estimators, any_memory, windows) for shape in shapes}
    for shape, here in lines.items():
        weighed = [place for place in here if place.rival.weighed]
        if {"calls", "memory"} & {*asked.only}:
            for place in weighed:
                yield from weights(place, asked.only)
        if "seconds" in asked.only:
            yield from seconds(weighed, asked.rounds or (3 if asked.quick else 12))
        print(f"{shape}: weighed", flush=True)
    if "quality" in asked.only:
        everything = [place for here in lines.values() for place in here]
        runs = [
            each
            for seed in asked.seeds[: 1 if asked.quick else None]
            for each in conditions(everything, seed, asked.quick)
        ]
        yield from train_recipes(runs, asked, score)


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_training_options(made)
    made.add_argument("--shapes", nargs="+", choices=SHAPES, help=f"of {', '.join(SHAPES)}; all")
    made.add_argument("--windows", type=whole(1), nargs="*", default=[5, 1], help="that the budget of memory holds")
    made.add_argument("--any-memory", type=whole(1), nargs="*", default=[1, 5, 10, 20], help="windows with any memory")
    made.add_argument("--estimators", nargs="+", choices=RIVALS, default=list(RIVALS))
    made.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured; all")
    made.add_argument("--rounds", type=whole(2), help="of timing")


if __name__ == "__main__":
    benchmark(__doc__, options, run, show)
