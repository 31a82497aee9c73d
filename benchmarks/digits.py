"""Two networks, one that ticks ten times as often: does the fast one have to wait for the slow one's gradient?

    python benchmarks/digits.py [--quick] [--json FILE] [--methods synthetic ...] [--digits 5e6] [--figure FILE]

As in Jaderberg et al. 2016, section 3.2, with real MNIST digits. The fast network reads a stream of digits, one a step,
and says how many odd ones there were since the last message; every `period` digits it sends a message. The slow one
ticks on messages alone and says how many threes there were since it began; it begins anew after `ticks` messages, and
only then goes backwards. What the fast network sends is of use to the slow one only as far as it is trained to be, by
the gradient at the message, which comes that late. Conditions, each with one Adam for every network:

    full            one graph of both networks and all period x ticks digits; one update of both
    waiting         the fast network's graph is cut at its messages; its update waits for the slow network all the same
    synthetic       it is updated with every message, by an `sgrnn.Interface`; the synthesizer knows the message, what
                    the slow network remembers of those before, and, as training may, the counts that are right and the
                    error that the slow network makes when it ticks: the gradient of that tick's loss at its output,
                    for which it must have ticked, forwards
    no error        the same, the synthesizer not knowing the error
    message alone   the same, the synthesizer knowing the message alone
    every step      as synthetic, and the fast network is updated with every digit: windows of one step, with synthetic
                    gradients over time (`sgrnn.SyntheticGradients`) beside those across the message
    none            updated with every message, no gradient through it: a control

Of the rates and of the norms that gradients are clipped to each condition has those that do best on the validation
images. The rate is that of all but the slow network, which has as many updates in every condition and always the same
one. Rates fall to zero over the last 30% of a run, so that accuracies are those at the end, one run for every number of
digits. They are the share of right counts on the test images, in streams that are the same for all: of the slow network
at all its ticks, of the fast one when it sends. The figure has them on a tenth of those streams, against samples
(digits, rows counted) and against updates of the fast network.

Every result lies in a file of its own under --out: stopped, the benchmark goes on when called again. --quick runs one
seed for 2e4 digits: it shows that everything runs.

Needs the images: sgrnn data fetch mnist
"""

import argparse
import math
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
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
from shown import legend, new_figure, plot_curves, print_table, spread, style
from two_networks import ROWS, Digits, Pair, Setting

from sgrnn.errors import InputError

METHODS = ("full", "waiting", "synthetic", "no error", "message alone", "every step", "none")


