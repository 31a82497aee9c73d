"""A span: the steps between two parameter updates, with the steps after them that training may look at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from sgrnn.errors import at_least, require_kind
from sgrnn.state import leaves, map_state, sorted_leaves

Steps = Any  # a Tensor (steps, rows, ...), or a tuple, list, dict or named tuple of such


@dataclass(frozen=True)
class Span:
    """S consecutive steps of B rows of data, time first.

    Args:
        inputs: (S, B, ...) read by the model; several of a step as a tuple, list or dict of such tensors.
        targets: (S, B, ...) for the loss to compare the model's outputs with; several likewise.
        is_first: (S, B) bool or None; True where the row begins a new sequence at this step. The state of that
            row is replaced by the initial state before the step, and no gradient crosses.
        is_last: (B,) bool or None; True where the row's sequence ends with the span's last step, so that no
            gradient comes from beyond it.
        future: the steps that follow the span, as far as a lookahead needs them; None where there are none. A
            synthesizer with a lookahead needs them at every span but one at which all rows end.
            Training alone may see them: evaluation has no use for a gradient.
        mask: (S, B) bool or None; False at padding, between the end of a row's sequence and the beginning of its next.
            The loss is the mean over all other steps, and no gradient crosses. The values there must be finite.

    Raises:
        TypeError: inputs, targets or marks hold something else than tensors, or `future` is no span.
        ValueError: there are no steps or no rows, or shapes, dtypes or numbers of rows do not agree.
    """

    inputs: Steps
    targets: Steps
    is_first: Tensor | None = None
    is_last: Tensor | None = None
    future: "Span | None" = None
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            _require_tensors(name, getattr(self, name))
        steps_and_rows = leaves(self.inputs)[0].shape[:2]
        for name in ("inputs", "targets"):
            for tensor in leaves(getattr(self, name)):
                if name == "inputs" and (len(tensor.shape[:2]) < 2 or 0 in tensor.shape[:2]):
                    least = "rows" if tensor.dim() > 1 and tensor.shape[0] else "steps"
                    raise ValueError(f"inputs must be (steps, rows, ...) with {least} >= 1, got {tuple(tensor.shape)}")
                _require_beginning(name, tensor.shape[:2], steps_and_rows)
        for name, expected in (("is_first", steps_and_rows), ("is_last", steps_and_rows[1:]), ("mask", steps_and_rows)):
            if (marks := getattr(self, name)) is not None:
                require_kind(name, marks, Tensor)
                _require_beginning(name, marks.shape, expected)
                if marks.dtype != torch.bool:
                    raise ValueError(f"{name} must be bool, got {marks.dtype}")
        if self.future is not None:
            require_kind("future", self.future, Span)
            if self.future.batch_size != self.batch_size:
                raise ValueError(f"future must have {self.batch_size} rows, got {self.future.batch_size}")
            self.require_same_kind(self.future, "future.")

    def require_same_kind(self, other: "Span", prefix: str) -> None:
        """Refuse another span's data of other features or precision, named in the message with a prefix."""
        for name in ("inputs", "targets"):
            own, later = sorted_leaves(getattr(self, name)), sorted_leaves(getattr(other, name))
            if len(own) != len(later):
                raise ValueError(f"{prefix}{name} must hold as many tensors as {name}, {len(own)}, got {len(later)}")
            for here, there in zip(own, later, strict=True):
                if here.shape[2:] != there.shape[2:] or here.dtype != there.dtype:
                    raise ValueError(
                        f"{prefix}{name} must be of the kind of {name}, steps of {tuple(here.shape[1:])} in "
                        f"{here.dtype}, got {tuple(there.shape[1:])} in {there.dtype}"
                    )

    @property
    def steps(self) -> int:
        """S, the number of steps."""
        return leaves(self.inputs)[0].shape[0]

    @property
    def batch_size(self) -> int:
        """B, the number of rows."""
        return leaves(self.inputs)[0].shape[1]

    @property
    def device(self) -> torch.device:
        """The device of the data."""
        return leaves(self.inputs)[0].device

    @cached_property
    def size(self) -> int:
        """Number of steps of all rows over which the loss is averaged: S x B without padding, and never 0."""
        return self.steps * self.batch_size if self.mask is None else max(int(self.mask.sum()), 1)

    def slice(self, start: int, stop: int, lookahead: int | None = None) -> "Span":
        """Return the steps from `start` up to `stop` as a span whose future is the steps after them, without copies.

        Args:
            start, stop: steps into the span, 0 <= start < stop <= S.
            lookahead: the most steps of the future; None for all that follow in this span. At the span's own end the
                future is the span's. Where there are steps after them and none is looked at, rows that do not go on
                are marked by `is_last`.
        """
        end = self.steps if lookahead is None else min(stop + lookahead, self.steps)
        part = self.part(start, stop)
        if stop == self.steps:
            return replace(part, future=self.future)
        if end > stop:
            return replace(part, future=self.part(stop, end))
        ended = self.part(stop, stop + 1).breaks()[0]
        return replace(part, is_last=ended) if bool(ended.any()) else part

    def part(self, start: int, stop: int) -> "Span":
        """Return the steps from `start` up to `stop` without a future."""
        is_first = None if self.is_first is None else self.is_first[start:stop]
        if is_first is not None and not bool(is_first.any()):
            is_first = None
        mask = None if self.mask is None else self.mask[start:stop]
        inputs, targets = (between(each, start, stop) for each in (self.inputs, self.targets))
        return Span(inputs, targets, is_first, self.is_last if stop == self.steps else None, None, mask)

    def divide(self, steps: int, lookahead: int | None = None) -> "list[Span]":
        """Divide into consecutive spans, without copies of the data.

        Args:
            steps: of each; the last may have fewer.
            lookahead: the most steps of the future of each; None for all that follow.
        """
        at_least("steps", steps, 1)
        at_least("lookahead", 0 if lookahead is None else lookahead, 0)
        starts = range(0, self.steps, steps)
        return [self.slice(start, min(start + steps, self.steps), lookahead) for start in starts]

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
        is_first = mask = None
        if any(span.is_first is not None for span in spans) or any(span.is_last is not None for span in spans[:-1]):
            is_first = torch.cat([span.marked_first() for span in spans])
            step = 0
            for span in spans[:-1]:
                step += span.steps
                if span.is_last is not None:
                    is_first[step] |= span.is_last
        if any(span.mask is not None for span in spans):
            mask = torch.cat([span.marked_real() for span in spans])
        inputs, targets = (
            map_state(lambda *parts: torch.cat(parts), *each)
            for each in zip(*((span.inputs, span.targets) for span in spans), strict=True)
        )
        return Span(inputs, targets, is_first, spans[-1].is_last, spans[-1].future, mask)

    def continuing(self, boundaries: Sequence[int]) -> Tensor | None:
        """True where a row's sequence goes on across a boundary, (len(boundaries) x B,) bool; None where all do.

        Args:
            boundaries: steps into the span, of which the last is S.
        """
        parts = [self] if self.future is None else [self, self.future]
        if all(mark is None for part in parts for mark in (self.is_last, part.is_first, part.mask)):
            return None
        closed = torch.zeros(len(boundaries), self.batch_size, dtype=torch.bool, device=self.device)
        closed[:-1] = self.breaks()[list(boundaries[:-1])]
        if self.mask is not None:
            closed[1:] |= ~self.mask[[boundary - 1 for boundary in boundaries[1:]]]
        if self.is_last is not None:
            closed[-1] |= self.is_last
        if self.future is not None:
            closed[-1] |= self.future.breaks()[0]
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

    def to(self, device: torch.device | str) -> "Span":
        """Return the span with its tensors on another device."""
        return self._map(lambda steps: steps.to(device), lambda rows: rows.to(device))

    def _map(self, of_steps: Callable[[Tensor], Tensor], of_rows: Callable[[Tensor], Tensor]) -> "Span":
        return Span(
            map_state(of_steps, self.inputs),
            map_state(of_steps, self.targets),
            None if self.is_first is None else of_steps(self.is_first),
            None if self.is_last is None else of_rows(self.is_last),
            None if self.future is None else self.future._map(of_steps, of_rows),
            None if self.mask is None else of_steps(self.mask),
        )

    def marked_first(self) -> Tensor:
        """Return `is_first` as a tensor (S, B), all False where it is None."""
        shape = self.steps, self.batch_size
        return torch.full(shape, False, device=self.device) if self.is_first is None else self.is_first

    def breaks(self) -> Tensor:
        """True (S, B) where no sequence goes on from the step before: one begins there, or it is padding."""
        return self.marked_first() if self.mask is None else self.marked_first() | ~self.mask

    def marked_real(self) -> Tensor:
        """Return `mask` as a tensor (S, B), all True where it is None."""
        shape = self.steps, self.batch_size
        return torch.full(shape, True, device=self.device) if self.mask is None else self.mask


def between(steps: Steps, start: int, stop: int) -> Steps:
    """Return the steps from `start` up to `stop`."""
    return map_state(lambda tensor: tensor[start:stop], steps)


def _require_tensors(name: str, steps: Steps) -> None:
    try:
        if leaves(steps):
            return
    except TypeError:
        pass
    raise TypeError(
        f"{name} must be a tensor (steps, rows, ...), or a tuple, list or dict of such, got a {type(steps).__name__}"
    )


def _require_beginning(name: str, found: torch.Size, expected: torch.Size) -> None:
    if found != expected:
        raise ValueError(f"{name} must begin with {tuple(expected)} like inputs, got {tuple(found)}")
