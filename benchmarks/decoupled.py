"""Networks on MNIST whose layers are trained apart: how wrong are they, beside those of the paper?

    python benchmarks/decoupled.py [--quick] [--json FILE] [--methods cdni ...] [--layers 3 4] [--figure FILE]

As in Jaderberg et al. 2016, table 1: a fully connected network of 256 units, batch norm and ReLU in every layer but the
last, with an interface above each of them, on the images of MNIST; with --networks cnn one of 5 x 5 convolutions of 16
filters, each with batch norm, ReLU and the largest of 2 x 2, in batches of 100. Methods:

    backprop    the gradient of the layer above
    none        no gradient: the last layer alone learns, a control
    dni         a synthesizer that knows the message alone, of two hidden layers
    cdni        a linear one that is told the label
    error       a linear one that is told the error at the outputs: direct feedback alignment with learned weights
    unlocked    as cdni, and every layer but the first reads what a synthesizer predicts from the image
    fa, dfa     feedback alignment and direct feedback alignment
    kickback    one number of the error, times the influence of the message on the next layer

Adam at 1e-3; in dni the network's is at 2e-4, and from 4 layers on synthesizers that are told something have 3e-3. The
network's rate falls to zero over the last 30% of a run. Batches of 250 of the 55,000 images that are not kept for
validation. --probabilities below 1 update each layer at random moments. Errors are those on the 10,000 test images
after the last step, nothing being chosen by them; curves hold those on the validation images, too.

Every result lies in a file of its own under --out: stopped, the benchmark goes on when called again. --quick runs one
seed of 3 layers for 200 steps: it shows that everything runs.

Needs the images: sgrnn data fetch mnist
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch
from decoupled_networks import METHODS, Setting, build, error_of
from decoupled_networks import train as train_chain
from frame import Condition, Record, add_training_options, benchmark, grid, run_all, whole
from matplotlib.figure import Figure
from shown import legend, new_figure, plot_middles, print_table, spread, style

EVALUATIONS = 20
PUBLISHED = {
    "none": (9.3, 12.6, 16.2, 21.4), "backprop": (2.0, 1.8, 1.8, 1.8), "dni": (1.9, 2.2, 3.4, 4.3),
    "cdni": (2.2, 1.9, 1.7, 1.6), "cnn none": (0.9, 2.8), "cnn backprop": (0.8, 0.6), "cnn dni": (0.9, 0.7),
    "cnn cdni": (1.0, 0.8),
}  # fmt: skip
"""Test errors in percent of 3, 4, 5 and 6 layers (Jaderberg et al. 2016, table 1)."""


def setting_of(network: str, method: str, layers: int, probability: float, seed: int, steps: int | None) -> Record:
    """Return the fields of a setting, with what a method is known to work with."""
    slow, cnn = method == "dni", network == "cnn"
    usual = 2_000 if cnn else 24_000 if slow else 8_000 if probability == 1 else 20_000
    fields = {
        "method": method, "layers": layers, "probability": probability, "seed": seed, "steps": steps or usual,
        "rate": 2e-4 if slow else 1e-3, "synthesizer_rate": 1e-3 if slow or layers < 4 else 3e-3,
        "synthesizer_size": (32 if cnn else 256) if slow else 0,
    }  # fmt: skip
    return fields | ({"network": network, "hidden_size": 16, "batch_size": 100} if cnn else {})


def train(**fields: Any) -> Record:
    """Train by a setting of these fields; the errors, and a curve of [step, validation error, test error]."""
    torch.set_num_threads(1)
    setting = Setting(**fields)
    chain, curve, began = build(setting), [], time.process_time()

    def score(step: int) -> None:
        curve.append([step, error_of(chain, "valid"), error_of(chain, "test")])

    due = [round(setting.steps * (place + 1) / EVALUATIONS) for place in range(EVALUATIONS)]
    train_chain(chain, setting, due, score)
    metrics = {name: float(value) for name, value in chain.metrics().items()}
    return {"curve": curve, "metrics": metrics, "train": error_of(chain, "train"), "cpu": time.process_time() - began}


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Train every condition."""
    if asked.quick:
        asked.seeds, asked.layers, asked.steps = asked.seeds[:1], [3], asked.steps or 200
    choices = grid(
        network=asked.networks, seed=asked.seeds, layers=asked.layers, probability=asked.probabilities,
        method=asked.methods,
    )  # fmt: skip
    fields = [setting_of(steps=asked.steps, **choice) for choice in choices]
    conditions = [Condition(each) for each in fields if _is_possible(each)]
    for condition, result in zip(conditions, run_all(train, conditions, asked.out, asked.jobs), strict=True):
        _, valid, test = result["curve"][-1]
        record = {
            "metric": "test error in percent", "value": test, "valid_error": valid, "train_error": result["train"],
            **condition.fields, **result["metrics"], "cpu_seconds": result["cpu"], "curve": result["curve"],
        }  # fmt: skip
        print(f"{condition.name}: {test:.2f}% in {result['cpu']:.0f} s", flush=True)
        yield record


