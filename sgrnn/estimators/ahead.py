"""Running a model beyond a span, for the output gradients of the steps there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.caller import Caller
from sgrnn.contract.modules import forked_random
from sgrnn.estimators.objective import Loss
from sgrnn.span import Span
from sgrnn.state import State, cut, floating_leaves


def forward_and_back(model: nn.Module, loss: Loss, future: Span, state: State) -> Any:
    """Run the steps after a span, and return the outputs, with the gradient of their summed loss in ``.grad``."""
    # What the next span draws at random, and what it makes of statistics, stays what it was.
    with forked_random(future.device), kept_buffers(model):
        with torch.no_grad():  # on across starts of sequences: what lies behind one is not looked at
            outputs, _ = Caller(model)(future.inputs, state)
        outputs = cut(outputs)
        with held_constant(model):  # or the output layer's own gradient would be computed, to be thrown away
            losses = loss(outputs, future.targets)
    torch.autograd.backward(losses, torch.ones_like(losses), inputs=floating_leaves(outputs))
    return outputs


@contextmanager
def held_constant(model: nn.Module) -> Iterator[None]:
    """Hold the model's parameters constant inside this context: they need no gradient."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def first_steps(future: Span | None, steps: int) -> Span | None:
    """Return the first steps of a span's future; None if there are none."""
    if future is None or steps == 0:
        return None
    return future.slice(0, min(steps, future.steps)).with_future(None)


def require_future(span: Span, steps: int, subject: str) -> None:
    """Refuse a span without a future where steps ahead are needed and some rows go on.

    Args:
        span: the span.
        steps: number of steps that are needed beyond the span; 0 for none.
        subject: beginning of the message, which names who needs them.

    Raises:
        ValueError: there is no future.
    """
    if steps and span.future is None and (span.is_last is None or not bool(span.is_last.all())):
        raise ValueError(
            f"{subject} {steps} steps ahead, so a span needs its future: the steps that follow it, as "
            "sgrnn.spans(..., lookahead=estimator.lookahead) gives them, or is_last for the rows that have none"
        )
