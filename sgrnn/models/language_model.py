"""The language model: embedding, core, output layer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.contract.modules import is_plain
from sgrnn.cores.activation import ActivationRegularization
from sgrnn.cores.dropout import Dropout
from sgrnn.cores.locked import LockedDropout, WordDropout, dropout_rate
from sgrnn.estimators.objective import ABSENT
from sgrnn.models.adaptive_softmax import AdaptiveSoftmax
from sgrnn.models.cross_entropy import output_loss
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.state import State, at_least_float32


class LanguageModel(SequenceModel):
    """Recurrent model that predicts the next token from all those before it.

    As a model for a gradient estimator it reads tokens and gives features; `loss` holds the output layer, so that it
    runs once per span however many windows the span has.

    Attributes:
        reset_at: the token before which the state is reset whenever it is read, when texts are scored or drawn: the
            line end of a model that has learned each line by itself; None for none.

    Args:
        vocabulary_size: number of tokens.
        embedding_size: features per input token; what the core reads.
        core: recurrent core with inputs of `embedding_size` and outputs of `output_size`.
        output_size: features of the core's outputs.
        tied: True for one matrix shared by embedding and output layer (Press & Wolf 2017); sizes must then agree.
        dropout: on the embeddings and on the core's outputs (Zaremba et al. 2014).
        output_dropout: on the core's outputs; None for `dropout`.
        word_dropout: of whole words, read as zeros for a span (`sgrnn.cores.locked.WordDropout`).
        locked_dropout: True for the same mask of embeddings, and of outputs, at all steps of a span
            (`sgrnn.LockedDropout`). Outputs are then dropped by `logits` and `loss`, and handed over as they are.
        activation_regularization: alpha, of a penalty on the core's outputs that the estimators add to the loss
            (`sgrnn.cores.activation.ActivationRegularization`).
        temporal_activation_regularization: beta, of a penalty on their changes from step to step, which must be seen
            before dropout: `locked_dropout` must be True, or `output_dropout` 0.
        initial_range: all parameters are drawn uniformly from (-initial_range, initial_range); None leaves torch's
            defaults, and draws the embedding from (-0.1, 0.1).
        output: output layer in the place of a plain one, which reads `output_size` features, is not tied, and computes
            in its own precision alone.
        output_precision: of the output layer's matrix products in training; None for that of the parameters, in
            which the core and its state always are. Evaluation ignores this and is exact.

    >>> from sgrnn.cores import LSTM
    >>> model = LanguageModel(vocabulary_size=50, embedding_size=8, core=LSTM(8, 16), output_size=16)
    >>> tokens = torch.zeros(7, 4, dtype=torch.long)
    >>> outputs, state = model(tokens, model.initial_state(batch_size=4))
    >>> model.loss(outputs, tokens).shape
    torch.Size([7, 4])
    """

    reset_at: int | None = None

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        core: nn.Module,
        output_size: int,
        *,
        tied: bool = False,
        dropout: float = 0.0,
        output_dropout: float | None = None,
        word_dropout: float = 0.0,
        locked_dropout: bool = False,
        activation_regularization: float = 0.0,
        temporal_activation_regularization: float = 0.0,
        initial_range: float | None = None,
        output: AdaptiveSoftmax | None = None,
        output_precision: torch.dtype | None = None,
    ) -> None:
        super().__init__(embedding_size, embedding_size + (output_size if output is None else embedding_size))
        if output is not None:
            _require_output(output, vocabulary_size, output_size, tied)
        if tied and embedding_size != output_size:
            raise ValueError(f"tied needs embedding_size {embedding_size} and output_size {output_size} to be equal")
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.core = core
        self.output = nn.Linear(output_size, vocabulary_size) if output is None else output
        of_outputs = dropout if output_dropout is None else dropout_rate(output_dropout, "output_dropout")
        if temporal_activation_regularization and of_outputs and not locked_dropout:
            raise ValueError(
                "locked_dropout must be True for temporal_activation_regularization, which sees changes of outputs "
                f"before dropout, got False and output_dropout {of_outputs}"
            )
        self.dropout = LockedDropout(dropout) if locked_dropout else Dropout(dropout)
        self.word_dropout = WordDropout(dropout_rate(word_dropout, "word_dropout"))
        self.output_dropout = LockedDropout(of_outputs) if locked_dropout else Dropout(of_outputs)
        self.activation_regularization = ActivationRegularization(
            activation_regularization, temporal_activation_regularization, self._dropout_of_loss
        )
        self.output_precision = output_precision
        if initial_range is None:
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        else:
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -initial_range, initial_range)
        if tied:
            self.output.weight = self.embedding.weight
        if output is not None:  # whose gradient depends on the cluster in both of its parts
            self.target_gradients = None  # pyright: ignore[reportAttributeAccessIssue]

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Read tokens (time, batch), and return features (time, batch, output_size), not yet logits, and the state."""
        vectors = self.word_dropout(self.embedding(inputs), inputs, self.embedding.num_embeddings)
        outputs, state = self.core(self.dropout(vectors), state)
        return self.output_dropout(outputs) if self._dropout_of_loss is None else outputs, state

    @property
    def _dropout_of_loss(self) -> LockedDropout | None:
        """Dropout of outputs that the loss does, so that they are handed over as they are; None where it does none."""
        return self.output_dropout if isinstance(self.output_dropout, LockedDropout) else None

    def _dropped(self, outputs: Tensor) -> Tensor:
        dropout = self._dropout_of_loss
        return outputs if dropout is None else dropout(outputs)

    def logits(self, outputs: Tensor) -> Tensor:
        """Return unnormalized log-probabilities (..., vocabulary_size) of the next token, from features.

        In training with `locked_dropout` the features are dropped first; `logits` of a subclass that do not call
        these have to call ``self.output_dropout``.
        """
        return self.output(self._dropped(outputs))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of each target token, (time, batch), in nats, in float32 at least.

        A target of -100 has none: 0, and no gradient, as in ``F.cross_entropy``. It counts as a step of the span, of
        which a mask takes it out.
        """
        own = type(self).logits is LanguageModel.logits
        adaptive = own and is_plain(self.output, AdaptiveSoftmax, ())
        if not adaptive and not (own and is_plain(self.output, nn.Linear, ("weight", "bias"))):
            logits = at_least_float32(self.logits(outputs))
            return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view_as(targets)
        absent = targets == ABSENT
        some = bool(absent.any())
        tokens = targets.masked_fill(absent, 0) if some else targets
        features = self._dropped(outputs)
        if adaptive:
            losses = at_least_float32(self.output.losses(features, tokens))
        else:
            precision = (self.output_precision if self.training else None) or self.output.weight.dtype
            weight, bias = self.output.weight, self.output.bias
            losses = output_loss(features.flatten(0, 1), weight, bias, tokens.flatten(), precision).view_as(targets)
        return losses.masked_fill(absent, 0) if some else losses

    @torch.no_grad()
    def target_gradients(self, targets: Tensor) -> Tensor:
        """Return the part of the loss's gradient at the features that depends on the target alone, -W[y].

        The other part is Wᵀp, with p the chances of the tokens and W the weight of the output layer. A model with
        `logits` or a `loss` of its own has its own; one with an adaptive softmax has none.

        Args:
            targets: tokens (steps, rows); of steps without a target, any token.

        Returns:
            (steps, rows, output_size).
        """
        return self._dropped(-F.embedding(targets, self.output.weight))

    def input_features(self, inputs: Tensor) -> Tensor:
        """Return the standardized embeddings of the input tokens, without a graph, for a synthesizer to read.

        Standardized (a layer norm without parameters), as the state is: the embeddings of a young model are small,
        and beside a standardized state they would go unnoticed.

        Args:
            inputs: tokens (steps, rows).

        Returns:
            (steps, rows, embedding_size).
        """
        return _standardized(self.embedding, inputs)

    def step_features(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the standardized embeddings of inputs and targets side by side, the latter from a plain output layer.

        An adaptive softmax has no row for each token: the embedding tells of both there. A target of -100 is zeros.

        Args:
            inputs, targets: tokens (steps, rows).

        Returns:
            (steps, rows, step_size).
        """
        compared = self.output if isinstance(self.output, nn.Linear) else self.embedding
        absent = targets == ABSENT
        if not absent.any():
            return torch.cat([_standardized(self.embedding, inputs), _standardized(compared, targets)], dim=-1)
        of_targets = _standardized(compared, targets.masked_fill(absent, 0)).masked_fill(absent.unsqueeze(-1), 0)
        return torch.cat([_standardized(self.embedding, inputs), of_targets], dim=-1)


def _require_output(output: AdaptiveSoftmax, vocabulary_size: int, output_size: int, tied: bool) -> None:
    if tied:
        raise ValueError("tied must be False with an adaptive softmax, which has no row for each token")
    if (output.in_features, output.out_features) != (output_size, vocabulary_size):
        raise ValueError(
            f"output must read output_size {output_size} features and have vocabulary_size {vocabulary_size} tokens, "
            f"got {output.in_features} and {output.out_features}"
        )


@torch.no_grad()
def _standardized(embedding: nn.Embedding | nn.Linear, tokens: Tensor) -> Tensor:
    vectors = F.embedding(tokens, embedding.weight)
    return F.layer_norm(vectors, vectors.shape[-1:])
