"""The backward pass through the windows of a span, from the loss and from the gradients injected at their ends."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sgrnn.all_reduce import AllReduce
from sgrnn.contract.modules import require_no_ddp
from sgrnn.estimators.objective import differentiate, gradients
from sgrnn.estimators.reach import require_reach
from sgrnn.estimators.unroll import Windows
from sgrnn.span import Span, Steps
from sgrnn.state import at_least_float32, batch_size, floating_leaves, from_matrix, leaves, to_matrix


def backpropagate(
    windows: Windows, outputs: Any, injected: Tensor | None = None, carried: Sequence[float] = ()
) -> None:
    """Back-propagate through all windows, from the output gradients and from the gradients injected at last states.

    Where the inputs have a graph of their own, the backward pass goes on through it at the end.

    Args:
        windows: the windows.
        outputs: the leaves that the loss was computed from, with its gradient.
        injected: (K x B, features), or None for nothing.
        carried: for each boundary between two blocks the factor with which the gradient that arrives from the next one
            crosses it; left out, nothing does, and all blocks are one backward pass.
    """
    if injected is not None or any(carried):
        require_reach(windows.model, windows.initial_states, windows.final_states)
    carry_back(windows, outputs, injected, carried)
    if windows.inputs is not windows.origin:
        differentiate_inputs(windows.origin, windows.inputs)


def carry_back(windows: Windows, outputs: Any, injected: Tensor | None, carried: Sequence[float]) -> None:
    """Back-propagate as `backpropagate` does, but through the windows alone, and whatever is reached there."""
    roots = _output_roots(windows, outputs)
    if injected is not None:
        sizes = [batch_size(last) for last in windows.final_states]
        for place, (last, rows_of) in enumerate(zip(windows.final_states, injected.split(sizes), strict=True)):
            for tensor, part in zip(floating_leaves(last), from_matrix(rows_of, last), strict=True):
                if tensor.requires_grad:
                    roots[place].append((tensor, part.to(tensor)))
    if not carried:
        differentiate([root for block in roots for root in block])
    else:
        reason = "gradients carried on from window to window take several backward passes, one alone averaged"
        require_no_ddp(windows.model, reason)
        for place in reversed(range(len(roots))):
            if place < len(carried) and carried[place]:
                last, next_first = windows.final_states[place], windows.initial_states[place + 1]
                arrived = zip(floating_leaves(last), gradients(next_first), strict=True)
                roots[place] += [(tensor, carried[place] * grad) for tensor, grad in arrived if tensor.requires_grad]
            differentiate(roots[place])


def differentiate_data(origin: Span, span: Span) -> None:
    """Back-propagate through the graph of a span's inputs and targets, where `with_leaves` cut them off."""
    differentiate_inputs([origin.inputs, origin.targets], [span.inputs, span.targets])


def differentiate_inputs(origin: Steps, inputs: Steps) -> None:
    """Back-propagate through the graph of a span's inputs, from what arrived at the leaves that stood for them.

    Raises:
        ValueError: another span has gone through that graph.
    """
    both = zip(leaves(origin), leaves(inputs), strict=True)
    roots = [(given, leaf.grad) for given, leaf in both if given is not leaf and leaf.grad is not None]
    if roots:
        differentiate(
            roots,
            "the inputs hang on a graph that has been gone through already, by another span or the targets for "
            "instance: compute the inputs of each span by themselves, or detach one of them",
        )


def _output_roots(windows: Windows, outputs: Any) -> list[list[tuple[Tensor, Tensor]]]:
    """Return for every block its outputs that have a graph, each with its output gradient."""
    roots: list[list[tuple[Tensor, Tensor]]] = [[] for _ in windows.blocks]
    blocks = zip(*map(floating_leaves, windows.blocks), strict=True)
    for attached, leaf in zip(blocks, floating_leaves(outputs), strict=True):
        if leaf.grad is None:
            continue
        parts = [leaf.grad] if len(attached) == 1 else leaf.grad.split([len(part) for part in attached])
        for place, (tensor, gradient) in enumerate(zip(attached, parts, strict=True)):
            if tensor.requires_grad:
                roots[place].append((tensor, gradient))
    return roots


def initial_gradients(windows: Windows) -> Tensor:
    """Return the gradients left at the windows' first states, (K x B, features), in float32 at least."""
    parts = [
        to_matrix([at_least_float32(gradient) for gradient in gradients(first)]) for first in windows.initial_states
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def final_gradients(
    injected: Tensor, initial: Tensor, carried: Sequence[float], batch_size: int, drawn: Sequence[int] = ()
) -> Tensor:
    """Return the gradients at the windows' last states that those at their first states, `initial`, came from.

    Args:
        injected, carried: as `backpropagate`.
        initial: (K x B, features), of drawn rows the true ones.
        batch_size: B.
        drawn: rows in which all that arrives at a boundary inside the span crosses it, and nothing is injected.
    """
    firsts = initial.unflatten(0, (-1, batch_size))
    ends = (torch.zeros_like(initial) + injected).unflatten(0, (-1, batch_size))
    for place, factor in enumerate(carried):
        ends[place] += factor * firsts[place + 1]
    ends[:-1, list(drawn)] = firsts[1:, list(drawn)].to(ends)
    return ends.flatten(0, 1)


@torch.no_grad()
def entering(injected: Tensor, outputs: Any) -> Tensor:
    """Return the squared norms of what enters the core backwards: of the injected gradients, and of the outputs'."""
    both = (injected, *gradients(outputs))
    return torch.stack([torch.linalg.vector_norm(at_least_float32(each)) for each in both]).square()


def injected_share(squares: Tensor, all_reduce: AllReduce | None) -> Tensor:
    """Return the norm of the injected gradients, divided by the norm of all that enters, from `entering`."""
    if all_reduce is not None:
        squares = all_reduce(squares)
    return (squares[0] / squares.sum().clamp(min=torch.finfo(squares.dtype).tiny)).sqrt()
