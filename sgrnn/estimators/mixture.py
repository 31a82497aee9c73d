"""The mixture of synthetic and real gradients at the boundaries of one span."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """Share of the synthetic gradient at the boundaries of one span, and how far real gradients are carried.

    Args:
        share: of the synthetic gradient, in (0, 1]. Within a real window the rest is the gradient that arrives from the
            next window.
        window: T of this span alone, in steps; None for the estimator's.
        real_window: steps over which real gradients are carried, a multiple of T, as `TruncatedBPTT` would with this
            window; None for the whole span.
        drawn: rows whose true gradient is sought, to correct that of all (`ControlVariate`); only with a share of 1.
    """

    share: float = 1.0
    window: int | None = None
    real_window: int | None = None
    drawn: tuple[int, ...] = ()

    def require_possible(self, window: int) -> None:
        """Refuse a share out of range or beside drawn rows, and a real window that is no multiple of the window.

        Raises:
            ValueError: one of these is.
        """
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}")
        if self.drawn and self.share < 1:
            raise ValueError(f"share must be 1 where rows are drawn, got {self.share}")
        real = self.real_window
        if real is not None and (real < 1 or real % window):
            raise ValueError(f"real_window must be a multiple of the window, {window} steps, got {real}")

    def carries(self, window: int, trace_decay: float) -> bool:
        """True where gradients are carried from a window to the one before it.

        Where they are, windows run in order, one by one: what arrives from the next must have been gone through.
        """
        real = self.real_window
        return self.share * trace_decay > 0 or (self.share < 1 and (real is None or real > window))

    def carried(self, boundaries: Sequence[int], trace_decay: float) -> list[float]:
        """Return the factor on the gradient that arrives at each boundary inside the span."""
        inside = [self.real_window is None or boundary % self.real_window != 0 for boundary in boundaries[1:-1]]
        return [self.share * trace_decay + (1 - self.share) * real for real in inside]

    def weigh(self, injected: Tensor, batch_size: int, trace_decay: float) -> Tensor:
        """Weight what is injected, (K x B, features): by the share, and inside the span by what TD(lambda) leaves."""
        if self.share * (1 - trace_decay) == 1:
            return injected
        inner, last = injected[:-batch_size], injected[-batch_size:]
        return torch.cat([self.share * (1 - trace_decay) * inner, self.share * last])


SYNTHETIC = Mixture()
"""Synthetic gradients alone."""
