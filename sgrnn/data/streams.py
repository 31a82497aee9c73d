"""Streams of text: B contiguous rows, read side by side, S steps at a time.

The rows of a text of N tokens have n = N // B steps each; what is left over at the end is dropped. Shifted by
one, the same tokens are inputs and targets, and the line end stands before the first:

    inputs   eos t1 t2 t3 | t4 t5 t6 t7 | ...
    targets  t1  t2 t3 t4 | t5 t6 t7 t8 | ...
"""

from collections.abc import Iterator
from math import ceil
from typing import Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sgrnn.data.varying_spans import VaryingSpans
from sgrnn.errors import InputError, at_least
from sgrnn.span import Span


@final
class TokenStream(Iterator[Span]):
    """Iterator over the spans of a text, epoch after epoch without end.

    A span never reaches across the end of an epoch: the last one of an epoch is shorter where the steps of a
    row are no multiple of the span's. In the first span of an epoch all rows are `is_first`, in the last one
    `is_last`. Where spans vary, no two passes through the text have the same number of them; an epoch is then as many
    spans as a pass has on average, and the marks are those of passes.

    Where the stream stands is one number, `position`. Setting it is all that it takes to resume.

    >>> stream = TokenStream(np.arange(1, 11), eos_id=0, batch_size=2, span_steps=3, lookahead=1)
    >>> span = next(stream)
    >>> span.inputs.T.tolist(), span.targets.T.tolist()
    ([[0, 1, 2], [5, 6, 7]], [[1, 2, 3], [6, 7, 8]])
    >>> span.future.targets.T.tolist()
    [[4], [9]]
    >>> next(stream).targets.T.tolist(), stream.position, stream.epoch
    ([[4, 5], [9, 10]], 2, 1)

    Args:
        tokens: (N,) ids; may be memory-mapped, only what a span needs is read.
        eos_id: the first input.
        batch_size: B, the number of rows.
        span_steps: S, the steps of a span.
        lookahead: the most steps of `Span.future`; near the end of a row there are fewer.
        position: spans yielded since the start of training.
        begins: (N,) bool, the tokens that begin a sequence of their own: the state is reset before the step at which
            they are expected. None for one sequence from the first to the last.
        varying: draws the lengths of the spans around `span_steps`; None for spans of one length.
        source: what to call the text in an error message.

    Raises:
        InputError: an argument out of range, or a text too short for one span per row.
    """

    def __init__(
        self,
        tokens: NDArray[np.integer],
        eos_id: int,
        batch_size: int,
        span_steps: int,
        lookahead: int = 0,
        position: int = 0,
        *,
        begins: NDArray[np.bool_] | None = None,
        varying: VaryingSpans | None = None,
        source: str = "the text",
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("span_steps", span_steps, 1),
            ("lookahead", lookahead, 0),
        ):
            at_least(name, value, least, kind=InputError)
        steps = len(tokens) // batch_size
        if steps < span_steps:
            raise InputError(
                f"{source} is too short: its {len(tokens):,} tokens make {batch_size:,} rows of {steps:,} "
                f"steps, fewer than the {span_steps:,} of one span; give a longer text, or a smaller "
                "batch_size or shorter spans"
            )
        self.batch_size = batch_size
        self.span_steps = span_steps
        self.lookahead = lookahead
        self.steps_per_epoch = steps
        self.spans_per_epoch = ceil(steps / (span_steps if varying is None else varying.mean))
        self._varying = varying
        self.position = position
        self._rows_BN = tokens[: batch_size * steps].reshape(batch_size, steps)
        self._begins_BN = None if begins is None else begins[: batch_size * steps].reshape(batch_size, steps)
        self._first_inputs_B = np.concatenate(([eos_id], self._rows_BN[:-1, -1]))

    @property
    def position(self) -> int:
        """Number of spans yielded since the start of training; the next span is the one of this number."""
        return self._position

    @position.setter
    def position(self, position: int) -> None:
        self._position = at_least("position", position, 0, kind=InputError)

    @property
    def epoch(self) -> int:
        """Number of complete epochs, so many spans each; the next span belongs to the epoch of this number."""
        return self.position // self.spans_per_epoch

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Span:
        first, end = self._limits()
        future_end = min(end + self.lookahead, self.steps_per_epoch)
        tokens = self._tokens(first, future_end)
        self._position += 1
        return cut_span(
            tokens[:-1], tokens[1:], end - first, is_first=first == 0, is_last=end == self.steps_per_epoch,
            future_ends=future_end == self.steps_per_epoch, begins=self._begins(first, future_end),
        )  # fmt: skip

    def _limits(self) -> tuple[int, int]:
        """Return the steps between which the next span lies."""
        if self._varying is not None:
            return self._varying.limits(self.position, self.steps_per_epoch)
        first = self.position % self.spans_per_epoch * self.span_steps
        return first, min(first + self.span_steps, self.steps_per_epoch)

    def _tokens(self, first: int, end: int) -> Tensor:
        """Return tokens (end - first + 1, B): the input of step `first`, then the targets of all steps before `end`."""
        tokens = np.empty((end - first + 1, self.batch_size), np.int64)
        tokens[0] = self._rows_BN[:, first - 1] if first else self._first_inputs_B
        tokens[1:] = self._rows_BN[:, first:end].T
        return torch.from_numpy(tokens)

    def _begins(self, first: int, end: int) -> Tensor | None:
        """Return the marks of the steps from `first` up to and with `end`, (end - first + 1, B)."""
        if self._begins_BN is None:
            return None
        begins = np.zeros((end - first + 1, self.batch_size), np.bool_)
        marked = self._begins_BN[:, first : end + 1].T
        begins[: len(marked)] = marked
        return torch.from_numpy(begins)


def cut_span(
    inputs: Tensor,
    targets: Tensor,
    steps: int,
    *,
    is_first: bool,
    is_last: bool,
    future_ends: bool,
    begins: Tensor | None = None,
) -> Span:
    """Divide consecutive steps of all rows into a span and its future.

    Args:
        inputs: (S + lookahead, B) ids.
        targets: (S + lookahead, B) ids.
        steps: S; what goes beyond is the future, None where nothing does.
        is_first: whether the rows begin with the first step.
        is_last: whether the rows end with step S.
        future_ends: whether the rows end with the last of all steps.
        begins: (S + lookahead + 1, B) bool, where sequences begin within the rows, the step after all included; None
            for nowhere.
    """
    rows = inputs.shape[1]
    if begins is None and is_first:
        begins = torch.zeros(inputs.shape[0] + 1, rows, dtype=torch.bool)
    first = last = first_of_future = future = None
    if begins is not None:
        begins[0] |= is_first
        first, last, first_of_future = (
            _marked(begins[:steps]),
            _marked(begins[steps].clone()),
            _marked(begins[steps:-1]),
        )
    if is_last:
        last = torch.ones(rows, dtype=torch.bool)
    if inputs.shape[0] > steps:
        ends = torch.ones(rows, dtype=torch.bool) if future_ends else None
        future = Span(inputs[steps:], targets[steps:], first_of_future, ends)
    return Span(inputs[:steps], targets[:steps], first, last, future)


def _marked(marks: Tensor) -> Tensor | None:
    """Return marks, None where there are none."""
    return marks if bool(marks.any()) else None