def train(**fields: Any) -> Record:
    """Train by a setting of these fields; scores at the end, and a curve of [digits, updates, threes and odd right]."""
    setting = Setting(**fields)
    streams = Digits("train", setting, setting.batch_size, setting.seed)
    tests = Digits("test", setting, ROWS // 10, seed=10_000).draw()
    pair = Pair(setting)
    per_stream = setting.period * setting.ticks * setting.batch_size
    number = math.ceil(setting.digits / per_stream)
    due = {round(number * (place + 1) / setting.evaluations) for place in range(setting.evaluations)}
    curve: list[list[float]] = []
    for done in range(1, number + 1):
        pair.learn(streams.draw(), min(1.0, (1 - (done - 1) / number) / setting.falling))
        if done in due:
            curve.append([done * per_stream, pair.updates, *pair.score(tests)])
    scores = {split: score_all(pair, Digits(split, setting, ROWS // 10, seed=20_000)) for split in ("test", "valid")}
    metrics = {name: float(value) for name, value in pair.interface.metrics().items()}
    return {"curve": curve, "scores": scores, "interface": metrics}


def score_all(pair: Pair, streams: Digits) -> list[float]:
    """Threes and odd digits right, in ten times as many rows as are scored along the way."""
    return np.mean([pair.score(streams.draw()) for _ in range(10)], axis=0).tolist()


def record_of(condition: Condition, result: Record) -> Record:
    """Return accuracies at the end of a run, and its curve."""
    (threes, odd), (valid, _) = (result["scores"][split] for split in ("test", "valid"))
    return {
        "metric": "accuracy of the slow network", "value": threes, "fast_accuracy": odd, "valid_accuracy": valid,
        **condition.fields, **{f"interface_{name}": value for name, value in result["interface"].items()},
        "curve": result["curve"],
    }  # fmt: skip


def groups(records: list[Record]) -> dict[tuple[str, float], list[Record]]:
    """Return for every method and number of digits the records of the settings best on the validation images."""
    best = best_settings(records, ("method", "digits"), ("rate", "clip"), lambda r: r.get("valid_accuracy", 0.0))
    places = dict.fromkeys((r["method"], r["digits"]) for r in best)
    return {place: [r for r in best if (r["method"], r["digits"]) == place] for place in places}


def show(records: list[Record]) -> None:
    """Print a line for each method and number of digits: accuracies at the end."""
    lines = []
    for (method, digits), same in groups(records).items():
        threes, odd = (spread(r[name] for r in same) for name in ("value", "fast_accuracy"))
        r2 = [r["interface_target_r2"] for r in same if "interface_target_r2" in r]
        settings = [f"{digits:.0e}", f"{same[0]['rate']:g}", f"{same[0]['clip']:g}"]
        lines.append([method, *settings, threes, odd, f"{median(r2):.2f}" if r2 else ""])
    print_table(["", "digits", "rate", "clip", "threes right", "odd right", "target r2"], lines)


def draw(records: list[Record]) -> Figure:
    """Draw the slow network's accuracy against samples and updates: medians, and each seed faintly."""
    figure, panels = new_figure(2, sharey=True)
    figure.suptitle("Two networks, one of which ticks ten times as often: threes counted right")
    for axes, column, label in zip(panels, (0, 1), ("digits seen", "updates of the fast network"), strict=True):
        for (method, digits), same in groups(records).items():
            curves = [r["curve"] for r in same]
            look = style(method) | ({"marker": ""} if len(curves[0]) > 1 else {})
            plot_curves(axes, curves, f"{method}, {digits:.0e}", column, 2, **look)
        axes.set(xlabel=label, xscale="log", title=f"by {label}")
    panels[0].set_ylabel("share of threes counted right")
    legend(figure, panels[0])
    return figure


def largest_norm(text: str) -> float:
    """Read an option that is the largest norm of gradients; 0 for none."""
    return 0.0 if text == "0" else positive(text)


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Train every condition."""
    if asked.quick:
        asked.seeds, asked.digits, asked.evaluations = asked.seeds[:1], [2e4], 2
        asked.rates, asked.clips = asked.rates[:1], asked.clips[:1]
    update = asked.period * asked.ticks * asked.batch_size
    if min(asked.digits) < update:
        raise InputError(f"--digits must be at least those of an update, {update}, got {min(asked.digits):g}")
    choices = grid(seed=asked.seeds, method=asked.methods, digits=asked.digits, rate=asked.rates, clip=asked.clips)
    fixed = {name: getattr(asked, name) for name in ("period", "ticks", "batch_size", "evaluations")}
    conditions = [Condition(fields | fixed) for fields in choices]
    for condition, result in zip(conditions, run_all(train, conditions, asked.out, asked.jobs), strict=True):
        record = record_of(condition, result)
        print(f"{condition.name}: {record['value']:.3f}", flush=True)
        yield record


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_training_options(made)
    made.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    made.add_argument("--rates", type=positive, nargs="+", default=[1e-3, 3e-3], help="of all but the slow network")
    made.add_argument("--clips", type=largest_norm, nargs="+", default=[0.0, 1.0], help="norms of gradients; 0: any")
    made.add_argument("--digits", type=positive, nargs="+", default=[5e6], help="samples of a run, rows counted")
    made.add_argument("--period", type=whole(1), default=10, help="digits between two messages")
    made.add_argument("--ticks", type=whole(1), default=10, help="messages between two beginnings of the slow network")
    made.add_argument("--batch-size", type=whole(1), default=16)
    made.add_argument("--evaluations", type=whole(1), default=50)


if __name__ == "__main__":
    benchmark(__doc__, options, run, show, draw)
