"""A span: the steps between two parameter updates, and what training may know of the steps after them."""

from dataclasses import dataclass

import torch
from torch import Tensor

_REMEDY = (
    "pad sequences of different length and mark where each begins (starts) or ends, and put several inputs of a step "
    "side by side in one tensor"
)


@dataclass(frozen=True)
class Span:
    """S consecutive steps of B rows of data, time first.

    Args:
        inputs: (S, B, ...) what the model reads.
        targets: (S, B, ...) what the loss compares its outputs with.
        starts: (S, B) bool or None; True where the row begins a new sequence at this step. The state of that
            row is replaced by the initial state before the step, and no gradient crosses.
        ends: (B,) bool or None; True where the row's sequence ends with the span's last step, so that no
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
            found = getattr(self, name)
            if not isinstance(found, Tensor):
                raise TypeError(f"{name} must be a tensor (steps, rows, ...), got a {type(found).__name__}: {_REMEDY}")
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

    def rows(self, start: int, stop: int) -> "Span":
        """The same steps of the rows from start up to stop."""
        part = slice(start, stop)
        return Span(
            self.inputs[:, part],
            self.targets[:, part],
            None if self.is_first is None else self.is_first[:, part],
            None if self.is_last is None else self.is_last[part],
            None if self.future is None else self.future.rows(start, stop),
        )

    def to(self, device: torch.device) -> "Span":
        """The same span on another device."""
        return Span(
            self.inputs.to(device),
            self.targets.to(device),
            None if self.is_first is None else self.is_first.to(device),
            None if self.is_last is None else self.is_last.to(device),
            None if self.future is None else self.future.to(device),
        )
