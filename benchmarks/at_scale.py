"""What an update costs on paper, from the parameters of the models and synthesizers as they are in code.

    python benchmarks/at_scale.py

Nothing is measured and nothing is run: the modules are built without memory, their parameters counted, and the rest is
the arithmetic of docs/scale.md. One product of a matrix of P entries with a row takes 2P operations, its gradients 4P.
"""

from typing import Any

import torch
from options import command, parser
from records import Record, write_records

from sgrnn.cores import LSTM
from sgrnn.models.language_model import LanguageModel
from sgrnn.state import state_size

SHAPES = ((2, 200, 10_000), (2, 650, 10_000), (3, 1150, 33_000), (1, 10_000, 33_000))  # layers, units, vocabulary
SPAN, ROWS = 20, 64  # steps of a span, rows of it in a process
WINDOWS = (1, 5, 20)
NUMBER = 4  # bytes


def count(module: torch.nn.Module) -> int:
    """Its parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def on_paper(layers: int, units: int, vocabulary: int, window: int, kind: str) -> Record:
    """One line of the table; operations are per token, bytes per update and process."""
    with torch.device("meta"):
        core = LSTM(units, units, layers)
        model = LanguageModel(vocabulary, units, core, units)
        options: dict[str, Any] = {"error": {}, "adjoint": {"window": window}}[kind]
        synthesizer = model.synthesizer() if kind == "error" else model.adjoint_synthesizer(**options)
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


def main() -> None:
    arguments = parser(__doc__ or "").parse_args()
    shapes = SHAPES[:2] if arguments.quick else SHAPES
    records = [
        on_paper(*shape, window, kind) for shape in shapes for kind in ("error", "adjoint") for window in WINDOWS
    ]
    print("| model | synthesizer | T | core + output | synthesizer | predicting | running ahead | kept | sent |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in records:
        print(
            f"| {row['model']} | {row['synthesizer']} | {row['window']} "
            f"| {(row['core_parameters'] + row['output_parameters']) / 1e6:.1f} M "
            f"| {row['synthesizer_parameters'] / 1e6:.2f} M | {row['predicting_share']:.1%} "
            f"| {row['running_ahead_share']:.1%} | {row['bytes_of_parameters_and_adam'] / 1e9:.2f} GB "
            f"| {row['bytes_sent'] / 1e9:.3f} GB |"
        )
    write_records(records, arguments.json)


if __name__ == "__main__":
    command(main)
