"""The state that an estimator handed out last, known again when it comes back."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from sgrnn.contract.buffers import same_values
from sgrnn.state import State, leaves


@final
class HandedOut:
    """Tell whether a state is the one that was handed out, by its values: a caller may write where its tensors lie.

    Args:
        values: of its tensors, in order, as `values` of another gives them; none for no state at all.
    """

    def __init__(self, values: Sequence[Tensor] = ()) -> None:
        self.values = list(values)

    @staticmethod
    def of(state: State) -> "HandedOut":
        """Return what knows a state again."""
        return HandedOut([tensor.clone() for tensor in leaves(state)])

    def is_it(self, state: State) -> bool:
        """True where a state has the values of the one that was handed out."""
        given = leaves(state)
        return len(given) == len(self.values) and all(
            now.dtype == then.dtype and same_values(now, then) for now, then in zip(given, self.values, strict=True)
        )

    def other_rows(self, state: State) -> Tensor | None:
        """Return the rows (batch,) whose values are others; None where there are none, or no state of this shape."""
        given = leaves(state)
        if [each.shape for each in given] != [each.shape for each in self.values]:
            return None
        others = [~_equal(now, then.to(now.device)) for now, then in zip(given, self.values, strict=True)]
        rows = torch.stack([each.movedim(-2, 0).flatten(1).any(dim=1) for each in others]).any(dim=0)
        return rows if bool(rows.any()) else None


def _equal(now: Tensor, before: Tensor) -> Tensor:
    return (now == before) | (now.isnan() & before.isnan())
