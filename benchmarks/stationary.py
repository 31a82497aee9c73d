"""What is learning the feedback worth? One fixed diagonal in the place of every Jacobian, against gains that learn.

    python benchmarks/stationary.py [--quick] [--json FILE] [--tasks words ...] [--methods truncated ...]
        [--cores gru lstm] [--windows 1 5] [--decays 0.5 1] [--seeds 0 1] [--updates 2000] [--seconds]

Caillon et al. 2025 (arXiv 2503.23104) go back through a recurrent layer as if the derivative of a state by the one
before it were the same diagonal at every step and in every row: its entries are drawn once and never learned. The core
has one layer; a GRU's state is its output. Everybody takes one update per span of 20 steps, for an epoch.

truncated: windows of each of --windows, and nothing injected; `longer`, of 20 steps: the exact gradient of a span.
stationary: windows of one step of a GRU, entries drawn between 0 and each of --decays; for the control `shuffled` with
another row's later steps.
inside: a `DiagonalSynthesizer` that sees the same, the output gradients of the span's later steps, its gains learned.
diagonal: the same synthesizer with the eight steps after each, past the span too, as the default knows them.
synthetic: the default; `targets` where targets alone tell what lies beyond the span, the default of an LSTM; `inside`
by the eight steps after each as far as they lie in the span.

Where a method ends in a rate, 1e-2, it is the synthesizer's, in the place of 1e-3; `whole` injects what lies along the
state too, and `turned` does not, whatever the core; `shuffled` takes the prediction for another row.

--seconds times updates in the place of training, side by side on one thread; --updates trains for fewer than an epoch
has, to compare at equal seconds. Every run leaves a file under --out: stopped, the benchmark goes on when called again.
--quick takes 40 updates of one seed.

Needs the corpus: sgrnn data fetch ptb (characters are made from its words' text: sgrnn data list)
"""

import argparse
import time
from collections.abc import Iterator
from statistics import fmean
from typing import final

import torch
from frame import Condition, Record, add_training_options, benchmark, positive, run_all, whole
from shown import print_table
from texts import SPAN, TASKS, WORDS
from torch import Tensor, nn
from updates import RecipeUpdates, seconds_per_update

from sgrnn.config.files import parse_recipe
from sgrnn.config.recipe import Recipe
from sgrnn.estimators import GradientEstimator, Loss, Step
from sgrnn.estimators.objective import mean_loss, norms
from sgrnn.estimators.unroll import unroll
from sgrnn.span import Span
from sgrnn.state import State, cut

ROUNDS, UPDATES = 12, 8  # of what is timed
OF = "--gradient.synthesizer."
DIAGONAL = ["--gradient.kind=synthetic", f"{OF}kind=diagonal"]
SYNTHETIC = ["--gradient.kind=synthetic"]
INSIDE = [*DIAGONAL, "--gradient.run_ahead=0", f"{OF}lookahead={SPAN - 1}"]
FASTER = ["--synthesizer_optimizer.learning_rate=1e-2"]
WHOLE, TURNED = ["--gradient.remove_radial=false"], ["--gradient.remove_radial=true"]
METHODS = {
    "truncated": ["--gradient.kind=truncated"],
    "longer": ["--gradient.kind=truncated", f"--gradient.window={SPAN}"],
    "stationary": ["--gradient.kind=truncated"],
    "stationary, shuffled": ["--gradient.kind=truncated"],
    "inside": INSIDE,
    "inside, turned": [*INSIDE, *TURNED],
    "inside, 1e-2": [*INSIDE, *FASTER],
    "inside, whole, 1e-2": [*INSIDE, *FASTER, *WHOLE],
    "inside, turned, 1e-2": [*INSIDE, *FASTER, *TURNED],
    "inside, shuffled, 1e-2": [*INSIDE, *FASTER, "--gradient.shuffle=true"],
    "diagonal": DIAGONAL,
    "diagonal, 1e-2": [*DIAGONAL, *FASTER],
    "synthetic": SYNTHETIC,
    "synthetic, targets": [*SYNTHETIC, "--gradient.ahead=targets"],
    "synthetic, targets, turned": [*SYNTHETIC, "--gradient.ahead=targets", *TURNED],
    "synthetic, inside": [*SYNTHETIC, "--gradient.run_ahead=0"],
    "synthetic, shuffled": [*SYNTHETIC, "--gradient.shuffle=true"],
}


