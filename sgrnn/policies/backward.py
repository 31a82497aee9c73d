"""Backwards through the windows of a span, from the loss and from what is injected at their ends."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sgrnn.objective import differentiate, gradients
from sgrnn.state import batch_size, floating_leaves, from_matrix, to_matrix
from sgrnn.windows import Unrolled


def backpropagate(
    unrolled: Unrolled, outputs: Any, injected: Tensor | None = None, carried: Sequence[float] = ()
) -> None:
    """Backwards through all windows: from the outputs by the loss, from the last states by what is injected there.

    Args:
        unrolled: the windows.
        outputs: the leaves that the loss was computed from, with its gradient.
        injected: (K x B, features), or None for nothing.
        carried: for each boundary between two blocks the factor with which the gradient that arrives from the next one
            crosses it; left out, nothing does, and all blocks are one backward pass.
    """
    roots: list[list[tuple[Tensor, Tensor]]] = [[] for _ in unrolled.blocks]
    for attached, leaf in zip(
        zip(*map(floating_leaves, unrolled.blocks), strict=True), floating_leaves(outputs), strict=True
    ):
        if leaf.grad is not None:
            parts = [leaf.grad] if len(attached) == 1 else leaf.grad.split([len(part) for part in attached])
            for place, (tensor, gradient) in enumerate(zip(attached, parts, strict=True)):
                if tensor.requires_grad:
                    roots[place].append((tensor, gradient))
    if injected is not None:
        sizes = [batch_size(last) for last in unrolled.lasts]
        for place, (last, rows_of) in enumerate(zip(unrolled.lasts, injected.split(sizes), strict=True)):
            for tensor, part in zip(floating_leaves(last), from_matrix(rows_of, last), strict=True):
                if tensor.requires_grad:
                    roots[place].append((tensor, part))
    if not carried:
        differentiate([root for block in roots for root in block])
        return
    for place in reversed(range(len(roots))):
        if place < len(carried) and carried[place]:
            arrived = zip(floating_leaves(unrolled.lasts[place]), gradients(unrolled.firsts[place + 1]), strict=True)
            roots[place] += [(tensor, carried[place] * grad) for tensor, grad in arrived if tensor.requires_grad]
        differentiate(roots[place])


def first_gradients(unrolled: Unrolled) -> Tensor:
    """What the backward pass left at the windows' first states, (K x B, features)."""
    parts = []
    for first in unrolled.firsts:
        parts.append(to_matrix(gradients(first)))
    return parts[0] if len(parts) == 1 else torch.cat(parts)
