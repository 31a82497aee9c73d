"""How long a sequence can be learned? Copy and repeat copy under every estimator, within equal steps and equal seconds.

    python benchmarks/reach.py [--quick] [--json FILE] [--tasks copy] [--methods synthetic ...] [--figure FILE]

The number that counts is the longest sequence that was mastered: on which the loss of an episode fell under 0.15 bits
per output bit while it was the curriculum's turn. For copy it is N, for repeat copy (R + 1)N + 3 (`sgrnn.tasks` has
both curricula). Every method trains the same LSTM, its forget gates open at first, by one update per episode, with Adam
or `sgrnn.Muon` (--optimizer) at one rate, synthesizers by Adam at rates that were tuned on seed 0; of several --rates
or --synthesizer-rates each method and window has its best. A run goes on until it has had both budgets: so many steps
of the environment (an episode's steps x its rows), and so many seconds of one thread's CPU time.

Methods with a window: `truncated`; `synthetic`, the adjoint synthesizer; its controls `shuffled` (across rows) and
`zero` (discount 0); `default`, the synthesizer of who names none, 8 steps ahead; `state`, a perceptron that sees the
state alone, centered, and `literature` and `literature, auxiliary`, the same as published, injected at a scale of 0.1.
Without one, in the column T=0: `full` back-propagation, and for small cores the online `bp-lambda`, `rtrl`, `snap-1`
and `uoro`.

Every run leaves a file under --out: stopped, the benchmark goes on when called again. --quick takes T=4, two seeds and
budgets of 2e5 steps and 10 seconds.
"""

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

import torch
from frame import (
    Condition,
    Record,
    add_training_options,
    benchmark,
    best_settings,
    grid,
    positive,
    run_all,
    whole,
)  # fmt: skip
from matplotlib.figure import Figure
from shown import GRAY, STYLES, legend, new_figure, plot_middles, print_by_column, style
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from updates import Updates

import sgrnn
from sgrnn.estimators import GradientEstimator, Loss
from sgrnn.estimators.online import RTRL, UORO, BPLambda, SnAp1
from sgrnn.tasks import Copy, RepeatCopy, loss_per_target

TASKS: dict[str, type[Copy] | type[RepeatCopy]] = {"copy": Copy, "repeat-copy": RepeatCopy}
WINDOWED = ("truncated", "synthetic", "shuffled", "zero", "default", "state", "literature", "literature, auxiliary")
WHOLE = ("full", "bp-lambda", "rtrl", "snap-1", "uoro")
RATES = {"adam": 1e-2, "muon": 3e-3}
SHORT, SHORT_RATE, RATE = 2, 4e-3, 1e-3  # of synthesizers: windows up to so long, and beyond; tuned on seed 0 of copy
PUBLISHED = {
    "copy": {"BPTT": {2: 7, 3: 8, 4: 10, 5: 8}, "DNI": {2: 16, 3: 14, 4: 18, 5: 18}},
    "repeat-copy": {"BPTT": {2: 7, 3: 5, 4: 19, 5: 23}, "DNI": {2: 39, 3: 33, 4: 39, 5: 59}},
}  # Jaderberg et al. 2016, table 1
BUDGETS = ("steps", "seconds")
FIXED = (*BUDGETS, "hidden_size", "batch_size", "optimizer", "precision")


def build_estimator(method: str, window: int, core: sgrnn.LSTM, loss: Loss, input_size: int) -> GradientEstimator:
    """Return the estimator of a method, for a bare LSTM as the model."""
    hidden_size, size = core.hidden_size, 2 * core.hidden_size
    options: dict[str, Any] = {"shuffled": {"shuffle": True}, "zero": {"discount": 0.0}}.get(method, {})
    match method:
        case "full":
            return sgrnn.BPTT(core, loss)
        case "truncated":
            return sgrnn.TruncatedBPTT(core, loss, window, parallel=True)
        case "synthetic" | "shuffled" | "zero":
            synthesizer = sgrnn.AdjointSynthesizer(
                size, hidden_size, input_size, window=window, hidden_size=32, rank=16, projection=16
            )
        case "default":
            synthesizer = None
        case "literature" | "literature, auxiliary" | "state":
            synthesizer = sgrnn.MLPSynthesizer(size, auxiliary="auxiliary" in method)
            options = {"remove_mean": True} if method == "state" else {"discount": 0.1}
        case "bp-lambda":
            return BPLambda(core, loss, learning_rate=1e-5, discount=0.9)
        case _:
            return {"rtrl": RTRL, "snap-1": SnAp1, "uoro": UORO}[method](core, loss)
    return sgrnn.SyntheticGradients(core, loss, window, synthesizer=synthesizer, parallel=True, **options)


