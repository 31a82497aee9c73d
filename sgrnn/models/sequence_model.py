"""Base of this package's models: a core, an output layer, and synthesizers that fit."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from sgrnn.contract.modules import tensor_of
from sgrnn.cores import first_state
from sgrnn.state import State, state_size, trailing_size
from sgrnn.synthesizers import AdjointSynthesizer, DiagonalSynthesizer, ErrorSynthesizer, MLPSynthesizer


class SequenceModel(nn.Module, ABC):
    """Base of models: a core with an output layer that belongs to the loss.

    As a model for a gradient estimator it gives the core's outputs, and `loss` holds the output layer. So the layer
    runs once per span however many windows the span has, and output gradients are as wide as the vectors of the
    state, as a synthesizer that carries them back from unit to unit needs them.

    Attributes:
        core: the recurrent core.
        output: the output layer, a ``torch.nn.Linear`` or an `AdaptiveSoftmax`; it reads the core's outputs,
            ``in_features`` a step, and has ``out_features``.

    Args:
        input_size: features of a step that is read, as `input_features` gives them.
        step_size: features of a step that is read and what is expected there, as `step_features` gives them.
    """

    core: nn.Module
    output: Any

    def __init__(self, input_size: int, step_size: int) -> None:
        super().__init__()  # the parts are the subclass's to register, in an order of its own
        self.input_size, self.step_size = input_size, step_size

    @abstractmethod
    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Read inputs (time, batch, ...), and return features (time, batch, output_size) and the state after them."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss (time, batch) of features, with the output layer applied to them."""

    @abstractmethod
    def input_features(self, inputs: Tensor) -> Tensor:
        """Return features (steps, rows, input_size) of inputs (steps, rows, ...) for a synthesizer, without graph."""

    @abstractmethod
    def step_features(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return features (steps, rows, step_size) of inputs and targets (steps, rows, ...) for a synthesizer."""

    def initial_state(self, batch_size: int) -> State:
        """Return the core's state before its first step."""
        return first_state(self.core, tensor_of(self.core).new_zeros(1, batch_size, self.input_size))

    def synthesizer(self, lookahead: int = 8, **options: Any) -> ErrorSynthesizer:
        """Make an `ErrorSynthesizer` that fits this model.

        Args:
            lookahead: steps ahead that it sees.
            options: as `ErrorSynthesizer` takes them.
        """
        return ErrorSynthesizer(**self._sizes(), lookahead=lookahead, **options)

    def adjoint_synthesizer(self, window: int, **options: Any) -> AdjointSynthesizer:
        """Make an `AdjointSynthesizer` that fits this model, for windows of this many steps.

        Args:
            window: T, that of the estimator.
            options: as `AdjointSynthesizer` takes them.
        """
        return AdjointSynthesizer(**self._sizes(), window=window, **options)

    def diagonal_synthesizer(self, lookahead: int = 8, **options: Any) -> DiagonalSynthesizer:
        """Make a `DiagonalSynthesizer` that fits this model.

        Args:
            lookahead: steps ahead that it sees.
            options: as `DiagonalSynthesizer` takes them.
        """
        sizes = self._sizes()
        del sizes["feature_size"]
        return DiagonalSynthesizer(**sizes, lookahead=lookahead, **options)

    def mlp_synthesizer(
        self, lookahead: int = 4, *, projection: int | None = 32, **options: Any
    ) -> MLPSynthesizer:  # fmt: skip
        """Make an `MLPSynthesizer` that fits this model, for where the model cannot be run ahead.

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
