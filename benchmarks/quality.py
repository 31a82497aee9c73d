"""Do synthetic gradients help? Truncation, synthetic gradients and two controls at each window, on real text.

    python benchmarks/quality.py [--quick] [--json FILE] [--task words] [--windows 1 2 5 10] [--long 20 50]
                                 [--estimators truncated synthetic zero shuffled ...] [--seeds 0 1 2] [--rates 0.5 1 2]
                                 [--shapes base] [--jobs 2] [--out FOLDER] [--figure FILE]

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
`adjoint` (a learned backward pass through the windows of a span), `lambda 0.5` (TD(lambda) over them), and cheaper:
`light` (two steps ahead in the place of eight, half of the synthesizer's units and rank) and `light, one ahead`.

Two figures for each condition: after equal tokens, and after equal seconds, the time that truncation with the first
long window takes for its epoch. How long an update takes is measured beforehand, all conditions side by side in
interleaved rounds, one thread each, windows as one batch only where that is faster; --no-seconds leaves that out.
Differences from truncation at the same window and at the first long one are taken seed by seed, with their standard
errors. Operations and steps of the core per token are counted: of an update as it runs here, windows as one batch.

Every condition is an ordinary run of `sgrnn train` in a folder of its own under --out, --jobs of them at a time:
stopped, the benchmark goes on where it was when called again. --quick stops each after 232 updates, for words a tenth
of an epoch, and leaves out equal seconds.

Needs the corpus: sgrnn data fetch ptb (characters are made from its words' text: sgrnn data list)
"""

import argparse
import math
import statistics
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from costs import count
from matplotlib.figure import Figure
from options import command, parser, positive, whole
from records import Record, best_settings, late_metrics, plot_by_window, save_figure, spread, write_records
from runs import COMPARED, seconds_per_update

from sgrnn.config.files import parse_recipe
from sgrnn.config.recipe import Recipe
from sgrnn.training.train_all import train_all

SPAN = 20


@dataclass(frozen=True)
class Task:
    """What is learned: a recipe without its estimator, and the figure that counts."""

    recipe: str
    figure: str
    name: str
    rate: float
    digits: int


TASKS = {
    "words": Task(
        """
        data: {corpus: ptb, tokenizer: {kind: word}}
        model: {core: lstm, hidden_size: 200}
        gradient: {kind: truncated, window: 20}
        optimizer: {kind: adam}
        training: {epochs: 1, batch_size: 20, span: 20, clip: 1.0, output_precision: bfloat16}
        """,
        "valid_perplexity", "validation perplexity", 4e-3, 2,
    ),
    "characters": Task(
        """
        data: {corpus: ptb-char, tokenizer: {kind: character}}
        model: {core: lstm, hidden_size: 128}
        gradient: {kind: truncated, window: 20}
        optimizer: {kind: adam}
        training: {epochs: 1, batch_size: 64, span: 20, clip: 1.0}
        """,
        "valid_bits_per_character", "validation bits per character", 2e-3, 4,
    ),
    "words to convergence": Task(
        """
        data: {corpus: ptb, tokenizer: {kind: word}}
        model: {core: lstm, hidden_size: 200, num_layers: 2, initial_range: 0.1}
        gradient: {kind: truncated, window: 20}
        optimizer: {kind: sgd, learning_rate: 20.0}
        schedule: {kind: step, factor: 0.5, after: 4}
        training: {epochs: 13, batch_size: 20, span: 20, clip: 0.25, output_precision: bfloat16}
        """,
        "valid_perplexity", "validation perplexity", 20.0, 2,
    ),
    "characters to convergence": Task(
        """
        data: {corpus: ptb-char, tokenizer: {kind: character}}
        model: {core: lstm, hidden_size: 128}
        gradient: {kind: truncated, window: 20}
        optimizer: {kind: adam}
        schedule: {kind: step, factor: 0.5, after: 6}
        training: {epochs: 12, batch_size: 64, span: 20, clip: 1.0}
        """,
        "valid_bits_per_character", "validation bits per character", 2e-3, 4,
    ),
}  # fmt: skip
LIGHT = ["--gradient.kind=synthetic", "--gradient.synthesizer.hidden_size=64", "--gradient.synthesizer.rank=16"]
ESTIMATORS = {
    **COMPARED,
    "grounded": ["--gradient.kind=synthetic", "--gradient.ground_every=4", "--gradient.ground_window={longer}"],
    "adjoint": ["--gradient.kind=synthetic", "--gradient.synthesizer.kind=adjoint"],
    "lambda 0.5": ["--gradient.kind=synthetic", "--gradient.trace_decay=0.5"],
    "exact ahead": ["--gradient.kind=exact", "--gradient.lookahead=8"],
    "light": [*LIGHT, "--gradient.synthesizer.lookahead=2"],
    "light, one ahead": [*LIGHT, "--gradient.synthesizer.lookahead=1"],
}
SHAPES = {
    "base": [],
    "two layers": ["--model.num_layers=2"],
    "GRU": ["--model.core=gru"],
    "RNN": ["--model.core=rnn"],
    "100 units": ["--model.hidden_size=100"],
    "512 units, embedding 64": ["--model.hidden_size=512", "--model.embedding_size=64"],
    "650 units": ["--model.hidden_size=650"],
    "batch 10": ["--training.batch_size=10"],
    "batch 128": ["--training.batch_size=128"],
    "dropout": ["--model.dropout=0.2"],
    "SGD": ["--optimizer.kind=sgd", "--training.clip=0.25"],
    "pieces": ["--data.tokenizer.kind=unigram", "--data.tokenizer.vocabulary_size=5000"],
}