def open_forget_gates(core: sgrnn.LSTM) -> None:
    """Set the biases of an LSTM's forget gates to 1, so that a new model keeps its state for some steps."""
    with torch.no_grad():
        for name, parameter in core.named_parameters():
            if "bias_ih" in name:
                parameter[core.hidden_size : 2 * core.hidden_size] = 1


def train(
    task: str, method: str, window: int, rate: float, synthesizer_rate: float, seed: int, steps: float, seconds: float,
    hidden_size: int, batch_size: int, optimizer: str, precision: str,
) -> Record:  # fmt: skip
    """Train until both budgets are used up.

    Returns:
        ``mastered``: for every length its steps and seconds at the time; and what was used in all.
    """
    torch.manual_seed(seed)
    copying = TASKS[task](batch_size, seed=seed)
    core = sgrnn.LSTM(copying.input_size, hidden_size, precision=getattr(torch, precision))
    open_forget_gates(core)
    readout = nn.Linear(hidden_size, copying.output_size)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return copying.loss(readout(outputs), targets)

    estimator = build_estimator(method, window, core, loss, copying.input_size)
    parameters, learned = [*core.parameters(), *readout.parameters()], list(estimator.parameters())
    optimizers: list[Optimizer] = [
        sgrnn.Muon(nn.ModuleList([core, readout]), rate) if optimizer == "muon" else Adam(parameters, rate, fused=True)
    ]
    if learned:
        optimizers.append(Adam(learned, synthesizer_rate, fused=True))

    update = Updates(estimator, optimizers, parameters, clip=1.0)
    mastered: list[list[float]] = []
    taken, episodes, r2 = 0, 0, 0.0
    began = time.process_time()
    while taken < steps or time.process_time() - began < seconds:
        episode = copying.draw()
        step = update(episode, core.initial_state(batch_size))
        taken += episode.steps * batch_size
        episodes += 1
        if "target_r2" in step.metrics:
            r2 += 0.01 * (float(step.metrics["target_r2"]) - r2)
        length = copying.length
        if copying.observe(loss_per_target(step.loss, episode)):
            mastered.append([length, taken, time.process_time() - began])
    used = {"steps": taken, "seconds": time.process_time() - began, "episodes": episodes, "target_r2": r2}
    return {"mastered": mastered, "used": used}


def reached(mastered: list[list[float]], budget: float, column: int) -> int:
    """Return the longest length mastered within a budget of steps (column 1) or seconds (column 2); 0 for none."""
    return max((int(row[0]) for row in mastered if row[column] <= budget), default=0)


def records_of(condition: Condition, result: Record) -> list[Record]:
    """Return a record of the length reached within each budget."""
    fields, used = condition.fields, result["used"]
    extra = {"episodes": used["episodes"], "target_r2": used["target_r2"]}
    return [
        {"metric": f"length at equal {name}", "value": reached(result["mastered"], fields[name], column),
         "budget": fields[name], **fields, **extra}
        for column, name in enumerate(BUDGETS, start=1)
    ]  # fmt: skip


def best_rates(records: list[Record]) -> list[Record]:
    """Return of every metric, task, method and window the records of the rates with the highest median."""
    place, settings = ("metric", "task", "optimizer", "method", "window"), ("rate", "synthesizer_rate")
    return best_settings(records, place, settings, lambda record: record["value"])


def show(records: list[Record]) -> None:
    """Print for every task, optimizer and budget a table by method and window: median and range over seeds."""
    for metric, task, optimizer in sorted({_table_of(r) for r in records}):
        same = [r for r in best_rates(records) if _table_of(r) == (metric, task, optimizer)]
        cells = {}
        for method in WHOLE + WINDOWED:
            for window in sorted({r["window"] for r in same}):
                values = [r["value"] for r in same if (r["method"], r["window"]) == (method, window)]
                column = f"T={window}" if window else "no window"
                if values:
                    cells[method, column] = f"{median(values):g} ({min(values)} to {max(values)})"
        print_by_column(cells, f"{task}, {optimizer}, {metric}, {same[0]['budget']:g}")


