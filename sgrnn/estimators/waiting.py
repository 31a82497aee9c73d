"""Windows that wait for what comes after them to be seen."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.estimators.handed_out import HandedOut
from sgrnn.span import Span
from sgrnn.state import State, filled, leaves, moved, refilled, sorted_leaves


@final
@dataclass
class Window:
    """A window of B rows that was lived through, nests as lists of their tensors, which any checkpoint can hold.

    Args:
        inputs, targets, is_first, mask, is_last: of its span.
        state: before it.
        output_gradients: (T, B, output_size) of the rows' summed loss.
        size: the number of their losses.
        own: (B, features) the gradient of that loss at the state before, as soon as it is known.
    """

    inputs: list[Tensor]
    targets: list[Tensor]
    is_first: Tensor | None
    mask: Tensor | None
    is_last: Tensor | None
    state: list[Tensor]
    output_gradients: Tensor
    size: int
    own: Tensor = field(default_factory=lambda: torch.zeros(0))

    @staticmethod
    def of(span: Span, state: State, output_gradients: Tensor) -> "Window":
        """Return a window of a span; data and state are copied, since a caller may write where they lie."""
        data = sorted_leaves(span.inputs), sorted_leaves(span.targets)
        inputs, targets = ([steps.detach().clone() for steps in each] for each in data)
        before = [tensor.detach().clone() for tensor in leaves(state)]
        first, mask, last = (
            None if each is None else each.clone() for each in (span.is_first, span.mask, span.is_last)
        )
        return Window(inputs, targets, first, mask, last, before, output_gradients, span.size)

    def marks(self, name: str, default: bool) -> Tensor:
        """Return its marks of this name, (T, B), which are all alike where there are none."""
        like = self.inputs[0]
        return (
            torch.full(like.shape[:2], default, device=like.device)
            if getattr(self, name) is None
            else getattr(self, name)
        )


@final
class Waiting(nn.Module):
    """Keep the last windows of a stream, oldest first, for as long as the stream goes on from there.

    A part of the estimator that comes back to these windows, so that they are saved with it.
    """

    place: Tensor  # empty, where the estimator is

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("place", torch.empty(0), persistent=False)
        self.windows: list[Window] = []
        self._after = HandedOut()

    def __len__(self) -> int:
        return len(self.windows)

    def forget(self) -> None:
        """Give up all windows."""
        self.windows, self._after = [], HandedOut()

    def keep(self, window: Window, after: State, most: int) -> None:
        """Add a window and the state that is handed out after it, and drop the oldest where there are too many."""
        self.windows = [*self.windows, window][-most:]
        self._after = HandedOut.of(after)

    def leads_to(self, span: Span, state: State) -> bool:
        """True where a span is of the kind of the windows and goes on where the last of them ended."""
        both = sorted_leaves(span.inputs), self.windows[-1].inputs
        now, last = ([(each.shape, each.dtype) for each in inputs] for inputs in both)
        return now == last and self._after.is_it(state)

    def joined(self, newest: Window, like: Span) -> Span:
        """Return all windows and one more as one span, its nests those of another."""
        windows = [*self.windows, newest]
        inputs = filled(like.inputs, _joined([window.inputs for window in windows], 0))
        targets = filled(like.targets, _joined([window.targets for window in windows], 0))
        is_first = mask = None
        if any(window.is_first is not None or window.is_last is not None for window in windows):
            is_first = torch.cat([window.marks("is_first", False) for window in windows])
            for place, window in enumerate(windows[:-1], start=1):
                if window.is_last is not None:
                    is_first[place * like.steps] |= window.is_last
        if any(window.mask is not None for window in windows):
            mask = torch.cat([window.marks("mask", True) for window in windows])
        return Span(inputs, targets, is_first, newest.is_last, None, mask)

    def states(self, newest: Window, count: int, like: State) -> State:
        """Return the states before the first windows, one below the other, as a nest like another."""
        return refilled(like, _joined([window.state for window in [*self.windows, newest][:count]], -2))

    def get_extra_state(self) -> dict[str, Any]:
        """Return the windows as nests of tensors."""
        return {"windows": [dict(vars(window)) for window in self.windows], "after": self._after.values}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over the windows that another has kept."""
        state = moved(state, self.place.device)
        self.windows, self._after = [Window(**window) for window in state["windows"]], HandedOut(state["after"])


def _joined(parts: list[list[Tensor]], dim: int) -> Iterator[Tensor]:
    """Yield the tensors of several lists, joined one by one."""
    return (torch.cat(tensors, dim=dim) for tensors in zip(*parts, strict=True))
