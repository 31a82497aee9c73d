"""Metrics observed between two lines of the log, and a stop where training has diverged in them."""

from math import isfinite
from statistics import fmean

import torch
from torch import Tensor

from sgrnn.errors import InputError


class Diverged(InputError):
    """Training diverged: a learning rate or a clip of the recipe is to be mended.

    Args:
        message: what happened, and what to mend.
        update: at which it happened; with a default, since what is unpickled is given it afterwards.
    """

    def __init__(self, message: str, update: int = 0) -> None:
        super().__init__(message)
        self.update = update


class RunningMetrics:
    """Running means of the metrics since the last log, kept as tensors so that observing does not wait for the device.

    Args:
        seconds: trained when it begins.
        values: the metrics of each update observed before training was interrupted.
    """

    def __init__(self, seconds: float = 0.0, values: list[dict[str, Tensor]] | None = None) -> None:
        if values is not None and not isinstance(values, list):
            raise TypeError(f"expected a list of metrics for each update, got {type(values).__name__}")
        self.values = values or []
        self._updates = 0
        self._seconds = seconds
        self._model_suspected = True

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Observe one update; not every update need bring the same metrics."""
        self.values.append({name: value.detach() for name, value in metrics.items()})
        self._updates += 1

    def require_finite(self, update: int) -> None:
        """Raise `Diverged` if a loss or a gradient was not finite; `update` is the number of the last update.

        Raises:
            Diverged: it was not.
        """
        for number, metrics in enumerate(self._read(), start=update - len(self.values) + 1):
            if not isfinite(metrics["loss"]):
                raise self.diverged(f"the loss is {metrics['loss']}", number)
            if not isfinite(metrics["gradient_norm"]):
                raise self.diverged(f"the norm of the gradient is {metrics['gradient_norm']}", number)
            if not all(map(isfinite, metrics.values())):
                self._model_suspected = False  # the synthesizer's metrics were the first to go

    def diverged(self, what: str, update: int) -> "Diverged":
        """Return the error that says what happened at an update, and which field to look at."""
        if self._model_suspected:
            fields = "optimizer.learning_rate or training.clip"
        else:
            fields = "synthesizer_optimizer.learning_rate or training.synthesizer_clip"
        return Diverged(
            f"{what} at update {update}: training has diverged; lower {fields} in a new run; "
            "the checkpoints of this one, if any, are from before",
            update,
        )

    def means(self, update: int, seconds: float) -> dict[str, float]:
        """Return the mean of each metric since the last call, and the rate of updates.

        Raises:
            Diverged: a loss or a gradient is not finite.
        """
        self.require_finite(update)
        observed: dict[str, list[float]] = {}
        for metrics in self._read():
            for name, value in metrics.items():
                observed.setdefault(name, []).append(value)
        means = {name: fmean(values) for name, values in observed.items()}
        means["updates_per_second"] = self._updates / max(seconds - self._seconds, 1e-9)
        self.values, self._updates, self._seconds = [], 0, seconds
        return means

    def _read(self) -> list[dict[str, float]]:
        """Return the values as numbers, fetched from their device at once."""
        if not self.values:
            return []
        numbers = iter(torch.stack([value.double() for row in self.values for value in row.values()]).tolist())
        return [{name: next(numbers) for name in row} for row in self.values]