def own_rate(task: str, shape: str) -> float:
    """The learning rate of a task; the shape SGD has another optimizer's."""
    return 20.0 if shape == "SGD" else TASKS[task].rate


@dataclass(frozen=True)
class Condition:
    """One run to be made."""

    task: str
    shape: str
    estimator: str
    window: int
    rate: float
    seed: int
    quick: bool

    @property
    def name(self) -> str:
        parts = [self.task, self.shape, self.estimator, f"T{self.window}", f"rate{self.rate:g}", f"seed{self.seed}"]
        return "-".join(parts + ["quick"] * self.quick).replace(" ", "_")

    @property
    def recipe(self) -> Recipe:
        """The task's, in another shape, with this estimator, the windows of a span as one batch."""
        return self._recipe("true")

    @property
    def fastest(self) -> Recipe:
        """The same, but for rounding, its windows as one batch only where that is faster."""
        return self._recipe("null")

    def _recipe(self, parallel: str) -> Recipe:
        longer = min(4 * self.window, max(SPAN, self.window))
        estimator = [override.format(longer=longer) for override in ESTIMATORS[self.estimator]]
        overrides = [f"--optimizer.learning_rate={self.rate}", *SHAPES[self.shape], *estimator]
        overrides += [
            f"--gradient.window={self.window}",
            f"--gradient.parallel={parallel}",
            f"--training.seed={self.seed}",
        ]
        overrides += [f"--training.span={max(SPAN, self.window)}"]
        if self.quick:
            overrides += ["--training.max_updates=232"]
        else:
            overrides += ["--training.evaluate_every=500"] if "convergence" not in self.task else []
        return parse_recipe(TASKS[self.task].recipe, self.name, overrides=overrides)


def summarize(condition: Condition, rows: list[Record]) -> Record:
    """How a run went; a value of None if it diverged."""
    task, recipe = TASKS[condition.task], condition.recipe
    scores = [row for row in rows if "valid_loss" in row]
    # to convergence the best epoch counts, as early stopping on the validation loss takes it
    values = [row[task.figure] for row in scores] or [None]
    record: Record = {
        "metric": task.name, "value": min(values) if "convergence" in condition.task else values[-1],
        "task": condition.task, "shape": condition.shape, "estimator": condition.estimator, "window": condition.window,
        "learning_rate": condition.rate, "seed": condition.seed, "span": recipe.training.span,
        "precision": recipe.training.output_precision, "quick": condition.quick,
        "curve": [[row["update"], row[task.figure]] for row in scores],
    }  # fmt: skip
    if scores:
        record |= {"updates": scores[-1]["update"], "epochs": scores[-1]["epoch"], "seconds": scores[-1]["seconds"]}
    return record | late_metrics(rows, ("target_r2", "shrinkage", "target_cosine", "cell_norm"))


def differences(records: list[Record], long: int | None) -> list[Record]:
    """Of every estimator and window, the mean over seeds of its distance from truncation with the same seed.

    Truncation is that at the same window, and that at the long one; the standard error is that of the mean.
    """
    found: list[Record] = []
    groups: dict[tuple[str, str, str, int], dict[int, float]] = {}
    for record in best_rates([r for r in records if r["value"] is not None and "seconds" not in r["metric"]]):
        groups.setdefault(_key(record), {})[record["seed"]] = record["value"]
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


def print_differences(found: list[Record]) -> None:
    """A line for each difference."""
    for record in found:
        digits = TASKS[record["task"]].digits
        name = f"{record['estimator']} T={record['window']}"
        print(
            f"{name:26s} less truncated T={record['truncated_window']:<3d} {record['value']:+.{digits}f} "
            f"± {record['standard_error']:.{digits}f} ({len(record['seeds'])} seeds)"
        )


