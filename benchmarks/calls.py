"""How many operator calls does an update take? Small models spend their time on calls, and a count has no noise.

    python benchmarks/calls.py [--quick] [--json FILE]

An update is the backward pass, clipping, and the steps of all optimizers. Counted by torch's profiler, on the CPU, with
the calls that one operator makes of another: `linear` is about ten. A stream is updated at every step (T = S = 1).
"""

import argparse
from collections.abc import Iterator

import torch
from contenders import Setting, our_loop
from frame import Record, benchmark
from shown import print_table
from torch import Tensor
from updates import Updates, operator_calls

import sgrnn
from sgrnn.models.readout import Readout

KINDS = ("truncated", "synthetic")
SETTINGS = [
    Setting(2, 200, 10_000, 20, 20, 20),
    Setting(2, 200, 10_000, 5, 20, 20),
    Setting(1, 128, 50, 5, 5, 64, optimizer="adam"),
]


class Stream:
    """An update at every step of 8 rows of a stream: LSTM 64 with a linear head."""

    def __init__(self, kind: str) -> None:
        model = Readout(sgrnn.LSTM(8, 64), 64, 4, lambda answers, targets: (answers - targets).square().mean(-1))
        kinds = {"truncated": sgrnn.TruncatedBPTT, "synthetic": sgrnn.SyntheticGradients}
        estimator = kinds[kind](model, model.loss, 1)
        learned = [list(part.parameters()) for part in (model, estimator)]
        optimizers = [torch.optim.Adam(each, lr=1e-3, fused=True) for each in learned if each]
        self.step, self.state = Updates(estimator, optimizers, model.parameters(), clip=1.0), model.initial_state(8)
        generator = torch.Generator().manual_seed(0)
        data: list[Tensor] = [torch.randn(100, 8, size, generator=generator) for size in (8, 4)]
        self.spans = sgrnn.spans(*data, steps=1, lookahead=estimator.lookahead)
        next(self.spans)  # which begins all sequences

    def __call__(self) -> None:
        self.state = self.step(next(self.spans), self.state).state


def run(asked: argparse.Namespace) -> Iterator[Record]:
    """Count in every setting."""
    torch.set_num_threads(1)
    for kind in KINDS:
        yield {"setting": "stream, LSTM 1x64, T=1, span 1, batch 8", "contender": kind,
               "metric": "operator calls", "value": operator_calls(Stream(kind))}  # fmt: skip
    for setting in SETTINGS[:1] if asked.quick else SETTINGS:
        for kind in KINDS:
            value = operator_calls(our_loop(setting, kind))
            yield {"setting": setting.name, "contender": kind, "metric": "operator calls", "value": value}


def show(records: list[Record]) -> None:
    """Print a line for every setting."""
    counts = {(record["setting"], record["contender"]): record["value"] for record in records}
    lines = [
        [setting, *(f"{counts[setting, kind]:,.0f}" if (setting, kind) in counts else "" for kind in KINDS)]
        for setting in dict.fromkeys(setting for setting, _ in counts)
    ]
    print_table(["", *KINDS], lines, "Operator calls of an update")


if __name__ == "__main__":
    benchmark(__doc__, lambda parser: None, run, show)
