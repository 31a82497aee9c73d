"""The factor with which predictions are closest to their targets."""

from math import isfinite
from typing import final

from torch import Tensor

from sgrnn.synthesizers.running_means import RunningMeans


@final
class Shrinkage(RunningMeans):
    """Factor in [0, 1] with which predictions are closest to their targets in the mean square.

    alpha = clip(E<prediction, target> / E|prediction|^2, 0, 1), from running means over past updates, of
    predictions made before they were trained on. Predictions of an untrained predictor are so shrunk to nothing.

    Args:
        ema_decay: decay of the running means, per update.
    """

    dot: Tensor
    square: Tensor
    power: Tensor

    def __init__(self, ema_decay: float = 0.99) -> None:
        super().__init__()
        self.ema_decay = ema_decay
        for name in ("dot", "square", "power"):
            self.begin_mean(name)

    def forward(self) -> Tensor:
        """Return alpha, a scalar in [0, 1]."""
        return (self.dot / self.square.clamp(min=1e-30)).clamp(0, 1)

    def r2(self) -> Tensor:
        """Return the R² of predictions with their targets, 1 - |prediction - target|² / |target|², from the means."""
        return (2 * self.dot - self.square) / self.power.clamp(min=1e-30)

    def update(self, dot: float | Tensor, square: float | Tensor, power: float | Tensor) -> None:
        """Update the running means of <prediction, target>, |prediction|² and |target|², each summed over rows.

        Nothing is updated where one of them is not finite.
        """
        if isfinite(dot + square + power):
            for name, value in (("dot", dot), ("square", square), ("power", power)):
                self.take_in(name, float(value), 1 - self.ema_decay)
