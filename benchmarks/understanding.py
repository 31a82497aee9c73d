"""What synthetic gradients do to a network: four experiments after Czarnecki et al. 2017.

    python benchmarks/understanding.py [--quick] [--json FILE] [--parts linear ...] [--figure FILE]

    linear            linear models and ten-layer linear ones, squared and log loss, four artificial data sets of 2 and
                      100 dimensions: the loss at the end, with a synthesizer told the label that is linear, or reads
                      the sigmoid of its inputs, too, and by back-propagation
    deep              networks of ReLUs up to 50 layers with one synthesizer in the middle, on MNIST: both errors
    representations   two networks on MNIST, trained by back-propagation and with synthesizers told the label, from the
                      same first weights, and one by back-propagation from others: by layer the rank correlation of
                      their dissimilarity matrices on 500 test images, the accuracy of linear probes, the norm of the
                      weights, and the R² of the loss recovered from the predictions, early and at the end

The data sets: separable by a plane; the same with a fifth of the labels turned; the sign of a product of two inputs;
random labels. Every result lies in a file of its own under --out: stopped, the benchmark goes on when called again.
--quick runs one data set, 4 layers and few steps: it shows that everything runs.

Needs the images: sgrnn data fetch mnist
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import torch
from decoupled_networks import CLASSES, PIXELS, Setting, build, digits, error_of
from decoupled_networks import train as train_chain
from frame import Condition, Record, add_training_options, benchmark, grid, run_all, whole
from matplotlib.figure import Figure
from shown import BLACK, GREEN, RED, new_figure, print_table
from torch import Tensor, nn
from understanding_models import (
    DATA,
    LOSSES,
    Linear,
    deep_network,
    layers_of,
    recovered,
    train_linear,
    weight_norms,
)

from sgrnn import decoupled
from sgrnn.diagnostics.dissimilarity import agreement, dissimilarities
from sgrnn.diagnostics.probes import linear_probe

ROWS = 250
SHOWN = 500  # images that are compared
COLORS = {"backprop": BLACK, "linear": RED, "sigmoid": GREEN, "cdni": GREEN}


def linear(**fields: Any) -> Record:
    """Train a linear model by a setting of these fields."""
    torch.set_num_threads(1)
    found, least = train_linear(Linear(**fields, rate=1e-2 if fields["layers"] == 1 else 1e-3))
    return {"value": found, "least": least if fields["loss"] == "squared" else None}


def deep(method: str, layers: int, seed: int, steps: int) -> Record:
    """Train a deep network on MNIST with one interface in the middle."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    feedback = (
        decoupled.Backpropagation() if method == "backprop" else
        decoupled.SyntheticFeedback(
            decoupled.MessageSynthesizer(64, known_size=CLASSES), told="label", classes=CLASSES
        )
    )  # fmt: skip
    setting = Setting(method, layers, 1.0, seed, steps, 1e-3, 1e-3, 0, hidden_size=64, batch_size=ROWS)
    modules = deep_network(PIXELS, setting.hidden_size, layers, CLASSES)
    chain = decoupled.Chain(modules, nn.CrossEntropyLoss(reduction="none"), [feedback])
    train_chain(chain, setting, (), print)
    return {"value": error_of(chain, "test"), "train": error_of(chain, "train")}


