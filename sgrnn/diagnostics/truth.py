"""The true gradient of the steps after a boundary, by unrolling them."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sgrnn.diagnostics.isolation import real_gradients
from sgrnn.estimators.ahead import held_constant
from sgrnn.estimators.objective import Loss, losses_of
from sgrnn.estimators.unroll import run
from sgrnn.span import Span, between
from sgrnn.state import State, cut, floating_leaves, map_state, to_matrix


def steps_after(span: Span, boundaries: Sequence[int], steps: int) -> tuple[Span, Tensor]:
    """Take the next steps after each boundary, side by side as rows, boundary by boundary.

    Args:
        span: with its future.
        boundaries: steps into the span.
        steps: how many steps to take from each.

    Returns:
        A span of len(boundaries) x B rows, and which of its steps there are, (steps, rows) bool: those beyond
        the end of a row's sequence are not.

    Raises:
        ValueError: the span's future is shorter, and its rows do not end with it.
    """
    whole = span if span.future is None else Span.join([span, span.future])
    needed = boundaries[-1] + steps
    if whole.steps < needed and (whole.is_last is None or not bool(whole.is_last.all())):
        raise ValueError(
            f"a span needs {needed - span.steps} steps of future, or rows that end, to know the gradient of {steps} "
            f"steps after its end; got {whole.steps - span.steps}"
        )
    places = torch.tensor([[boundary + step for boundary in boundaries] for step in range(steps)], device=span.device)
    there = (places < whole.steps).repeat_interleave(span.batch_size, dim=1)
    places = places.clamp(max=whole.steps - 1)

    def at_places(tensor: Tensor) -> Tensor:
        return tensor[places].flatten(1, 2)

    begins = at_places(whole.marked_first() | ~whole.marked_real()) & there
    # What lies behind the start of another sequence is not the row's future.
    inputs, targets = (map_state(at_places, each) for each in (whole.inputs, whole.targets))
    return Span(inputs, targets), there & (begins.cumsum(dim=0) == 0)


def future_gradients(
    model: nn.Module, loss: Loss, future: Span, there: Tensor, state: State, lags: Sequence[int]
) -> Tensor:
    """Compute the gradients of the losses in blocks of the steps after a state, past all interfaces.

    Args:
        model, loss: as an estimator takes them.
        future: the steps after the state.
        there: (steps, rows) bool, which of them there are.
        state: R rows.
        lags: l_1 < l_2 < ..., the last step of each block; the first block begins with the first step.

    Returns:
        (len(lags), R, features), with respect to the state, of each row's summed loss in steps l_{i-1} + 1 to l_i.
    """
    blocks = []
    first = cut(state)
    with torch.enable_grad(), held_constant(model), real_gradients(model):
        current = first
        for start, stop in pairwise([0, *lags]):
            outputs, current = run(model, between(future.inputs, start, stop), current)
            losses = losses_of(loss, outputs, between(future.targets, start, stop))
            gradients = torch.autograd.grad(
                losses[there[start:stop]].sum(), floating_leaves(first), retain_graph=True, allow_unused=True,
                materialize_grads=True,
            )  # fmt: skip
            blocks.append(to_matrix(list(gradients)))
    return torch.stack(blocks)


def block_ends(horizon: int) -> list[int]:
    """Return lags up to a horizon, further and further apart: each costs a pass back to the boundary.

    >>> block_ends(50)
    [1, 2, 3, 5, 8, 13, 21, 34, 50]
    >>> block_ends(1), block_ends(4)
    ([1], [1, 2, 3, 4])
    """
    ends: list[int] = []
    lag = 1
    while lag < horizon:
        ends.append(lag)
        lag = max(lag + 1, round(lag * 1.6))
    return [*ends, horizon]
