"""The state that an estimator handed out last, known again when it comes back."""

from collections.abc import Sequence
from typing import final

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
