"""What was observed between two lines of the log, and whether training has diverged in it."""

from math import isfinite

import torch
from torch import Tensor

from sgrnn.errors import InputError


class Diverged(InputError):
    """Training went off to infinity: a learning rate or a clip of the recipe is to be mended."""


class Interval:
    """What was observed since the last log, kept as tensors so that observing does not wait for the device.

    Args:
        clock: seconds trained when it begins.
        values: what was observed before training was interrupted.
    """

    def __init__(self, clock: float = 0.0, values: dict[str, list[Tensor]] | None = None) -> None:
        self.values = values or {}
        self._updates = 0
        self._clock = clock
        self._model_suspected = True

    def add(self, figures: dict[str, Tensor]) -> None:
        """Observe one update."""
        for name, value in figures.items():
            self.values.setdefault(name, []).append(value.detach())
        self._updates += 1

    def require_finite(self, update: int) -> None:
        """Refuse to go on if a loss or a gradient was not finite; `update` is the number of the last one.

        Raises:
            Diverged: it was not.
        """
        if not self.values:
            return
        observed = torch.stack([torch.stack(values).double() for values in self.values.values()], dim=1)
        for number, row in enumerate(observed.tolist(), start=update - len(observed) + 1):
            figures = dict(zip(self.values, row, strict=True))
            if not isfinite(figures["loss"]):
                raise self.diverged(f"the loss is {figures['loss']}", number)
            if not isfinite(figures["gradient_norm"]):
                raise self.diverged(f"the norm of the gradient is {figures['gradient_norm']}", number)
            if not all(map(isfinite, row)):
                self._model_suspected = False  # the synthesizer's figures were the first to go

    def diverged(self, what: str, update: int) -> "Diverged":
        """The error that says what happened at an update, and which field to look at."""
        if self._model_suspected:
            fields = "optimizer.learning_rate or training.clip"
        else:
            fields = "synthesizer_optimizer.learning_rate or training.synthesizer_clip"
        return Diverged(
            f"{what} at update {update}: training has diverged; lower {fields} in a new run; "
            "the checkpoints of this one are from before"
        )

    def means(self, update: int, clock: float) -> dict[str, float]:
        """The mean of each figure since the last call, and the rate of updates.

        Raises:
            Diverged: a loss or a gradient is not finite.
        """
        self.require_finite(update)
        means = {name: float(torch.stack(values).double().mean()) for name, values in self.values.items()}
        means["updates_per_second"] = self._updates / max(clock - self._clock, 1e-9)
        self.values, self._updates, self._clock = {}, 0, clock
        return means
