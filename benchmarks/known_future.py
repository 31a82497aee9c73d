"""A stream that waits until an estimator's future is known, and runs ahead into it: what delay is measured against."""

from typing import Any

import torch
from endless import Reading
from torch import Tensor, nn

import sgrnn
from sgrnn.estimators import GradientEstimator
from sgrnn.span import Span


class Ahead:
    """A stream that holds back its readings until the future that an estimator sees is known, and learns then."""

    def __init__(self, estimator: GradientEstimator, optimizers: list[torch.optim.Optimizer], clip: float) -> None:
        self.estimator, self.optimizers, self.clip = estimator, optimizers, clip
        self.state: Any = None
        self.held: list[Reading] = []

    def step(self, inputs: Tensor, targets: Tensor, answered: Tensor | None = None) -> sgrnn.Step | None:
        """Take a reading, and learn from the one that is so many steps back."""
        assert answered is None, "known futures are compared where all is answered"
        self.held.append(Reading(inputs, targets))
        if len(self.held) <= self.estimator.lookahead:
            return None
        first, *rest = self.held
        future = Span(torch.stack([each.inputs for each in rest]), torch.stack([each.targets for each in rest]))
        step = self.estimator.backward(Span(first.inputs[None], first.targets[None], future=future), self.state)
        self.state, self.held = step.state, rest
        learned = [each for group in self.optimizers[0].param_groups for each in group["params"]]
        nn.utils.clip_grad_norm_(learned, self.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return step
