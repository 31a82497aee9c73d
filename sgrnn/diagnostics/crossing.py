"""What any gradient policy has cross the boundaries of a span."""

import torch
from torch import nn

from sgrnn.mixed import Mixed
from sgrnn.objective import Loss
from sgrnn.policies import Crossing, ExactAhead, Full, Policy, Synthetic, Truncated
from sgrnn.policies.rows import open_rows_at
from sgrnn.span import Span
from sgrnn.state import State, to_matrix
from sgrnn.windows import unroll


def look(policy: Policy, model: nn.Module, loss: Loss, span: Span, state: State) -> Crossing:
    """What would cross the boundaries of a span: predictions, or nothing but zeros. No gradient is changed.

    Of `Mixed` it is the synthetic part, whatever its schedule says.

    Raises:
        ValueError: the policy has no boundaries: it carries something forwards instead.
    """
    if isinstance(policy, Mixed):
        policy = policy.synthetic
    if isinstance(policy, Synthetic | ExactAhead):
        return policy.look(model, loss, span, state)
    if not isinstance(policy, Truncated | Full):
        raise ValueError(
            "what crosses a boundary can be looked at in Synthetic, ExactAhead, Mixed, Truncated and Full, got "
            f"{type(policy).__name__}"
        )
    with torch.no_grad():
        unrolled = unroll(model, span, state, policy.window if isinstance(policy, Truncated) else None)
    nothing = torch.zeros_like(to_matrix(unrolled.boundaries))
    open_rows = open_rows_at(span, unrolled.edges)
    return Crossing(
        unrolled.edges, unrolled.boundaries, nothing, nothing[span.batch_size :], open_rows, unrolled.last
    )  # fmt: skip
