"""What any gradient estimator has cross the boundaries of a span."""

import torch
from torch import nn

from sgrnn.estimators import BPTT, BoundaryGradients, ExactAhead, GradientEstimator, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.objective import Loss
from sgrnn.estimators.rows import open_rows_at
from sgrnn.estimators.unroll import unroll
from sgrnn.span import Span
from sgrnn.state import State, to_matrix


def look(estimator: GradientEstimator, model: nn.Module, loss: Loss, span: Span, state: State) -> BoundaryGradients:
    """What would cross the boundaries of a span: predictions, or nothing but zeros. No gradient is changed.

    Of `Mixed` it is the synthetic part, whatever its schedule says.

    Raises:
        ValueError: the estimator has no boundaries: it carries something forwards instead.
    """
    if isinstance(estimator, Mixed):
        estimator = estimator.synthetic
    if isinstance(estimator, SyntheticGradients | ExactAhead):
        return estimator.look(model, loss, span, state)
    if not isinstance(estimator, TruncatedBPTT | BPTT):
        raise ValueError(
            "what crosses a boundary can be looked at in SyntheticGradients, ExactAhead, Mixed, TruncatedBPTT and "
            "BPTT, got "
            f"{type(estimator).__name__}"
        )
    with torch.no_grad():
        unrolled = unroll(model, span, state, estimator.window if isinstance(estimator, TruncatedBPTT) else None)
    nothing = torch.zeros_like(to_matrix(unrolled.boundaries))
    open_rows = open_rows_at(span, unrolled.edges)
    return BoundaryGradients(
        unrolled.edges, unrolled.boundaries, nothing, nothing[span.batch_size :], open_rows, unrolled.last
    )  # fmt: skip
