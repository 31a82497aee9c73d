"""Running a model beyond a span, to know the output gradients there."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.caller import Caller
from sgrnn.estimators.objective import Loss
from sgrnn.span import Span
from sgrnn.state import State, cut, floating_leaves


def forward_and_back(model: nn.Module, loss: Loss, future: Span, state: State) -> Any:
    """Run the steps after a span, and return the model's outputs with the gradient of their summed loss."""
    # What the next span draws at random, and what it makes of statistics, stays what it was.
    with forked_random(future.inputs), kept_buffers(model):
        with torch.no_grad():  # on across starts of sequences: what lies behind one is not looked at
            outputs, _ = Caller(model)(future.inputs, state)
        outputs = cut(outputs)
        with held_constant(model):  # or the output layer's own gradient would be computed, to be thrown away
            losses = loss(outputs, future.targets)
    torch.autograd.backward(losses.sum(), inputs=floating_leaves(outputs))
    return outputs


@contextmanager
def held_constant(model: nn.Module) -> Iterator[None]:
    """Inside this context the model's parameters learn nothing."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def first_steps(future: Span | None, steps: int) -> Span | None:
    """Return the first steps of a future; None if there are none."""
    if future is None or steps == 0:
        return None
    is_first = None if future.is_first is None else future.is_first[:steps]
    return Span(future.inputs[:steps], future.targets[:steps], is_first)


def require_future(span: Span, steps: int, subject: str) -> None:
    """Refuse a span of which some rows go on, and nobody says how.

    Args:
        span: the span.
        steps: how far beyond it is to be looked; 0 for not at all.
        subject: of the message: who looks.

    Raises:
        ValueError: there is no future.
    """
    if steps and span.future is None and (span.is_last is None or not bool(span.is_last.all())):
        raise ValueError(
            f"{subject} {steps} steps ahead, so a span needs its future: the steps that follow it, or ends for the "
            "rows that have none"
        )


def forked_random(like: Tensor) -> AbstractContextManager[None]:
    """Inside this context random generators, those of the tensor's device too, may be used, and are put back after."""
    return torch.random.fork_rng([like.device] if like.is_cuda else [])
