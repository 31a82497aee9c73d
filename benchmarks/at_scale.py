"""Cost of an update on paper, from the numbers of parameters of the models and synthesizers in the code.

    python benchmarks/at_scale.py [--quick] [--json FILE]

Nothing is measured and nothing is run: the modules are built without memory, their parameters counted, and the rest is
the arithmetic of docs/scale.md. One product of a matrix of P entries with a row takes 2P operations, its gradients 4P.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from frame import LARGE, Record, benchmark, grid
from shown import print_table

from sgrnn.cores import LSTM
from sgrnn.models.language_model import LanguageModel
from sgrnn.state import state_size

SHAPES = ((2, 200, 10_000), (2, 650, 10_000), (3, 1150, 33_000), (1, 10_000, 33_000))  # layers, units, vocabulary
SPAN, ROWS = 20, 64  # steps of a span, rows of it in a process
WINDOWS = (1, 5, 20)
NUMBER = 4  # bytes
PLACE = ("model", "synthesizer", "window")


def count(module: torch.nn.Module) -> int:
    """Count the parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def on_paper(layers: int, units: int, vocabulary: int, window: int, kind: str) -> Record:
    """Return one line of the table of costs; operations are per token, bytes per update and process."""
    with torch.device("meta"):
        core = LSTM(units, units, layers)
        model = LanguageModel(vocabulary, units, core, units)
        options: dict[str, Any] = {"error": {}, "adjoint": {"window": window}}[kind]
        synthesizer = model.synthesizer(**LARGE) if kind == "error" else model.adjoint_synthesizer(**options)
        features = state_size(model.initial_state(1))
    of_core, of_output, of_synthesizer = count(core), count(model.output), count(synthesizer)
    ahead = synthesizer.lookahead
    boundaries = -(-SPAN // window)
    step = 6 * (of_core + of_output)
    # A synthesizer is asked at K + 1 boundaries of a row and trained at K; running ahead takes the core once, the
    # output layer there and back to the errors.
    predicting = (2 * (boundaries + 1) + 4 * boundaries) * of_synthesizer / SPAN
    running_ahead = ahead * (2 * of_core + 4 * of_output) / SPAN
    learned = count(model) + of_synthesizer
    return {
        "model": f"{layers}x{units}, V={vocabulary}",
        "window": window,
        "synthesizer": kind,
        "core_parameters": of_core,
        "output_parameters": of_output,
        "synthesizer_parameters": of_synthesizer,
        "operations": step,
        "predicting_share": predicting / step,
        "running_ahead_share": running_ahead / step,
        "bytes_of_parameters_and_adam": 4 * NUMBER * learned,
        "bytes_of_errors_seen": NUMBER * ahead * (boundaries + 1) * ROWS * units,
        "bytes_of_logits": NUMBER * SPAN * ROWS * vocabulary,
        "bytes_of_state": NUMBER * ROWS * features,
        "bytes_sent": 2 * NUMBER * learned,
    }


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Yield the numbers of every line, one a record."""
    shapes = SHAPES[:2] if asked.quick else SHAPES
    for fields in grid(shape=shapes, kind=("error", "adjoint"), window=WINDOWS):
        layers, units, vocabulary = fields["shape"]
        line = on_paper(layers, units, vocabulary, fields["window"], fields["kind"])
        place = {name: line.pop(name) for name in PLACE}
        yield from ({"metric": metric, "value": value, **place} for metric, value in line.items())


def show(records: list[Record]) -> None:
    """Print a line for every model, synthesizer and window."""
    rows: dict[tuple, Record] = {}
    for record in records:
        rows.setdefault(tuple(record[name] for name in PLACE), {})[record["metric"]] = record["value"]
    lines = [
        [
            model, kind, f"{window}", f"{(row['core_parameters'] + row['output_parameters']) / 1e6:.1f} M",
            f"{row['synthesizer_parameters'] / 1e6:.2f} M", f"{row['predicting_share']:.1%}",
            f"{row['running_ahead_share']:.1%}", f"{row['bytes_of_parameters_and_adam'] / 1e9:.2f} GB",
            f"{row['bytes_sent'] / 1e9:.3f} GB",
        ]
        for (model, kind, window), row in rows.items()
    ]  # fmt: skip
    header = ["model", "synthesizer", "T", "core + output", "synthesizer"]
    print_table([*header, "predicting", "running ahead", "kept", "sent"], lines)


if __name__ == "__main__":
    benchmark(__doc__, lambda parser: None, run, show)