@final
class StationaryFeedback(GradientEstimator):
    """Back-propagation through a core as if every state's derivative by the one before it were the same diagonal.

    The gradient at the outputs of step t is d_t + entries * that of step t + 1, and goes into a step without going on
    to the one before. The core's state is its output.

    Args:
        model, loss: as `GradientEstimator`.
        entries: (output_size,), of the diagonal.
        shuffled: take what comes from later steps from the row before: a control.
    """

    def __init__(self, model: nn.Module, loss: Loss, entries: Tensor, shuffled: bool = False) -> None:
        super().__init__(model, loss)
        self.entries, self.shuffled = entries, shuffled

    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span step by step; see `GradientEstimator.backward`."""
        span, state = self.begin(span, state)
        windows = unroll(self.model, span, state, 1, parallel=None)
        outputs = cut(windows.outputs)
        objective = mean_loss(self.loss, outputs, span)
        objective.backward()
        later, gradients = torch.zeros_like(outputs[0]), []
        for gradient in reversed(outputs.grad.unbind()):
            gradients.append(gradient + (later.roll(1, 0) if self.shuffled else later))
            later = self.entries * (gradient + later)
        torch.autograd.backward(windows.outputs, torch.stack(gradients[::-1]))
        return Step(objective.detach(), windows.final_state, norms(windows.final_state))


def recipe_of(task: str, core: str, method: str, window: int) -> Recipe:
    """Return the recipe of a text by a core and a method; a fixed diagonal takes the place of its estimator."""
    overrides = [*TASKS[task].overrides, f"--optimizer.learning_rate={TASKS[task].rate}", f"--model.core={core}"]
    overrides += [f"--gradient.window={window}", *METHODS[method], "--gradient.parallel=null"]
    return parse_recipe(WORDS, method, overrides=overrides)


def train(task: str, core: str, method: str, window: int, decay: float, seed: int, updates: int) -> Record:
    """Train a core for so many updates, 0 for an epoch, and return its score on the validation text.

    Args:
        task: of `texts.TASKS`.
        core: of a recipe.
        method: of `METHODS`.
        window: T.
        decay: the largest entry of a fixed diagonal; 0 where there is none.
        seed: of weights and diagonal.
        updates: of the training.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    run = RecipeUpdates(recipe_of(task, core, method, window))
    if method.startswith("stationary"):
        entries = decay * torch.rand(run.state.shape[-1])
        run.update.estimator = StationaryFeedback(run.model, run.model.loss, entries, method.endswith("shuffled"))
    updates, began = updates or run.problem.updates_per_epoch, time.perf_counter()
    for _ in range(updates):
        run()
    seconds, score = time.perf_counter() - began, run.problem.score(run.model, "valid")
    value = score["perplexity" if task == "words" else "bits_per_character"]
    return {"metric": TASKS[task].name, "value": value, "updates": updates, "seconds": seconds}


def windows_of(method: str, core: str, windows: list[int]) -> list[int]:
    """Return those of some windows that a method is trained with: a fixed diagonal one step, `longer` its own."""
    if method == "longer":
        return [SPAN]
    if method.startswith("stationary"):
        return [window for window in windows if window == 1 and core == "gru"]
    return windows


def time_updates(asked: argparse.Namespace) -> Iterator[Record]:
    """Time an update of all that is asked for but fixed diagonals, in the place of training."""
    for task in asked.tasks:
        for core in asked.cores:
            places = [
                (method, window)
                for method in asked.methods
                if not method.startswith("stationary")
                for window in windows_of(method, core, asked.windows)
            ]
            recipes = {place: recipe_of(task, core, *place) for place in places}
            times = seconds_per_update(recipes, ROUNDS, UPDATES)
            for (method, window), seconds in times.items():
                fields = {"task": task, "core": core, "method": method, "window": window, "decay": 0.0, "seed": 0}
                timed = {"metric": "seconds per update", "value": seconds, "updates": ROUNDS * UPDATES}
                yield {**fields, **timed}


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Train all that is asked for, or time its updates."""
    if asked.seconds:
        yield from time_updates(asked)
        return
    fields = [
        {
            "task": task, "core": core, "method": method, "window": window, "decay": decay, "seed": seed,
            "updates": 40 if asked.quick else asked.updates,
        }
        for seed in (asked.seeds[:1] if asked.quick else asked.seeds)
        for task in asked.tasks
        for core in asked.cores
        for method in asked.methods
        for window in windows_of(method, core, asked.windows)
        for decay in (asked.decays if method.startswith("stationary") else [0.0])
    ]  # fmt: skip
    conditions = [Condition(each) for each in fields]
    for condition, result in zip(conditions, run_all(train, conditions, asked.out, asked.jobs), strict=True):
        print(f"{condition.name}: {result['value']:.4f} in {result['seconds']:.0f} s", flush=True)
        yield {**condition.fields, **result}


def show(records: list[Record]) -> None:
    """Print a table for each text, core and metric: the mean, and the value of each seed."""
    kinds = dict.fromkeys((record["task"], record["core"], record["metric"]) for record in records)
    for task, core, metric in kinds:
        of_kind = [each for each in records if (each["task"], each["core"], each["metric"]) == (task, core, metric)]
        digits, lines = 4 if metric == "seconds per update" else TASKS[task].digits, []
        runs = dict[tuple[int, str, float, int], list[float]]()
        for each in of_kind:
            place = (each["window"], each["method"], each["decay"], each["updates"])
            runs.setdefault(place, []).append(each["value"])
        for (window, method, decay, updates), values in runs.items():
            by_seed = ", ".join(f"{value:.{digits}f}" for value in values)
            entries = f"{decay:g}" if decay else ""
            lines.append([f"{window}", method, entries, f"{updates}", f"{fmean(values):.{digits}f}", by_seed])
        heads = ["window", "method", "entries up to", "updates", "mean", "by seed"]
        print_table(heads, lines, f"{task}, {core.upper()}: {metric}")


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_training_options(made, seeds=2)
    tasks = ["words", "characters"]
    made.add_argument("--tasks", nargs="+", choices=tasks, default=tasks)
    made.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    made.add_argument("--cores", nargs="+", choices=["gru", "lstm", "rnn"], default=["gru"])
    made.add_argument("--windows", type=whole(1), nargs="+", default=[1], help="T of all but `longer`")
    made.add_argument("--updates", type=whole(0), default=0, help="of a training; 0 for an epoch")
    made.add_argument("--seconds", action="store_true", help="time updates in the place of training")
    made.add_argument("--decays", type=positive, nargs="+", default=[0.5, 1.0], help="largest entries of the diagonal")


if __name__ == "__main__":
    benchmark(__doc__, options, run, show)
