"""What the models of this package share: a core, an output layer, and synthesizers that fit."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from sgrnn.cores import initial_state
from sgrnn.state import State, state_size, trailing_size
from sgrnn.synthesizers import AdjointSynthesizer, ErrorSynthesizer, MLPSynthesizer
from sgrnn.synthesizers.lookahead import LookaheadEncoder, RecurrentLookahead, TokenFeatures


class SequenceModel(nn.Module, ABC):
    """A core with an output layer that belongs to the loss.

    As a model for a gradient estimator it gives the core's outputs, and `loss` holds the output layer. So the layer
    runs once per span however many windows the span has, and the errors are as wide as the vectors of the state, which
    is what a synthesizer that carries them back from unit to unit needs.

    Attributes:
        core: the recurrent core.
        output: the output layer; it reads the core's outputs, error_size features a step.

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
        """Read inputs (time, batch, ...); returns features (time, batch, error_size) and the state after them."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss (time, batch) of features, the output layer's share included."""

    @abstractmethod
    def input_features(self, inputs: Tensor) -> Tensor:
        """What a synthesizer sees of inputs (steps, rows, ...): (steps, rows, input_size), without a graph."""

    @abstractmethod
    def step_features(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The same of inputs and targets (steps, rows, ...), side by side: (steps, rows, step_size)."""

    def own_features(self, size: int) -> TokenFeatures:
        """Embeddings of a synthesizer's own for what is read and expected, of so many features each.

        Raises:
            ValueError: the model does not read tokens.
        """
        raise ValueError(f"own_embedding is for models that read tokens, got {size} for a {type(self).__name__}")

    def initial_state(self, batch_size: int) -> State:
        """The core's."""
        return initial_state(self.core, batch_size)

    def synthesizer(
        self, lookahead: int = 8, *, hidden_size: int = 128, rank: int = 32, projection: int = 32, near: int = 2
    ) -> ErrorSynthesizer:
        """A synthesizer that fits this model: the errors ahead, carried back by learned Jacobians.

        Args:
            lookahead: upcoming steps it sees.
            hidden_size, rank, projection, near: as `ErrorSynthesizer`.
        """
        state, error_size = self.initial_state(batch_size=1), self.output.in_features
        return ErrorSynthesizer(
            state_size(state),
            error_size,
            self.input_features,
            self.input_size,
            aligned_size=trailing_size(state, error_size),
            steps=lookahead,
            hidden_size=hidden_size,
            rank=rank,
            projection=projection,
            near=near,
        )

    def adjoint_synthesizer(
        self, window: int, *, hidden_size: int = 128, rank: int = 32, projection: int = 32, near: int | None = None
    ) -> AdjointSynthesizer:
        """A synthesizer that fits this model: a learned backward pass through windows of this many steps.

        Args:
            window: T, that of the estimator.
            hidden_size, rank, projection, near: as `AdjointSynthesizer`.
        """
        state, error_size = self.initial_state(batch_size=1), self.output.in_features
        return AdjointSynthesizer(
            state_size(state),
            error_size,
            self.input_features,
            self.input_size,
            aligned_size=trailing_size(state, error_size),
            window=window,
            hidden_size=hidden_size,
            rank=rank,
            projection=projection,
            near=near,
        )

    def mlp_synthesizer(
        self,
        lookahead: int = 4,
        *,
        hidden_sizes: tuple[int, ...] = (256,),
        projection: int | None = 32,
        recurrent: int | None = None,
        own_embedding: int | None = None,
        auxiliary: bool = False,
    ) -> MLPSynthesizer:
        """A perceptron that fits this model and sees the steps ahead, not the errors: for where no step ahead has run.

        Args:
            lookahead: upcoming steps it sees; 0 for the state alone.
            hidden_sizes, auxiliary: as `MLPSynthesizer`.
            projection: as `LookaheadEncoder`; with 32 the predictions are as good as with none, at half the cost.
            recurrent: read the steps by a GRU of so many units (`RecurrentLookahead`) instead.
            own_embedding: see tokens through embeddings of its own, of this size, instead of the model's.

        Raises:
            ValueError: an embedding of its own for a model that does not read tokens.
        """
        encoder = None
        if lookahead:
            features, feature_size = self.step_features, self.step_size
            if own_embedding is not None:
                features = self.own_features(own_embedding)
                feature_size = features.feature_size
            if recurrent is not None:
                encoder = RecurrentLookahead(lookahead, features, feature_size, recurrent)
            else:
                encoder = LookaheadEncoder(lookahead, features, feature_size, projection)
        size = state_size(self.initial_state(batch_size=1))
        return MLPSynthesizer(size, hidden_sizes, lookahead=encoder, auxiliary=auxiliary)
