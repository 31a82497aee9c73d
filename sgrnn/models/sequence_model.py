"""Base of this package's models: a core, an output layer, and synthesizers that fit."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from sgrnn.cores import initial_state
from sgrnn.state import State, state_size, trailing_size
from sgrnn.synthesizers import AdjointSynthesizer, ErrorSynthesizer, MLPSynthesizer


class SequenceModel(nn.Module, ABC):
    """A core with an output layer that belongs to the loss.

    As a model for a gradient estimator it gives the core's outputs, and `loss` holds the output layer. So the layer
    runs once per span however many windows the span has, and the errors are as wide as the vectors of the state, which
    is what a synthesizer that carries them back from unit to unit needs.

    Attributes:
        core: the recurrent core.
        output: the output layer; it reads the core's outputs, output_size features a step.

    Args:
        input_size: features of a step that is read, as `input_features` gives them.
        step_size: features of a step that is read and what is expected there, as `step_features` gives them.
    """

    core: nn.Module
    output: nn.Linear

    def __init__(self, input_size: int, step_size: int) -> None:
        super().__init__()  # the parts are the subclass's to register, in an order of its own
        self.input_size, self.step_size = input_size, step_size

    @abstractmethod
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read inputs (time, batch, ...); returns features (time, batch, output_size) and the state after them."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss (time, batch) of features, the output layer's share included."""

    @abstractmethod
    def input_features(self, inputs: Tensor) -> Tensor:
        """Return what a synthesizer sees of inputs (steps, rows, ...): (steps, rows, input_size), without a graph."""

    @abstractmethod
    def step_features(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return what a synthesizer sees of inputs and targets (steps, rows, ...): (steps, rows, step_size)."""

    def initial_state(self, batch_size: int) -> State:
        """Return the core's state before its first step."""
        return initial_state(self.core, batch_size)

    def synthesizer(self, lookahead: int = 8, **options: Any) -> ErrorSynthesizer:
        """Make a synthesizer that fits this model: the output gradients ahead, carried back by learned Jacobians.

        Args:
            lookahead: steps ahead that it sees.
            options: as `ErrorSynthesizer` takes them.
        """
        return ErrorSynthesizer(**self._sizes(), lookahead=lookahead, **options)

    def adjoint_synthesizer(self, window: int, **options: Any) -> AdjointSynthesizer:
        """Make a synthesizer that fits this model: a learned backward pass through windows of this many steps.

        Args:
            window: T, that of the estimator.
            options: as `AdjointSynthesizer` takes them.
        """
        return AdjointSynthesizer(**self._sizes(), window=window, **options)

    def mlp_synthesizer(
        self, lookahead: int = 4, *, projection: int | None = 32, **options: Any
    ) -> MLPSynthesizer:  # fmt: skip
        """Make a perceptron that fits this model: it sees the steps ahead, for where no step ahead can be run.

        Args:
            lookahead: steps ahead that it sees; 0 for the state alone.
            projection: as `MLPSynthesizer`; with 32 the predictions are as good as with none, at half the cost.
            options: as `MLPSynthesizer` takes them.
        """
        size = state_size(self.initial_state(batch_size=1))
        return MLPSynthesizer(
            size, lookahead=lookahead, feature_size=self.step_size, projection=projection, **options
        )  # fmt: skip

    def _sizes(self) -> dict[str, int]:
        """Return the sizes that a `JacobianSynthesizer` needs to know."""
        state, output_size = self.initial_state(batch_size=1), self.output.in_features
        return {
            "state_size": state_size(state),
            "output_size": output_size,
            "feature_size": self.input_size,
            "aligned_size": trailing_size(state, output_size),
        }
