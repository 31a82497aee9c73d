"""The last steps before a span, kept to be run again with it."""

from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from sgrnn.estimators.handed_out import HandedOut
from sgrnn.span import Span, Steps
from sgrnn.state import State, detach, filled, leaves, moved, refilled, sorted_leaves


class Joined(NamedTuple):
    """Kept steps and those of the span after them, as one.

    Args:
        inputs: of all steps.
        is_first: marks of all steps, as in `sgrnn.Span`.
        state: before the first of them.
        kept: how many steps are not the span's.
    """

    inputs: Steps
    is_first: Tensor | None
    state: State
    kept: int


@final
class Past(nn.Module):
    """Keep the inputs of the last steps, and the state before them, for as long as the sequence goes on from there.

    A part of the estimator that runs these steps again, so that they are saved with it. Nests are held as lists of
    their tensors, which any checkpoint can hold.

    Args:
        steps: the most that are kept.
    """

    place: Tensor  # empty, where the estimator is

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.register_buffer("place", torch.empty(0), persistent=False)
        self.steps = steps
        self._after = HandedOut()
        self._kept: dict[str, Any] = {}

    def join(self, span: Span, state: State) -> Joined:
        """Put the kept steps before a span, if the state is the one that was handed out after them.

        Rows that ended with them, as `Span.is_last` said, begin with the span.

        Args:
            span: as an estimator's `begin` gives it.
            state: before it.
        """
        if not (self._kept and self._leads_to(span, state)):
            return Joined(span.inputs, span.is_first, state, 0)
        kept = len(self._kept["inputs"][0])
        pairs = zip(self._kept["inputs"], sorted_leaves(span.inputs), strict=True)
        inputs = filled(span.inputs, map(torch.cat, pairs))
        marks, ended = self._kept["is_first"], self._kept["ended"]
        if marks is not None or ended is not None or span.is_first is not None:
            blank = torch.zeros(kept, span.batch_size, dtype=torch.bool, device=span.device)
            marks = torch.cat([blank if marks is None else marks, span.marked_first()])
            if ended is not None:
                marks[kept] |= ended
        return Joined(inputs, marks, refilled(state, self._kept["before"]), kept)

    def keep(self, joined: Joined, start: int, before: State, after: State, ended: Tensor | None) -> None:
        """Keep the steps from one on, of those that were run last.

        Args:
            joined: the steps.
            start: the first to be kept.
            before, after: the states before it and after the last.
            ended: (batch,) bool, rows whose sequence ended with the last; None for none.
        """
        marks = None if joined.is_first is None else joined.is_first[start:]
        # Copies: slices would keep, and save, all that they are slices of, and a caller may write where they lie.
        self._kept = {
            "inputs": [steps[start:].detach().clone() for steps in sorted_leaves(joined.inputs)],
            "is_first": marks.clone() if marks is not None and bool(marks.any()) else None,
            "ended": ended.clone() if ended is not None and bool(ended.any()) else None,
            "before": [tensor.clone() for tensor in leaves(detach(before))],
        }
        self._after = HandedOut.of(after)

    def forget(self) -> None:
        """Give up what is kept."""
        self._kept, self._after = {}, HandedOut()

    def _leads_to(self, span: Span, state: State) -> bool:
        """True where a span is of the same kind as the kept steps, and goes on from the state after them."""
        if span.is_first is not None and bool(span.is_first[0].all()):
            return False
        kinds, kept = ([_kind(steps) for steps in of] for of in (sorted_leaves(span.inputs), self._kept["inputs"]))
        return kinds == kept and self._after.is_it(state)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is kept, as lists of tensors."""
        return self._kept and {**self._kept, "after": self._after.values}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what another has kept, or nothing where that is more than this one keeps."""
        fits = not state or len(state["inputs"][0]) <= self.steps
        self._kept = moved(dict(state) if fits else {}, self.place.device)
        self._after = HandedOut(self._kept.pop("after", ()))

    def extra_repr(self) -> str:
        return f"steps={self.steps}"


def _kind(steps: Tensor) -> tuple[Any, ...]:
    return steps.shape[1:], steps.dtype, steps.device
