"""Training of a synthesizer on targets that become known one part after another."""

from typing import final

import torch
from torch import Tensor

from sgrnn.synthesizers.predictor import GradientPredictor, Moments


@final
class Regression:
    """Train a synthesizer on the targets of one update part by part, as `GradientPredictor.learn` does on all at once.

    How many rows count, and the new scale, are known at the end. So gradients are summed up beside those that the
    parameters have, and are weighted then.

    Args:
        predictor: of the synthesizer. Until the end its scale and shrinkage stay as they are.
    """

    def __init__(self, predictor: GradientPredictor) -> None:
        self._predictor = predictor
        self._learned = [each for each in predictor.synthesizer.parameters() if each.requires_grad]
        self._sums: list[Tensor | None] = [None for _ in self._learned]
        self._moments: Moments | None = None

    def add(
        self, predicted: Tensor, target: Tensor, rows: Tensor | None = None, after: Tensor | None = None
    ) -> None:  # fmt: skip
        """Take in the targets of some predictions, whose graph is freed.

        Args:
            predicted, target, rows, after: as `GradientPredictor.regress`.
        """
        missing, moments = self._predictor.compare(predicted, target, rows, after)
        self._moments = moments if self._moments is None else self._moments + moments
        if not predicted.requires_grad or not self._learned:
            return
        found = torch.autograd.grad(predicted, self._learned, missing, allow_unused=True)
        for place, new in enumerate(found):
            old = self._sums[place]
            self._sums[place] = new if old is None else old if new is None else old.add_(new)

    @torch.no_grad()
    def finish(self) -> dict[str, Tensor]:
        """Update the running means, add to the gradients of the parameters, and return metrics as `learn` does."""
        assert self._moments is not None, "an update has a target"
        metrics, weight = self._predictor.observe(self._moments)
        for parameter, total in zip(self._learned, self._sums, strict=True):
            if total is not None:
                total.mul_(weight)
                parameter.grad = total if parameter.grad is None else parameter.grad.add_(total)
        return metrics
