"""The check of an exported graph: run step by step and in chunks beside the model that it was made of."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sgrnn.errors import InputError
from sgrnn.exports.graphs import Graph

STEPS = 256
"""Steps that are run one at a time, and again in chunks."""

TOLERANCE = 1e-4
"""Largest difference that passes, relative to the largest value of a tensor where that is above 1."""

_CHUNK, _ROWS = 32, 2

Run = Callable[[list[Tensor]], Sequence[Tensor]]  # inputs and state to predictions and state


@torch.no_grad()
def largest_difference(graph: Graph, run: Run, source: str) -> float:
    """Return the largest difference between a graph and its exported form, over predictions and states.

    Both begin every step, or chunk, in the state that the model itself is in: a model may be chaotic, and magnify the
    rounding of one kernel until it differs from another's in everything. The inputs are drawn from torch's generator.

    Args:
        graph: of the model.
        run: the exported form.
        source: what to call it in an error message.

    Raises:
        InputError: they do not agree, in sizes or in values.
    """
    worst = 0.0
    for steps, rows in ((1, 1), (_CHUNK, _ROWS)):
        state = graph.initial_state(rows)
        for start in range(0, STEPS, steps):
            inputs = [graph.draw(steps, rows), *state]
            expected, got = graph(*inputs), run(inputs)
            for name, wanted, found in zip(graph.output_names, expected, got, strict=True):
                difference = _difference(wanted, found)
                if not difference <= TOLERANCE:  # also where it is no number
                    raise InputError(
                        f"{source} does not compute what the model does: {name} differs by {difference:.2g} at "
                        f"step {start} of chunks of {steps}, expected at most {TOLERANCE:g}; nothing was exported: "
                        "name another format, and please report the architecture"
                    )
                worst = max(worst, difference)
            _, *state = expected
    return worst


def _difference(wanted: Tensor, found: Tensor) -> float:
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return float("inf")
    wanted, found = wanted.double(), found.double()
    return float((wanted - found).abs().max() / wanted.abs().max().clamp(min=1))