def value_at(curve: list[list[float]], update: float) -> float | None:
    """A figure between two evaluations, by linear interpolation; None before the first and after the last."""
    for (before, low), (after, high) in pairwise(curve):
        if before <= update <= after:
            return low + (high - low) * (update - before) / (after - before)
    return None


def at_equal_seconds(records: list[Record], costs: dict[tuple[str, str, str, int], float], long: int) -> list[Record]:
    """Each record's figure when the time is up that truncation at the long window takes.

    What trains faster than that would have gone on for longer than it did: it is left out, but for the reference.
    """
    found: list[Record] = []
    for record in records:
        place = (record["task"], record["shape"])
        key, reference = (*place, record["estimator"], record["window"]), (*place, "truncated", long)
        if key in costs and reference in costs and record["curve"]:
            ratio = costs[key] / costs[reference]
            is_last = [other["updates"] for other in records if _key(other) == reference and other["curve"]]
            value = value_at(record["curve"], max(is_last) / ratio) if is_last else None
            if value is not None:
                metric = f"{record['metric']} at equal seconds"
                found.append({**record, "metric": metric, "value": value, "cost_ratio": ratio})
    return found


def _key(record: Record) -> tuple[str, str, str, int]:
    return record["task"], record["shape"], record["estimator"], record["window"]


def best_rates(records: list[Record]) -> list[Record]:
    """Of every task, shape, estimator and window the records of the learning rate with the best median."""
    place, settings = ("metric", "task", "shape", "estimator", "window"), ("learning_rate",)
    chosen = best_settings(records, place, settings, lambda record: -_or_infinity(record))
    return [record for found in chosen.values() for record in found]


def _or_infinity(record: Record) -> float:
    return math.inf if record["value"] is None else record["value"]


def print_tables(records: list[Record]) -> None:
    """Of every task, shape and metric a table by estimator and window, over seeds; before it the learning rates."""
    keys = ("task", "shape", "metric")
    for group in sorted({tuple(record[key] for key in keys) for record in records}):
        found = [record for record in records if tuple(record[key] for key in keys) == group]
        windows = sorted({record["window"] for record in found})
        rates = sorted({record["learning_rate"] for record in found})
        print(f"\n{', '.join(group)}")
        print(f"{'':26s}" + "".join(f"{f'T={window}':>30s}" for window in windows))
        estimators = sorted({record["estimator"] for record in found}, key=list(ESTIMATORS).index)
        rows = [(estimator, rate) for estimator in estimators for rate in rates] if len(rates) > 1 else []
        for estimator, rate in [*rows, *((estimator, None) for estimator in estimators)]:
            chosen = best_rates(found) if rate is None else [r for r in found if r["learning_rate"] == rate]
            cells = []
            for window in windows:
                values = [_or_infinity(r) for r in chosen if (r["estimator"], r["window"]) == (estimator, window)]
                cells.append(spread(values, TASKS[group[0]].digits) if values else "")
            label = estimator if rate is None else f"  {estimator}, rate {rate:g}"
            print(f"{label:26s}" + "".join(f"{cell:>30s}" for cell in cells))


def plot(records: list[Record], path: Path) -> None:
    """For every task the figure against the window, a line for each estimator through the medians, seeds as dots."""
    wanted = [r for r in best_rates(records) if "seconds" not in r["metric"] and r["value"] is not None]
    tasks = sorted(
        {(record["task"], record["shape"]) for record in wanted}, key=lambda pair: list(TASKS).index(pair[0])
    )
    figure = Figure(figsize=(7 * len(tasks), 4), layout="constrained")
    lines = ("o-C0", "o-C2", "x:C7", "s:C3", "v--C1", "D--C5", "^--C4", "*-k", "P-C6", "p-C8")
    styles = dict(zip(ESTIMATORS, lines, strict=True))
    for axes, (task, shape) in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        here = [record for record in wanted if (record["task"], record["shape"]) == (task, shape)]
        windows = sorted({record["window"] for record in here})
        for estimator, style in styles.items():
            plot_by_window(
                axes, [record for record in here if record["estimator"] == estimator], windows, style, estimator
            )
        title = f"Penn Treebank {task}" + ("" if shape == "base" else f", {shape}")
        axes.set(ylabel=TASKS[task].name, title=title)
        axes.legend()
    save_figure(figure, path)


def report_times(costs: dict[tuple[str, str, str, int], float], long: int) -> list[Record]:
    """Print and return the time of an update of every estimator and window over truncation at the long window."""
    found: list[Record] = []
    for (task, shape, estimator, window), seconds in costs.items():
        ratio = seconds / costs[task, shape, "truncated", long]
        print(f"{task}, {shape}, {estimator} T={window}: time {ratio:.2f} of truncated T={long}")
        found.append({
            "metric": "time over truncated", "value": ratio, "task": task, "shape": shape, "estimator": estimator,
            "window": window, "truncated_window": long,
        })  # fmt: skip
    return found


