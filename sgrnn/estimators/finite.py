"""What is not a finite number at some boundaries of a span, and taking these boundaries out."""

from dataclasses import replace

import torch
from torch import Tensor

from sgrnn.state import State, floating_leaves, map_state, to_matrix
from sgrnn.synthesizers.lookahead import Lookahead


def is_finite(*tensors: Tensor) -> bool:
    """Tell whether tensors hold finite numbers alone; False now and then where the sum of such overflows."""
    return all(bool(tensor.sum().isfinite()) for tensor in tensors if tensor.is_floating_point())


def finite_rows(matrix: Tensor, open_rows: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Zero what is not finite, and close its rows.

    Args:
        matrix: (R, features).
        open_rows: (R or more,) bool, or None for all.

    Returns:
        the matrix, and (R,) the rows that are open still.
    """
    if is_finite(matrix):
        return matrix, open_rows
    return matrix.nan_to_num(0, 0, 0), _open_still(matrix.isfinite().all(dim=1), open_rows)


def finite_states(states: State, open_rows: Tensor | None) -> tuple[State, Tensor | None]:
    """Zero what is not finite in states of R rows, and close its rows."""
    if is_finite(*floating_leaves(states)):
        return states, open_rows
    finite = to_matrix(states).isfinite().all(dim=1)
    return map_state(_zeroed, states), _open_still(finite, open_rows)


def finite_lookahead(lookahead: Lookahead, open_rows: Tensor | None) -> tuple[Lookahead, Tensor | None]:
    """Zero what is not finite in the steps ahead of R rows, and close the rows that have such a step.

    Where errors are seen, targets are not: a NaN among these may be a mark that the loss masks out.
    """
    parts = [lookahead.inputs, lookahead.targets if lookahead.errors is None else lookahead.errors]
    finite = torch.stack(
        [part.isfinite().flatten(2).all(dim=2) if part.dim() > 2 else part.isfinite() for part in parts]
    )
    finite = finite.all(dim=0)
    if lookahead.valid is not None:
        finite = finite | ~lookahead.valid
    errors = None if lookahead.errors is None else _zeroed(lookahead.errors)
    clean = replace(lookahead, inputs=_zeroed(lookahead.inputs), targets=_zeroed(lookahead.targets), errors=errors)
    return clean, _open_still(finite.all(dim=0), open_rows)


def _zeroed(tensor: Tensor) -> Tensor:
    return tensor.nan_to_num(0, 0, 0) if tensor.is_floating_point() else tensor


def _open_still(finite: Tensor, open_rows: Tensor | None) -> Tensor:
    return finite if open_rows is None else finite & open_rows[: len(finite)]