def _is_possible(fields: Record) -> bool:
    """Return False for what waits and is to be updated at random moments, and for what convolutions do not have."""
    waits = fields["probability"] < 1 and fields["method"] not in UNWAITING
    return not waits and not ("network" in fields and fields["method"] in ("fa", "unlocked"))


UNWAITING = ("none", "dni", "cdni", "error", "unlocked", "dfa", "kickback")
"""Methods whose layers can be updated at random moments."""


def show(records: list[Record]) -> None:
    """Print test errors by method, probability of an update, steps and layers, beside the published."""
    lines = []
    depths = list(dict.fromkeys(record["layers"] for record in records))
    for method in dict.fromkeys(map(name_of, records)):
        own = [record for record in records if name_of(record) == method]
        for probability, steps in dict.fromkeys((record["probability"], record["steps"]) for record in own):
            same = [r for r in own if (r["probability"], r["steps"]) == (probability, steps)]
            values = [[r["value"] for r in same if r["layers"] == depth] for depth in depths]
            lines.append([method, f"{probability:g}", f"{steps:,}", *(spread(v, 2) if v else "" for v in values)])
        if method in PUBLISHED:
            found = dict(zip((3, 4, 5, 6), PUBLISHED[method], strict=False))
            lines.append(["  published", "1", "500,000", *(f"{found[d]:.1f}" if d in found else "" for d in depths)])
    print_table(["test error, %", "p", "steps", *(f"{depth} layers" for depth in depths)], lines)


def name_of(record: Record) -> str:
    """Return a record's method, after its network if that is one of convolutions."""
    return ("cnn " if record.get("network") == "cnn" else "") + record["method"]


def draw(records: list[Record]) -> Figure:
    """Draw test errors against the number of layers, and of one depth against the probability of an update.

    Of fully connected networks.
    """
    records = [record for record in records if name_of(record) == record["method"]]
    methods = list(dict.fromkeys(record["method"] for record in records))
    figure, panels = new_figure(2)
    for axes, place, title in zip(
        panels, ("layers", "probability"), ("always updated", "updated at random moments"), strict=True
    ):
        other, fixed = ("probability", 1) if place == "layers" else ("layers", min(r["layers"] for r in records))
        chosen = [record for record in records if record[other] == fixed]
        places = sorted({record[place] for record in chosen})
        for method in methods:
            points = [(record[place], record["value"]) for record in chosen if record["method"] == method]
            plot_middles(axes, points, method, places, **style(method))
        axes.set(xlabel=place, yscale="log", title=title)
    panels[0].set_ylabel("test error, %")
    legend(figure, panels[0])
    return figure


def share(text: str) -> float:
    """Read an option that is a probability above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and at most 1, got {text}")
    return value


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_training_options(made)
    made.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    made.add_argument("--networks", nargs="+", choices=["fcn", "cnn"], default=["fcn"])
    made.add_argument("--layers", type=whole(2), nargs="+", default=[3, 4, 5, 6])
    made.add_argument("--probabilities", type=share, nargs="+", default=[1.0], help="of a layer to be updated")
    made.add_argument("--steps", type=whole(1), help="by default 8,000, of dni 24,000, of cnn 2,000, p < 1 20,000")


if __name__ == "__main__":
    benchmark(__doc__, options, run, show, draw)
