"""The gradients that lie about while something is measured: of all that a loss reaches, kept and put back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sgrnn.estimators.objective import Loss, mean_loss
from sgrnn.estimators.unroll import run
from sgrnn.span import Span
from sgrnn.state import State


@contextmanager
def gradients_kept(model: nn.Module, loss: Loss, span: Span, state: State) -> Iterator[None]:
    """After this context every leaf that a backward pass through model and loss reaches has the gradient it had.

    Also those that are no parameters of the model, such as an output layer that the loss alone knows of. Inside, they
    begin without a gradient.

    Args:
        model, loss, state: as `GradientEstimator.backward` takes them.
        span: one of those that are gone through; the loss of any other reaches the same leaves.
    """
    leaves = {id(leaf): leaf for leaf in [*model.parameters(), *_reached(model, loss, span, state)]}
    kept = [(leaf, leaf.grad) for leaf in leaves.values()]
    for leaf, _ in kept:
        leaf.grad = None
    try:
        yield
    finally:
        for leaf, gradient in kept:
            leaf.grad = gradient


def _reached(model: nn.Module, loss: Loss, span: Span, state: State) -> list[Tensor]:
    with torch.enable_grad():
        return leaves_of(mean_loss(loss, run(model, span.inputs, state, span.is_first)[0], span))


def leaves_of(tensor: Tensor) -> list[Tensor]:
    """The leaves at which a backward pass from a tensor leaves a gradient.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> leaves_of((weight * 3).sum())
    [tensor([1., 1.], requires_grad=True)]
    """
    found: list[Tensor] = []
    waiting = [tensor.grad_fn]
    seen = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(leaf := getattr(node, "variable", None), Tensor):  # of a node that accumulates gradients
            found.append(leaf)
        waiting.extend(before for before, _ in node.next_functions)
    return found
