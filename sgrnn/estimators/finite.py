"""Exclusion of the boundaries at which a value is not finite."""

from functools import reduce
from math import isfinite

from torch import Tensor

from sgrnn.state import State, floating_leaves, leaves, map_state, to_matrix
from sgrnn.synthesizers.lookahead import Lookahead


def is_finite(*tensors: Tensor) -> bool:
    """True where all values are finite; also False where finite values overflow in their sum."""
    sums = [tensor.sum() for tensor in tensors if tensor.is_floating_point()]
    return not sums or isfinite(reduce(Tensor.add, sums).item())


def finite_steps(steps: Tensor, mask: Tensor | None) -> Tensor | None:
    """Return which of steps (S, B, features) are finite and no padding, (S, B) bool; None where all are.

    Args:
        steps: the values.
        mask: (S, B) bool, False at padding, or None.
    """
    if is_finite(steps):
        return mask
    finite = steps.isfinite().all(dim=-1)
    return finite if mask is None else finite & mask


def finite_rows(matrix: Tensor, continuing: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Zero the values of a matrix that are not finite, and mark their rows as ended.

    Args:
        matrix: (R, features).
        continuing: (R or more,) bool, or None for all.

    Returns:
        the matrix, and (R,) the rows that count still.
    """
    if is_finite(matrix):
        return matrix, continuing
    return matrix.nan_to_num(0, 0, 0), _still_continuing(matrix.isfinite().all(dim=1), continuing)


def finite_states(states: State, continuing: Tensor | None) -> tuple[State, Tensor | None]:
    """Zero the values of a state of R rows that are not finite, and mark their rows as ended."""
    if is_finite(*floating_leaves(states)):
        return states, continuing
    finite = to_matrix(states).isfinite().all(dim=1)
    return map_state(_zeroed, states), _still_continuing(finite, continuing)


def finite_lookahead(lookahead: Lookahead, continuing: Tensor | None) -> tuple[Lookahead, Tensor | None]:
    """Zero the values of a lookahead of R rows that are not finite, and mark the rows with such a step as ended.

    Where output gradients are seen, targets are not: a NaN among these may be a mark that the loss masks out. In the
    place of features may be inputs as a model reads them: ids (n, R), or several of a step.
    """
    finite: Tensor | None = None
    for part in (lookahead.features, lookahead.output_gradients):
        for tensor in [] if part is None else leaves(part):
            valid = None if lookahead.valid is None else lookahead.valid[: len(tensor)]
            here = tensor.isfinite().reshape(*tensor.shape[:2], -1).all(dim=2)
            here = (here if valid is None else here | ~valid).all(dim=0)
            finite = here if finite is None else finite & here
    if finite is None:
        return lookahead, continuing
    zeroed = [
        None if part is None else map_state(_zeroed, part) for part in (lookahead.features, lookahead.output_gradients)
    ]
    return Lookahead(zeroed[0], lookahead.valid, zeroed[1]), _still_continuing(finite, continuing)


def _zeroed(tensor: Tensor) -> Tensor:
    return tensor.nan_to_num(0, 0, 0) if tensor.is_floating_point() else tensor


def _still_continuing(finite: Tensor, continuing: Tensor | None) -> Tensor:
    return finite if continuing is None else finite & continuing[: len(finite)]