def representations(layers: int, seed: int, steps: int) -> Record:
    """Train three networks, and compare them layer by layer."""
    torch.set_num_threads(1)
    images, labels = (each[:SHOWN] for each in digits("test"))
    early, seen, result = max(1, steps // 20), {}, {}
    for name, method, start in (
        ("backprop", "backprop", seed),
        ("cdni", "cdni", seed),
        ("other", "backprop", seed + 50),
    ):
        setting = Setting(method, layers, 1.0, start, steps, 1e-3, 3e-3, 0, batch_size=ROWS)
        chain, implied = build(setting), []

        def score(step: int, chain=chain, implied=implied, method=method) -> None:
            if method == "cdni":
                implied.append(recovered(chain, images, labels, ROWS))

        train_chain(chain, setting, (early, steps), score)
        seen[name] = [dissimilarities(layer) for layer in layers_of(chain.network, images)]
        result[name] = {
            "probes": probes(chain), "norms": weight_norms(chain.network), "error": error_of(chain, "test"),
            "recovered": implied,
        }  # fmt: skip
    for name in ("cdni", "other"):
        result[name]["agreement"] = [agreement(*both) for both in zip(seen["backprop"], seen[name], strict=True)]
    return {"value": result["cdni"]["error"], "steps_early": early, **result}


def probes(chain: decoupled.Chain) -> list[float]:
    """Return the accuracy of a linear probe of every layer for the digit, on test images."""
    (some, theirs), (unseen, answers) = (tuple(each[:2000] for each in digits(split)) for split in ("train", "test"))
    before, after = (layers_of(chain.network, each) for each in (some, unseen))
    pairs: Iterator[tuple[Tensor, Tensor]] = zip(before, after, strict=True)
    return [linear_probe(one.double(), theirs, other.double(), answers)[0] for one, other in pairs]


PARTS: dict[str, Callable[..., Record]] = {"linear": linear, "deep": deep, "representations": representations}


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Run the parts that are asked for."""
    quick, seeds = asked.quick, asked.seeds[:1] if asked.quick else asked.seeds
    choices = {
        "linear": grid(
            seed=seeds, size=[2] if quick else [2, 100], data=DATA[:1] if quick else DATA, layers=[1, 10],
            loss=list(LOSSES), method=["backprop", "linear", "sigmoid"], 
            steps=[asked.steps or (100 if quick else 1500)],
        ),
        "deep": grid(
            seed=seeds, layers=[4] if quick else [4, 10, 20, 50], method=["backprop", "cdni"],
            steps=[asked.steps or (20 if quick else 1000)],
        ),
        "representations": grid(
            seed=seeds, layers=[4] if quick else [6], steps=[asked.steps or (20 if quick else 8000)],
        ),
    }  # fmt: skip
    for part in asked.parts:
        conditions = [Condition(fields) for fields in choices[part]]
        results = run_all(PARTS[part], conditions, asked.out / part, asked.jobs)
        for condition, result in zip(conditions, results, strict=True):
            print(f"{part} {condition.name}: {result['value']:.4g}", flush=True)
            yield {"metric": part, **condition.fields, **result}


def of(records: list[Record], part: str) -> list[Record]:
    """Return the records of a part."""
    return [record for record in records if record["metric"] == part]


def show(records: list[Record]) -> None:
    """Print a table for each part."""
    lines = []
    for place in dict.fromkeys((r["loss"], r["layers"], r["data"], r["size"]) for r in of(records, "linear")):
        same = [r for r in of(records, "linear") if (r["loss"], r["layers"], r["data"], r["size"]) == place]
        cells = [mean(r["value"] for r in same if r["method"] == name) for name in ("backprop", "linear", "sigmoid")]
        least = same[0]["least"]
        lines.append([*map(str, place), "" if least is None else f"{least:.4f}", *cells])
    if lines:
        print_table(["loss", "layers", "data", "inputs", "least", "backprop", "linear", "with a sigmoid"], lines,
                    "the loss of linear models after training")  # fmt: skip
    deeps = of(records, "deep")
    lines = [
        [str(depth), *(mean((r[name] for r in deeps if (r["layers"], r["method"]) == (depth, method)), 2)
                       for method in ("backprop", "cdni") for name in ("train", "value"))]
        for depth in dict.fromkeys(record["layers"] for record in deeps)
    ]  # fmt: skip
    if lines:
        print_table(["layers", "backprop: train", "test", "one synthesizer: train", "test"], lines, "error, %")
    for record in of(records, "representations"):
        rows = {
            "agreement, cdni": record["cdni"]["agreement"], "agreement, other start": record["other"]["agreement"],
            "probe, backprop": record["backprop"]["probes"], "probe, cdni": record["cdni"]["probes"],
            "norm, backprop": record["backprop"]["norms"], "norm, cdni": record["cdni"]["norms"],
            "loss recovered, early": record["cdni"]["recovered"][0],
            "loss recovered, end": record["cdni"]["recovered"][-1],
        }  # fmt: skip
        body = [[name, *(f"{value:.3f}" for value in values)] for name, values in rows.items()]
        depth = record["layers"]
        body = [[*line, *[""] * (depth + 1 - len(line))] for line in body]
        errors = [f"{record[name]['error']:.2f}%" for name in ("backprop", "cdni")]
        title = f"by layer, seed {record['seed']}; test errors {' and '.join(errors)}"
        print_table(["", *(f"layer {number}" for number in range(1, depth + 1))], body, title)


def mean(values: Iterator[float], digits: int = 4) -> str:
    """Write the mean of some values."""
    found = list(values)
    return f"{sum(found) / len(found):.{digits}f}" if found else ""


def draw(records: list[Record]) -> Figure:
    """Draw what differs by layer: agreement, probes, norms, and the loss that is recovered."""
    figure, panels = new_figure(4 if of(records, "representations") else 0)
    for record in of(records, "representations"):
        lines = {
            0: [("cdni against backprop", record["cdni"]["agreement"], GREEN),
                ("backprop from other weights", record["other"]["agreement"], BLACK)],
            1: [(name, record[name]["probes"], COLORS[name]) for name in ("backprop", "cdni")],
            2: [(name, record[name]["norms"], COLORS[name]) for name in ("backprop", "cdni")],
            3: [("early", record["cdni"]["recovered"][0], RED), ("end", record["cdni"]["recovered"][-1], GREEN)],
        }  # fmt: skip
        for panel, curves in lines.items():
            for label, values, color in curves:
                first = record is of(records, "representations")[0]
                panels[panel].plot(range(1, len(values) + 1), values, "o-", color=color, label=label if first else None)
    titles = ("agreement of dissimilarities", "accuracy of probes", "norm of weights", "R² of the recovered loss")
    for axes, title in zip(panels, titles, strict=True):
        axes.set(title=title, xlabel="layer")
        axes.legend(fontsize="small")
    return figure


def options(made: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_training_options(made, seeds=1)
    made.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    made.add_argument("--steps", type=whole(1), help="of every training")


if __name__ == "__main__":
    benchmark(__doc__, options, run, show, draw)