def count_costs(conditions: list[Condition], long: list[int]) -> list[Record]:
    """Count operations and steps per token of every estimator and window, and print them beside truncation's."""
    firsts = {(c.task, c.shape, c.estimator, c.window): c for c in reversed(conditions)}
    costs = {key: count(condition.recipe) for key, condition in firsts.items()}
    records: list[Record] = []
    print("per token, over truncated T=" + ", ".join(map(str, long[:1])))
    for (task, shape, estimator, window), found in costs.items():
        reference = costs.get((task, shape, "truncated", long[0]), found) if long else found
        ratio = found["operations"] / reference["operations"]
        steps = f"{found['steps forward']:.2f}, backward {found['steps backward']:.2f}"
        print(f"{task}, {shape}, {estimator} T={window}: operations {ratio:.2f}, steps forward {steps}")
        place = {"task": task, "shape": shape, "estimator": estimator, "window": window}
        records += [{"metric": f"{name} per token", "value": value, **place} for name, value in found.items()]
        records.append({"metric": "operations over truncated", "value": ratio, **place})
    return records


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__ or "")
    made.add_argument("--task", choices=TASKS, nargs="+", default=["words"])
    made.add_argument("--windows", type=whole(1), nargs="+", default=[1, 2, 5, 10])
    made.add_argument("--long", type=whole(1), nargs="*", default=[20, 50], help="longer windows, for truncation alone")
    made.add_argument("--estimators", nargs="+", choices=ESTIMATORS, default=list(COMPARED))
    made.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1, 2])
    made.add_argument("--rates", type=positive, nargs="+", default=[1.0], help="multiples of the task's learning rate")
    made.add_argument("--shapes", nargs="+", choices=SHAPES, default=["base"])
    made.add_argument("--jobs", type=whole(1), default=1, help="conditions trained at a time")
    made.add_argument("--threads", type=whole(1), default=1, help="of each")
    made.add_argument("--no-seconds", action="store_true", help="leave out the figures at equal seconds")
    made.add_argument("--no-counts", action="store_true", help="count no operations")
    made.add_argument("--figure", type=Path, metavar="FILE", help="draw the tables there, as PNG")
    made.add_argument("--out", type=Path, default=Path("benchmarks/out/quality"))
    return made.parse_args()


def main() -> None:
    """Run every condition and report."""
    arguments = parse_arguments()
    exact = [estimator for estimator in arguments.estimators if estimator == "exact ahead"]
    places = [(estimator, window) for window in arguments.long for estimator in ("truncated", *exact)]
    places += [(estimator, window) for window in arguments.windows for estimator in arguments.estimators]
    conditions = [
        Condition(task, shape, estimator, window, rate * own_rate(task, shape), seed, arguments.quick)
        for seed in dict.fromkeys(arguments.seeds)
        for task in dict.fromkeys(arguments.task)
        for shape in dict.fromkeys(arguments.shapes)
        for estimator, window in dict.fromkeys(places)
        for rate in dict.fromkeys(arguments.rates)
    ]
    # Equal seconds compare curves over one epoch: to convergence the learning rate has not come down in time.
    timed = [c for c in conditions if not arguments.quick and "convergence" not in c.task]
    costs: dict[tuple[str, str, str, int], float] = {}
    if arguments.long and not arguments.no_seconds:
        firsts = {(c.task, c.shape, c.estimator, c.window): c for c in reversed(timed)}
        for group in {key[:2] for key in firsts}:
            costs |= seconds_per_update({key: c.fastest for key, c in firsts.items() if key[:2] == group})
    counted = [] if arguments.no_counts else count_costs(conditions, arguments.long)
    records: list[Record] = []
    recipes = {condition.name: condition.recipe for condition in conditions}
    runs = train_all(recipes, arguments.out, arguments.jobs, arguments.threads)
    for condition, (name, rows) in zip(conditions, runs, strict=True):
        records.append({**summarize(condition, rows), "threads": arguments.threads})
        print(f"{name}: {_or_infinity(records[-1]):.4g} in {records[-1].get('seconds', math.nan):.0f} s", flush=True)
        write_records(records, arguments.json)
    if costs:
        records += at_equal_seconds(records, costs, arguments.long[0])
        counted += report_times(costs, arguments.long[0])
    print_tables(records)
    gaps = differences(records, next(iter(arguments.long), None))
    print_differences(gaps)
    records += gaps + counted
    if arguments.figure is not None:
        plot(records, arguments.figure)
    write_records(records, arguments.json)


if __name__ == "__main__":
    command(main)
