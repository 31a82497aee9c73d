"""A span: the steps between two parameter updates, and what training may know of the steps after them."""

from dataclasses import dataclass

import torch
from torch import Tensor


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
    """

    inputs: Tensor
    targets: Tensor
    starts: Tensor | None = None
    ends: Tensor | None = None
    future: "Span | None" = None

    def __post_init__(self) -> None:
        steps_and_rows = self.inputs.shape[:2]
        if len(steps_and_rows) < 2 or steps_and_rows[0] == 0:
            raise ValueError(f"inputs must be (steps, rows, ...) with steps >= 1, got {tuple(self.inputs.shape)}")
        for name, tensor, expected in (
            ("targets", self.targets.shape[:2], steps_and_rows),
            ("starts", self.starts.shape if self.starts is not None else steps_and_rows, steps_and_rows),
            ("ends", self.ends.shape if self.ends is not None else steps_and_rows[1:], steps_and_rows[1:]),
        ):
            if tensor != expected:
                raise ValueError(f"{name} must begin with {tuple(expected)} like inputs, got {tuple(tensor)}")
        if self.future is not None and self.future.batch_size != self.batch_size:
            raise ValueError(f"future must have {self.batch_size} rows, got {self.future.batch_size}")

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
            None if self.starts is None else self.starts[:, part],
            None if self.ends is None else self.ends[part],
            None if self.future is None else self.future.rows(start, stop),
        )

    def to(self, device: torch.device) -> "Span":
        """The same span on another device."""
        return Span(
            self.inputs.to(device),
            self.targets.to(device),
            None if self.starts is None else self.starts.to(device),
            None if self.ends is None else self.ends.to(device),
            None if self.future is None else self.future.to(device),
        )
