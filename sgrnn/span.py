"""A span: the steps between two parameter updates, with the steps after them that training may look at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

_REMEDY = (
    "pad sequences of different length and mark where each begins (is_first) or ends (is_last), and put several inputs "
    "of a step side by side in one tensor"
)


@dataclass(frozen=True)
class Span:
    """S consecutive steps of B rows of data, time first.

    Args:
        inputs: (S, B, ...) read by the model.
        targets: (S, B, ...) for the loss to compare the model's outputs with.
        is_first: (S, B) bool or None; True where the row begins a new sequence at this step. The state of that
            row is replaced by the initial state before the step, and no gradient crosses.
        is_last: (B,) bool or None; True where the row's sequence ends with the span's last step, so that no
            gradient comes from beyond it.
        future: the steps that follow the span, as far as a lookahead needs them; None where there are none. A
            synthesizer with a lookahead needs them at every span but one at which all rows end.
            Training alone may see them: evaluation has no use for a gradient.

    Raises:
        TypeError: inputs or targets are no tensors: several inputs a step go side by side in one.
        ValueError: there are no steps or no rows, or shapes, dtypes or numbers of rows do not agree.
    """

    inputs: Tensor
    targets: Tensor
    is_first: Tensor | None = None
    is_last: Tensor | None = None
    future: "Span | None" = None

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            tensor = getattr(self, name)
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{name} must be a tensor (steps, rows, ...), got a {type(tensor).__name__}: {_REMEDY}")
        steps_and_rows = self.inputs.shape[:2]
        if len(steps_and_rows) < 2 or 0 in steps_and_rows:
            least = "rows" if len(steps_and_rows) == 2 and steps_and_rows[0] else "steps"
            raise ValueError(f"inputs must be (steps, rows, ...) with {least} >= 1, got {tuple(self.inputs.shape)}")
        for name, tensor, expected in (
            ("targets", self.targets.shape[:2], steps_and_rows),
            ("is_first", self.is_first.shape if self.is_first is not None else steps_and_rows, steps_and_rows),
            ("is_last", self.is_last.shape if self.is_last is not None else steps_and_rows[1:], steps_and_rows[1:]),
        ):
            if tensor != expected:
                raise ValueError(f"{name} must begin with {tuple(expected)} like inputs, got {tuple(tensor)}")
        for name in ("is_first", "is_last"):
            marks = getattr(self, name)
            if marks is not None and marks.dtype != torch.bool:
                raise ValueError(f"{name} must be bool, got {marks.dtype}")
        if self.future is not None:
            self._require_same_kind(self.future)

    def _require_same_kind(self, future: "Span") -> None:
        if future.batch_size != self.batch_size:
            raise ValueError(f"future must have {self.batch_size} rows, got {future.batch_size}")
        for name in ("inputs", "targets"):
            own, later = getattr(self, name), getattr(future, name)
            if own.shape[2:] != later.shape[2:] or own.dtype != later.dtype:
                raise ValueError(
                    f"future.{name} must be of the kind of {name}, steps of {tuple(own.shape[1:])} in {own.dtype}, "
                    f"got {tuple(later.shape[1:])} in {later.dtype}"
                )

    @property
    def steps(self) -> int:
        """S, the number of steps."""
        return self.inputs.shape[0]

    @property
    def batch_size(self) -> int:
        """B, the number of rows."""
        return self.inputs.shape[1]

    def slice(self, start: int, stop: int, lookahead: int | None = None) -> "Span":
        """Return the steps from `start` up to `stop` as a span whose future is the steps after them, without copies.

        Args:
            start, stop: steps into the span, 0 <= start < stop <= S.
            lookahead: the most steps of the future; None for all that follow in this span. At the span's own end the
                future is the span's.
        """
        is_first = None if self.is_first is None else self.is_first[start:stop]
        if is_first is not None and not bool(is_first.any()):
            is_first = None
        if stop == self.steps:
            return Span(self.inputs[start:], self.targets[start:], is_first, self.is_last, self.future)
        end = self.steps if lookahead is None else min(stop + lookahead, self.steps)
        future = self.slice(stop, end).with_future(None) if end > stop else None
        return Span(self.inputs[start:stop], self.targets[start:stop], is_first, None, future)

    def with_future(self, future: "Span | None") -> "Span":
        """Return a span of the same steps with another future."""
        return replace(self, future=future)

    @staticmethod
    def join(spans: "Sequence[Span]") -> "Span":
        """Join consecutive spans of the same rows into one, with the `is_last` and the future of the last.

        Where the rows of a span end, those of the next begin new sequences.
        """
        if len(spans) == 1:
            return spans[0]
        is_first = None
        if any(span.is_first is not None for span in spans) or any(span.is_last is not None for span in spans[:-1]):
            is_first = torch.cat([span.marked_first() for span in spans])
            step = 0
            for span in spans[:-1]:
                step += span.steps
                if span.is_last is not None:
                    is_first[step] |= span.is_last
        inputs, targets = torch.cat([span.inputs for span in spans]), torch.cat([span.targets for span in spans])
        return Span(inputs, targets, is_first, spans[-1].is_last, spans[-1].future)

    def continuing(self, boundaries: Sequence[int]) -> Tensor | None:
        """True where a row's sequence goes on across a boundary, (len(boundaries) x B,) bool; None where all do.

        Args:
            boundaries: steps into the span, of which the last is S.
        """
        after = self.future.is_first if self.future is not None else None
        if self.is_first is None and self.is_last is None and after is None:
            return None
        closed = torch.zeros(len(boundaries), self.batch_size, dtype=torch.bool, device=self.inputs.device)
        if self.is_first is not None:
            closed[:-1] |= self.is_first[list(boundaries[:-1])]
        if self.is_last is not None:
            closed[-1] |= self.is_last
        if after is not None:
            closed[-1] |= after[0]
        return ~closed.flatten()

    def unbroken(self, boundaries: Sequence[int]) -> Tensor | None:
        """True where no sequence begins in a row of a window after its first step, (K x B, 1); None where none does.

        Args:
            boundaries: the K + 1 boundaries of the windows, as steps into the span.
        """
        if self.is_first is None:
            return None
        broken = torch.stack([self.is_first[start + 1 : stop].any(dim=0) for start, stop in pairwise(boundaries)])
        return ~broken.view(-1, 1) if bool(broken.any()) else None

    def rows(self, start: int, stop: int) -> "Span":
        """Return the span of the rows from `start` up to `stop`."""
        return self._map(lambda steps: steps[:, start:stop], lambda rows: rows[start:stop])

    def to(self, device: torch.device) -> "Span":
        """Return the span with its tensors on another device."""
        return self._map(lambda steps: steps.to(device), lambda rows: rows.to(device))

    def _map(self, of_steps: Callable[[Tensor], Tensor], of_rows: Callable[[Tensor], Tensor]) -> "Span":
        return Span(
            of_steps(self.inputs),
            of_steps(self.targets),
            None if self.is_first is None else of_steps(self.is_first),
            None if self.is_last is None else of_rows(self.is_last),
            None if self.future is None else self.future._map(of_steps, of_rows),
        )

    def marked_first(self) -> Tensor:
        """Return `is_first` as a tensor (S, B), all False where it is None."""
        if self.is_first is None:
            return torch.zeros(self.steps, self.batch_size, dtype=torch.bool, device=self.inputs.device)
        return self.is_first
