"""What every gradient estimator is, and what it hands back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from torch import Tensor, nn

from sgrnn.estimators.objective import Loss
from sgrnn.span import Span
from sgrnn.state import State


@dataclass(frozen=True)
class Step:
    """What an estimator hands back from one span.

    Args:
        loss: mean loss per step and row, a detached scalar.
        state: the state after the span, detached.
        figures: scalars worth logging, by name; tensors, so that reading them is the caller's choice.
    """

    loss: Tensor
    state: State
    metrics: dict[str, Tensor] = field(default_factory=dict)


class GradientEstimator(nn.Module, ABC):
    """What crosses a boundary backwards. A module, since an estimator may have parameters and a state to save."""

    lookahead: int = 0  # how far beyond a span it wants to see

    @abstractmethod
    def backward(self, model: nn.Module, loss: Loss, span: Span, state: State) -> Step:
        """Run a span, add to the gradients of the model's and the estimator's parameters, and go on.

        Args:
            model: ``model(inputs, state) -> (outputs, state)``.
            loss: ``loss(outputs, targets) -> (time, batch)``, a loss per step and row, not averaged.
            span: the data.
            state: the state before the span; a graph behind it is ignored.

        Raises:
            ValueError: the loss is not one number per step and row, or reaches into the model's graph past its outputs.
        """


def positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1 step, got {value}")
    return value
