"""How far back does an update at every step reach? Endless streams under every estimator, by steps and by seconds.

    python benchmarks/stream.py [--quick] [--json FILE] [--tasks gap chain] [--lengths 3 8] [--methods ...]

Tasks. `gap`: random bits, each to be repeated so many steps later. `chain`: a cue that is asked for after so many steps
of noise, the memory chain of streaming reinforcement learning as supervised recall. `text`: the characters of Penn
Treebank in one pass; `change`: of Penn Treebank, of Python's documentation, and of Penn Treebank again, its length that
of each in thousands of characters. What counts of the first two is when the loss of the last 500 answers falls under a
tenth of what no memory costs, in steps and in seconds of the process; where a shorter length was not mastered, a longer
one is not tried and counts as never. Of texts it is the bits per character, predicted before it is learned, of the
stream and of its tenths.

Methods. `truncated T`, a window of T steps; `averaged T`, with slow averages of gradients (Adam's first decay 0.99);
`tbptt k1 k2`, an update every k1 steps through k2; `synthetic T n`, synthetic gradients n steps late (n is 8 if it is
left out); `rarely T n`, learning in one of eight updates; `constants T n`, with gains for a synthesizer and no network;
`adjoint T n`, with the adjoint one; `future T n`, run ahead into a known future in the place of waiting; `shuffled T
n`, across rows; `state T`, a perceptron that sees the state alone; `diagonal`, a linear recurrent core of as many units
that do not meet, with exact RTRL, not for texts; for few units `snap-1`, `rtrl`.

Every run leaves a file under --out: stopped, the benchmark goes on when called again. --quick takes gaps of 2 and 3,
one seed, and 2,000 steps.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import pairwise
from math import inf, log
from operator import itemgetter
from statistics import fmean, median
from typing import Any

import torch
import torch.nn.functional as F
from diagonal import DiagonalCore
from endless import open_stream
from frame import Condition, Record, add_training_options, benchmark, best_settings, grid, positive, run_all, whole
from known_future import Ahead
from shown import print_by_column
from stream_methods import METHODS, WITHOUT, build_estimator
from torch import Tensor, nn

import sgrnn

ANSWERS = ("gap", "chain")  # tasks that are mastered, with vectors as inputs
EVERY, FORGOTTEN = 500, 0.1  # answers, and the share of what no memory costs, log 2


def train(
    task: str, method: str, length: int, rate: float, synthesizer_rate: float, seed: int, steps: int, seconds: float,
    hidden_size: int, rows: int,
) -> Record:  # fmt: skip
    """Learn from a stream until both budgets are used up, or it is mastered, or it ends.

    Returns:
        ``mastered``: steps and seconds at the time, or None; ``curve``: of steps and the mean loss since the last.
    """
    torch.manual_seed(seed)
    readings, size, vocabulary_size = open_stream(task, length, rows, seed)
    if vocabulary_size:
        core: nn.Module = sgrnn.LanguageModel(
            vocabulary_size, hidden_size, sgrnn.LSTM(hidden_size, hidden_size), hidden_size
        )
        parameters, loss = list(core.parameters()), core.loss
        sizes = 2 * hidden_size, hidden_size, hidden_size
    else:
        core = (DiagonalCore if method == "diagonal" else sgrnn.LSTM)(size, hidden_size)
        head = nn.Linear(hidden_size, 1)
        parameters, sizes = [*core.parameters(), *head.parameters()], (2 * hidden_size, hidden_size, size)

        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            return F.binary_cross_entropy_with_logits(head(outputs), targets, reduction="none").squeeze(-1)

    open_forget_gates(core)
    betas = (0.99, 0.999) if method.startswith("averaged") else (0.9, 0.999)
    optimizer = torch.optim.Adam(parameters, rate, betas=betas, fused=True)
    if method.startswith("future"):
        estimator = build_estimator(method, core, loss, sizes)
        own = torch.optim.Adam(estimator.parameters(), synthesizer_rate, fused=True)
        stream: Any = Ahead(estimator, [optimizer, own], clip=1.0)
    else:
        stream = sgrnn.Stream(
            core, loss, optimizer, synthesizer_rate=synthesizer_rate, clip=1.0,
            estimator=lambda core, loss: build_estimator(method, core, loss, sizes),
        )  # fmt: skip
    taken, curve, mastered, late = 0, [], None, []
    began = time.process_time()
    for taken, reading in enumerate(readings, start=1):
        step = stream.step(reading.inputs, reading.targets, answered=reading.answered)
        if step is not None and step.loss is not None:
            late.append(float(step.loss))
        if len(late) == EVERY:
            curve.append([taken, time.process_time() - began, fmean(late)])
            late = []
            if not vocabulary_size and curve[-1][2] < FORGOTTEN * log(2):
                mastered = curve[-1][:2]
                break
        if not vocabulary_size and taken >= steps and time.process_time() - began >= seconds:
            break
    return {"mastered": mastered, "curve": curve, "steps": taken, "seconds": time.process_time() - began}


def open_forget_gates(core: nn.Module) -> None:
    """Set the biases of an LSTM's forget gates to 1, so that a new model keeps its state for some steps."""
    with torch.no_grad():
        for name, parameter in core.named_parameters():
            if "bias_ih" in name:
                parameter[len(parameter) // 4 : len(parameter) // 2] = 1


def records_of(condition: Condition, result: Record | None) -> list[Record]:
    """Return records of when a gap was mastered, or of a text's bits per character, and of a step's time.

    Args:
        condition: what was asked for.
        result: what `train` returned; None where it was not tried.
    """
    fields = condition.fields
    if fields["task"] in ANSWERS:
        found = (result and result["mastered"]) or [None, None]
        records = [
            {
                "metric": f"{name} until mastered",
                "value": value if value is not None and value <= fields[name] else None,
            }
            for name, value in zip(("steps", "seconds"), found, strict=True)
            if fields[name]
        ]
    else:
        assert result is not None, "a text of any length is tried"
        bits = [loss / log(2) for *_, loss in result["curve"]]
        ends = [len(bits) * tenth // 10 for tenth in range(11)]
        tenths = [fmean(bits[start:end]) for start, end in pairwise(ends) if end > start]
        records = [{"metric": "bits per character", "value": fmean(bits), "tenths": tenths}]
    if result is not None:
        records.append({"metric": "milliseconds per step", "value": 1e3 * result["seconds"] / result["steps"]})
    return [record | fields for record in records]


def show(records: list[Record]) -> None:
    """Print for every task and size a table by method and length: medians over seeds, of the best rates of each."""
    measured_on = itemgetter("task", "hidden_size", "rows", "steps", "seconds", "metric")
    for on in sorted(set(map(measured_on, records))):
        same = [record for record in records if measured_on(record) == on]
        title = "{}, {} units, {} rows, {} steps, {:g} s: {}".format(*on)
        cells = {}
        best = best_settings(
            same,
            ("method", "length"),
            ("rate", "synthesizer_rate"),
            lambda r: -inf if r["value"] is None else -r["value"],
        )
        for method in dict.fromkeys(r["method"] for r in best):
            for length in sorted({r["length"] for r in best}):
                values = [r["value"] for r in best if (r["method"], r["length"]) == (method, length)]
                found = [value for value in values if value is not None]
                if values:
                    some = "" if len(found) == len(values) else f", {len(found)} of {len(values)}"
                    cells[method, str(length)] = f"{median(found):.4g}{some}" if found else "never"
        print_by_column(cells, title)
        tenths: dict[tuple[str, str], list[float]] = {}
        for record in best:
            for number, value in enumerate(record.get("tenths", []), start=1):
                tenths.setdefault((f"{record['method']}, {record['length']}", f"{number}"), []).append(value)
        if tenths:
            print_by_column({place: f"{median(values):.3f}" for place, values in tenths.items()}, f"{title}, by tenth")


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Train every condition."""
    if asked.quick:
        asked.tasks, asked.lengths, asked.seeds = ["gap"], [2, 3], asked.seeds[:1]
        asked.steps, asked.seconds = 2000, 1.0
    failed: set[tuple[Any, ...]] = set()
    for length in sorted(asked.lengths):
        conditions = list(_conditions(asked, length))
        for hopeless in [each for each in conditions if _attempt(each) in failed]:
            conditions.remove(hopeless)
            yield from records_of(hopeless, None)
        for condition, result in zip(conditions, run_all(train, conditions, asked.out, asked.jobs), strict=True):
            records = records_of(condition, result)
            print(f"{condition.name}: {', '.join(str(record['value']) for record in records)}", flush=True)
            if result["mastered"] is None and condition.fields["task"] in ANSWERS:
                failed.add(_attempt(condition))
            yield from records


def _conditions(asked: argparse.Namespace, length: int) -> Iterator[Condition]:
    """Yield what is asked for at a length, each once."""
    fixed = {name: getattr(asked, name) for name in ("steps", "seconds", "hidden_size", "rows")}
    for fields in grid(task=asked.tasks, length=[length], seed=asked.seeds, method=asked.methods, rate=asked.rates,
                       synthesizer_rate=asked.synthesizer_rates):  # fmt: skip
        if fields["method"].split()[0] in WITHOUT:
            if fields["synthesizer_rate"] != asked.synthesizer_rates[0]:
                continue
            fields["synthesizer_rate"] = 0.0
        if fields["method"] != "diagonal" or fields["task"] in ANSWERS:
            yield Condition(fields | fixed)


def _attempt(condition: Condition) -> tuple[Any, ...]:
    """Return what an attempt at growing lengths has in common."""
    return tuple(condition.fields[name] for name in ("task", "seed", "method", "rate", "synthesizer_rate"))


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_training_options(made)
    made.add_argument("--tasks", nargs="+", choices=("gap", "chain", "text", "change"), default=["gap"])
    made.add_argument("--lengths", type=whole(1), nargs="+", default=[2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64])
    made.add_argument("--methods", nargs="+", default=METHODS)
    made.add_argument("--rates", type=positive, nargs="+", default=[3e-3])
    made.add_argument("--synthesizer-rates", type=positive, nargs="+", default=[3e-3])
    made.add_argument("--steps", type=whole(0), default=50_000, help="budget of steps; 0 for seconds alone")
    made.add_argument("--seconds", type=positive, default=60.0, help="budget of CPU seconds")
    made.add_argument("--hidden-size", type=whole(1), default=64)
    made.add_argument("--rows", type=whole(1), default=8)


if __name__ == "__main__":
    benchmark(__doc__, options, run, show)
