"""What crosses the boundaries of a span backwards, to be looked at."""

from dataclasses import dataclass

from torch import Tensor

from sgrnn.state import State


@dataclass(frozen=True)
class BoundaryGradients:
    """Gradients of the rows' summed future loss that an estimator works with, at the boundaries of K windows, B rows.

    Args:
        edges: the K + 1 boundaries as steps into the span: 0, T, 2T, ..., S.
        states: at all of them, (K + 1) x B rows, detached.
        predicted: ((K + 1) x B, features) what is predicted at all of them.
        injected: (K x B, features) what goes backwards from all but the first.
        open_rows: ((K + 1) x B,) bool, rows whose sequence goes on across the boundary; None where all do.
        last: the state after the span, detached.
    """

    edges: list[int]
    states: State
    predicted: Tensor
    injected: Tensor
    open_rows: Tensor | None
    last: State