def _table_of(record: Record) -> tuple[str, str, str]:
    return record["metric"], record["task"], record["optimizer"]


def draw(records: list[Record]) -> Figure:
    """Draw length against window for every task, at equal steps: medians, seeds as dots, the published beside."""
    kept = [r for r in best_rates(records) if r["metric"] == "length at equal steps"]
    tables = sorted({_table_of(r) for r in kept})
    figure, panels = new_figure(len(tables))
    for axes, table in zip(panels, tables, strict=True):
        here, task = [r for r in kept if _table_of(r) == table], table[1]
        windows = sorted({r["window"] for r in here if r["window"]} | set(PUBLISHED[task]["DNI"]))
        for method in (name for name in STYLES if name in WINDOWED):
            points = [(r["window"], r["value"]) for r in here if r["method"] == method]
            plot_middles(axes, points, method, windows, median, **style(method))
        for method in WHOLE:
            values = [r["value"] for r in here if r["method"] == method]
            if values:
                axes.axhline(median(values), label=method, color=style(method)["color"], linestyle="--")
        for name, marker in (("BPTT", "x"), ("DNI", "+")):
            row = [(window, length) for window, length in PUBLISHED[task][name].items()]
            look = {"color": GRAY, "marker": marker, "linestyle": ":"}
            plot_middles(axes, row, f"published {name} (other budget)", windows, median, **look)
        axes.set(xlabel="window T", ylabel="longest sequence mastered", title=f"{task}, {table[2]}, equal steps")
    legend(figure, panels[0])
    return figure


def synthesizer_rates(method: str, window: int, asked: Sequence[float] | None) -> Iterable[float]:
    """Return the synthesizer's learning rates to try; 0 for a method that has no synthesizer."""
    if method in (*WHOLE, "truncated"):
        return [0.0]
    return dict.fromkeys(asked or [SHORT_RATE if window <= SHORT else RATE])


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Train every condition."""
    if asked.quick:
        asked.windows, asked.seeds, asked.steps, asked.seconds = [4], asked.seeds[:2], 2e5, 10.0
    places = [(method, 0) for method in asked.methods if method in WHOLE]
    places += [(method, window) for window in asked.windows for method in asked.methods if method in WINDOWED]
    fixed = {name: getattr(asked, name) for name in FIXED}
    conditions = []
    for fields in grid(seed=asked.seeds, task=asked.tasks, place=places, rate=asked.rates or [RATES[asked.optimizer]]):
        method, window = fields.pop("place")
        for rate in synthesizer_rates(method, window, asked.synthesizer_rates):
            own = {"method": method, "window": window, "synthesizer_rate": rate}
            conditions.append(Condition(fields | own | fixed))
    for condition, result in zip(conditions, run_all(train, conditions, asked.out, asked.jobs), strict=True):
        records = records_of(condition, result)
        values = [f"{record['value']} at equal {name}" for record, name in zip(records, BUDGETS, strict=True)]
        print(f"{condition.name}: {', '.join(values)}", flush=True)
        yield from records


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_training_options(made, seeds=5)
    made.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    made.add_argument("--windows", type=whole(1), nargs="+", default=[1, 2, 3, 4, 5, 8])
    default = ["truncated", "synthetic", "shuffled", "state", "full"]
    made.add_argument("--methods", nargs="+", choices=WINDOWED + WHOLE, default=default)
    made.add_argument("--rates", type=positive, nargs="+", help="if not the optimizer's own: 1e-2, Muon 3e-3")
    made.add_argument("--synthesizer-rates", type=positive, nargs="+", help="if not the default, by window")
    made.add_argument("--steps", type=positive, default=6e5, help="budget of environment steps, rows counted")
    made.add_argument("--seconds", type=positive, default=30.0, help="budget of CPU seconds")
    made.add_argument("--hidden-size", type=whole(1), default=128)
    made.add_argument("--batch-size", type=whole(1), default=32)
    made.add_argument("--optimizer", choices=RATES, default="adam", help="of core and readout")
    made.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the core's products")


if __name__ == "__main__":
    benchmark(__doc__, options, run, show, draw)
