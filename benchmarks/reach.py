"""How long a sequence can be learned? Copy and repeat copy under every estimator, within equal steps and equal seconds.

    python benchmarks/reach.py [--quick] [--json FILE] [--tasks copy repeat-copy] [--windows 1 2 3 4 5 8]
                               [--methods truncated synthetic shuffled state zero full ...] [--seeds 0 1 2 3 4]
                               [--rates 1e-2 ...] [--synthesizer-rates 1e-3 ...] [--steps 6e5] [--seconds 30]
                               [--hidden-size 128] [--batch-size 32] [--jobs 2] [--out FOLDER] [--figure FILE]

A figure is the longest sequence that was mastered: on which the loss of an episode fell under 0.15 bits per output bit
while it was the curriculum's turn. For copy it is N, for repeat copy (R + 1)N + 3 (`sgrnn.tasks` has both curricula).
Every method trains the same LSTM, its forget gates open at first, by one update per episode, with Adam at the same
rates, synthesizers at rates that were tuned on seed 0; of several --rates or --synthesizer-rates each method and
window has its best. A run goes on until it has had both budgets: so many steps of the environment (an episode's steps x
its rows), and so many seconds of one thread's CPU time.

Methods with a window: `truncated`; `synthetic`, the adjoint synthesizer; its controls `shuffled` (across rows) and
`zero` (discount 0); `errors`, the error synthesizer, 8 steps ahead; `state` and `state, auxiliary`, a perceptron that
sees the state alone, as in the literature. Without one, in the column T=0: `full` back-propagation, and for small cores
the online `bp-lambda`, `rtrl`, `snap-1` and `uoro`.

Every run leaves a file under --out: stopped, the benchmark goes on when called again. --quick takes T=4, two seeds and
budgets of 2e5 steps and 10 seconds.
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from matplotlib.figure import Figure
from options import command, parser, positive, whole
from records import Record, best_settings, save_figure, write_records
from runs import run_all
from torch import Tensor, nn

import sgrnn
from sgrnn.estimators import GradientEstimator
from sgrnn.estimators.online import RTRL, UORO, BPLambda, SnAp1
from sgrnn.tasks import Copy, CurriculumTask, RepeatCopy, loss_per_target

TASKS: dict[str, type[Copy] | type[RepeatCopy]] = {"copy": Copy, "repeat-copy": RepeatCopy}
WINDOWED = ("truncated", "synthetic", "shuffled", "zero", "errors", "state", "state, auxiliary")
WHOLE = ("full", "bp-lambda", "rtrl", "snap-1", "uoro")
SHORT, SHORT_RATE, RATE = 2, 4e-3, 1e-3  # of synthesizers: windows up to so long, and beyond; tuned on seed 0 of copy
PUBLISHED = {
    "copy": {"BPTT": {2: 7, 3: 8, 4: 10, 5: 8}, "DNI": {2: 16, 3: 14, 4: 18, 5: 18}},
    "repeat-copy": {"BPTT": {2: 7, 3: 5, 4: 19, 5: 23}, "DNI": {2: 39, 3: 33, 4: 39, 5: 59}},
}
"""Jaderberg et al. 2016, table 1."""


@dataclass(frozen=True)
class Condition:
    """One run to be made."""

    task: str
    method: str
    window: int
    rate: float
    synthesizer_rate: float
    seed: int
    steps: float
    seconds: float
    hidden_size: int
    batch_size: int

    @property
    def name(self) -> str:
        parts = [self.task, self.method, f"T{self.window}", f"rate{self.rate:g}"]
        parts += [f"synthesizer{self.synthesizer_rate:g}", f"h{self.hidden_size}"]
        parts += [f"b{self.batch_size}", f"seed{self.seed}", f"{self.steps:g}steps", f"{self.seconds:g}s"]
        return "-".join(parts).replace(" ", "_").replace(",", "")


def make_policy(condition: Condition, core: nn.Module, task: CurriculumTask) -> GradientEstimator:
    """The estimator of a method, for a bare LSTM as the model."""
    size, width, window = 2 * condition.hidden_size, condition.hidden_size, condition.window
    adjoint: dict[str, Any] = {"shuffled": {"shuffle": True}, "zero": {"discount": 0.0}, "synthetic": {}}
    match condition.method:
        case "full":
            return sgrnn.BPTT()
        case "truncated":
            return sgrnn.TruncatedBPTT(window, parallel=True)
        case "synthetic" | "shuffled" | "zero":
            synthesizer = sgrnn.AdjointSynthesizer(
                size, width, _as_they_are, task.input_size, window=window, hidden_size=32, rank=16, projection=16
            )
            return sgrnn.SyntheticGradients(window, synthesizer, parallel=True, **adjoint[condition.method])
        case "errors":
            synthesizer = sgrnn.ErrorSynthesizer(size, width, _as_they_are, task.input_size, hidden_size=64)
            return sgrnn.SyntheticGradients(window, synthesizer, parallel=True)
        case "state" | "state, auxiliary":
            synthesizer = sgrnn.MLPSynthesizer(size, auxiliary="auxiliary" in condition.method)
            return sgrnn.SyntheticGradients(window, synthesizer, remove_mean=True, parallel=True)
        case "bp-lambda":
            return BPLambda(size, learning_rate=1e-5, discount=0.9)
        case "rtrl":
            return RTRL()
        case "snap-1":
            return SnAp1()
        case "uoro":
            return UORO()
        case _:
            raise ValueError(f"method must be one of {', '.join(WINDOWED + WHOLE)}, got {condition.method!r}")


def _as_they_are(inputs: Tensor) -> Tensor:
    return inputs


def open_forget_gates(core: sgrnn.LSTM) -> None:
    """Put their biases to 1, so that a state is kept for some steps before it has been learned what to keep."""
    with torch.no_grad():
        for name, parameter in core.named_parameters():
            if "bias_ih" in name:
                parameter[core.hidden_size : 2 * core.hidden_size] = 1


def train(condition: Condition) -> Record:
    """Train until both budgets are used up.

    Returns:
        ``mastered``: for every length its steps and seconds at the time; and what was used in all.
    """
    torch.manual_seed(condition.seed)
    task = TASKS[condition.task](condition.batch_size, seed=condition.seed)
    core = sgrnn.LSTM(task.input_size, condition.hidden_size)
    open_forget_gates(core)
    readout = nn.Linear(condition.hidden_size, task.output_size)
    estimator = make_policy(condition, core, task)
    parameters = [*core.parameters(), *readout.parameters()]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(parameters, condition.rate, fused=True)]
    if list(estimator.parameters()):
        optimizers.append(torch.optim.Adam(estimator.parameters(), condition.synthesizer_rate, fused=True))

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return task.loss(readout(outputs), targets)

    mastered: list[list[float]] = []
    steps = episodes = 0
    r2 = 0.0
    began = time.process_time()
    while steps < condition.steps or time.process_time() - began < condition.seconds:
        episode = task.draw()
        step = estimator.backward(core, loss, episode, core.initial_state(condition.batch_size))
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        steps += episode.steps * condition.batch_size
        episodes += 1
        if "target_r2" in step.metrics:
            r2 += 0.01 * (float(step.metrics["target_r2"]) - r2)
        length = task.length
        if task.observe(loss_per_target(step.loss, episode)):
            mastered.append([length, steps, time.process_time() - began])
    used = {"steps": steps, "seconds": time.process_time() - began, "episodes": episodes, "target_r2": r2}
    return {"condition": asdict(condition), "mastered": mastered, "used": used}


def reached(mastered: list[list[float]], budget: float, column: int) -> int:
    """The longest length mastered within a budget of steps (column 1) or seconds (column 2); 0 for none."""
    return max((int(row[0]) for row in mastered if row[column] <= budget), default=0)


def to_records(result: Record) -> list[Record]:
    """What was reached within either budget."""
    condition, used = result["condition"], result["used"]
    measured = {
        key: condition[key]
        for key in ("task", "method", "window", "rate", "synthesizer_rate", "seed", "hidden_size", "batch_size")
    }
    return [
        {
            "metric": f"length at equal {name}", "value": reached(result["mastered"], condition[name], column),
            "budget": condition[name], **measured, "episodes": used["episodes"],
            "target_r2": used.get("target_r2", used.get("r2")),  # as files of an earlier version call it
        }
        for column, name in enumerate(("steps", "seconds"), start=1)
    ]  # fmt: skip


def best_rates(records: list[Record]) -> list[Record]:
    """Of every metric, task, method and window the records of the learning rates with the highest median."""
    place, settings = ("metric", "task", "method", "window"), ("rate", "synthesizer_rate")
    chosen = best_settings(records, place, settings, lambda record: record["value"])
    return [record for found in chosen.values() for record in found]


def print_tables(records: list[Record]) -> None:
    """For every task and budget a table by method and window: median and range over seeds."""
    for metric, task in sorted({(record["metric"], record["task"]) for record in records}):
        found = [record for record in records if (record["metric"], record["task"]) == (metric, task)]
        windows = sorted({record["window"] for record in found})
        print(f"\n{task}, {metric}, {found[0]['budget']:g}")
        print(f"{'':20s}" + "".join(f"{f'T={window}' if window else 'no window':>18s}" for window in windows))
        for method in [name for name in WHOLE + WINDOWED if name in {record["method"] for record in found}]:
            cells = []
            for window in windows:
                values = [r["value"] for r in best_rates(found) if (r["method"], r["window"]) == (method, window)]
                cells.append(f"{median(values):g} ({min(values)} to {max(values)})" if values else "")
            print(f"{method:20s}" + "".join(f"{cell:>18s}" for cell in cells))


def plot(records: list[Record], path: Path) -> None:
    """Length against window for every task, at equal steps: medians as lines, seeds as dots, the published beside."""
    found = [record for record in best_rates(records) if record["metric"] == "length at equal steps"]
    tasks = [name for name in TASKS if name in {record["task"] for record in found}]
    figure = Figure(figsize=(7 * len(tasks), 4.5), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        here = [record for record in found if record["task"] == task]
        for number, method in enumerate(name for name in WINDOWED if name in {r["method"] for r in here}):
            of = [record for record in here if record["method"] == method]
            windows = sorted({record["window"] for record in of})
            middles = [median(r["value"] for r in of if r["window"] == window) for window in windows]
            axes.plot(windows, middles, "o-", color=f"C{number}", label=method)
            axes.plot([r["window"] for r in of], [r["value"] for r in of], ".", color=f"C{number}", alpha=0.4)
        for method in {record["method"] for record in here} & set(WHOLE):
            axes.axhline(median(r["value"] for r in here if r["method"] == method), ls=":", color="gray")
            axes.text(axes.get_xlim()[1], median(r["value"] for r in here if r["method"] == method), method)
        for name, style in (("BPTT", "x:k"), ("DNI", "+:k")):
            row = PUBLISHED[task][name]
            axes.plot(list(row), list(row.values()), style, alpha=0.5, label=f"published {name} (other budget)")
        axes.set(xlabel="window T", ylabel="longest sequence mastered", title=task)
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    save_figure(figure, path)


def synthesizer_rates(method: str, window: int, asked: Sequence[float] | None) -> Iterable[float]:
    """Those to be tried; 0 for a method that has no synthesizer."""
    if method in (*WHOLE, "truncated"):
        return [0.0]
    return dict.fromkeys(asked or [SHORT_RATE if window <= SHORT else RATE])


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__ or "")
    made.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    made.add_argument("--windows", type=whole(1), nargs="+", default=[1, 2, 3, 4, 5, 8])
    default = ["truncated", "synthetic", "shuffled", "state", "full"]
    made.add_argument("--methods", nargs="+", choices=WINDOWED + WHOLE, default=default)
    made.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1, 2, 3, 4])
    made.add_argument("--rates", type=positive, nargs="+", default=[1e-2])
    made.add_argument("--synthesizer-rates", type=positive, nargs="+", help="if not the default, by window")
    made.add_argument("--steps", type=positive, default=6e5, help="budget of environment steps, rows counted")
    made.add_argument("--seconds", type=positive, default=30.0, help="budget of CPU seconds")
    made.add_argument("--hidden-size", type=whole(1), default=128)
    made.add_argument("--batch-size", type=whole(1), default=32)
    made.add_argument("--jobs", type=whole(1), default=1)
    made.add_argument("--figure", type=Path, metavar="FILE")
    made.add_argument("--out", type=Path, default=Path("benchmarks/out/reach"))
    found = made.parse_args()
    if found.quick:
        found.windows, found.seeds, found.steps, found.seconds = [4], found.seeds[:2], 2e5, 10.0
    return found


def main() -> None:
    """Run every condition and report."""
    asked = parse_arguments()
    places = [(method, 0) for method in asked.methods if method in WHOLE]
    places += [(method, window) for window in asked.windows for method in asked.methods if method in WINDOWED]
    conditions = [
        Condition(
            task, method, window, rate, its, seed, asked.steps, asked.seconds, asked.hidden_size, asked.batch_size
        )
        for seed in dict.fromkeys(asked.seeds)
        for task in asked.tasks
        for method, window in dict.fromkeys(places)
        for rate in dict.fromkeys(asked.rates)
        for its in synthesizer_rates(method, window, asked.synthesizer_rates)
    ]  # fmt: skip
    records: list[Record] = []
    for condition, result in zip(conditions, run_all(train, conditions, asked.out, asked.jobs), strict=True):
        made = to_records(result)
        records += made
        print(f"{condition.name}: {made[0]['value']} at equal steps, {made[1]['value']} at equal seconds", flush=True)
        write_records(records, asked.json)
    print_tables(records)
    if asked.figure is not None:
        plot(records, asked.figure)


if __name__ == "__main__":
    command(main)
