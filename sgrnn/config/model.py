"""The section `model`."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic import model_validator as check

from sgrnn.config.section import Fraction, Section


class LevelConfig(Section):
    """A level of a hierarchy above the fastest, of the model's kind of core."""

    hidden_size: PositiveInt
    """Units of the level."""
    period: PositiveInt
    """Steps of the sequence from one tick to the next."""
    message_size: PositiveInt | None = None
    """Features of the message to the level below; null for all outputs."""
    interface: bool = False
    """Read the outputs of the level below through an interface, which gives that level a synthetic gradient."""


class AdaptiveSoftmaxConfig(Section):
    """Output layer of a large vocabulary, with clusters of rarer tokens that cost less (Grave et al. 2017)."""

    cutoffs: tuple[PositiveInt, ...]
    """Tokens at which clusters begin, in increasing order; tokens are numbered from the most frequent on."""
    div_value: Annotated[float, Field(ge=1)] = 4.0
    """Factor by which each cluster reads fewer features than the one before it."""

    @check(mode="after")
    def _increasing(self) -> Self:
        if not self.cutoffs or any(before >= after for before, after in pairwise(self.cutoffs)):
            raise ValueError(f"cutoffs must be one or more in increasing order, got {list(self.cutoffs)}")
        return self


class ModelConfig(Section):
    """Embedding, core, output layer."""

    core: Literal["lstm", "gru", "rnn", "feedforward"] = "lstm"
    """Kind of the recurrent layers; feedforward for layers of linear, batch norm and ReLU without a state, which go
    with the gradient decoupled."""
    hidden_size: PositiveInt
    """Units of each layer."""
    num_layers: Annotated[int, Field(gt=0, le=1024)] = 1
    """Number of layers."""
    slower_levels: tuple[LevelConfig, ...] = ()
    """Levels above this core, which ticks at every step: together a hierarchy."""
    embedding_size: PositiveInt | None = None
    """Features of the embedding; null for `hidden_size`."""
    tied: bool = False
    """Share one matrix between embedding and output layer; with another `embedding_size` than `hidden_size` the last
    layer has that many units."""
    adaptive_softmax: AdaptiveSoftmaxConfig | None = None
    """Chances of rare tokens by cluster, for a large vocabulary of words; null for a plain output layer."""
    dropout: Fraction = 0.0
    """Dropout on embeddings, between layers and on the last layer's outputs."""
    embedding_dropout: Fraction | None = None
    """Dropout on embeddings; null for `dropout`."""
    output_dropout: Fraction | None = None
    """Dropout on the last layer's outputs; null for `dropout`."""
    locked_dropout: bool = False
    """Use one mask for all steps of a span in the three places, for each row its own: variational dropout."""
    word_dropout: Fraction = 0.0
    """Dropout of whole words for a span, read as zeros wherever they stand in it."""
    weight_dropout: Fraction = 0.0
    """Dropout of the recurrent weights, hidden to hidden, for a span: DropConnect."""
    activation_regularization: NonNegativeFloat = 0.0
    """Factor of the mean square of the last layer's outputs, after dropout, in what is minimized: AR. The loss that is
    logged is without it."""
    temporal_activation_regularization: NonNegativeFloat = 0.0
    """Factor of the mean square of the changes of these outputs, before dropout, from step to step of a span: TAR."""
    initial_range: PositiveFloat | None = None
    """Bound of all parameters, drawn uniformly from plus or minus it; null for torch's defaults (embedding: 0.1)."""
    start_from: Path | None = None
    """Folder of a run with whose best weights to begin, relative to the recipe: fine-tuning, on another text or not."""

    @check(mode="after")
    def _sizes_fit(self) -> Self:
        mistakes = [
            f"slower_levels.{place}.period must be at least that of the level below, {below.period}, got {level.period}"
            for place, (below, level) in enumerate(pairwise(self.slower_levels), start=1)
            if level.period < below.period
        ]
        if self.slower_levels and self.num_layers > 1:
            mistakes.append(f"num_layers must be 1 below slower_levels, got {self.num_layers}")
        if self.output_size != self.hidden_size and (self.slower_levels or self.num_layers == 1):
            alone = "with slower_levels" if self.slower_levels else "of a single layer"
            mistakes.append(
                f"embedding_size must be hidden_size, {self.hidden_size}, where tied is true and all outputs are those "
                f"{alone}, got {self.embedding_size}"
            )
        if self.weight_dropout and self.core == "feedforward":
            mistakes.append(
                f"weight_dropout must be 0 for core feedforward, which has no recurrent weights, got "
                f"{self.weight_dropout:g}"
            )
        of_outputs = self.dropout if self.output_dropout is None else self.output_dropout
        if self.temporal_activation_regularization and of_outputs and not self.locked_dropout:
            mistakes.append(
                "locked_dropout must be true with temporal_activation_regularization, which sees changes of outputs "
                f"before dropout, got false and dropout {of_outputs:g} of outputs"
            )
        if self.adaptive_softmax is not None:
            mistakes += self._adaptive_fits(self.adaptive_softmax)
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    @property
    def output_size(self) -> int:
        """Units of the last layer."""
        return self.embedding_size or self.hidden_size if self.tied else self.hidden_size

    def drops(self, *, again: bool = False) -> dict[str, float]:
        """Return the fields that drop something out, with their rates.

        Args:
            again: those alone whose masks are others when steps of a span run again.
        """
        names = ("dropout", "embedding_dropout", "output_dropout") if not (again and self.locked_dropout) else ()
        names += () if again else ("word_dropout", "weight_dropout")
        return {name: rate for name in names if (rate := getattr(self, name))}

    def _adaptive_fits(self, adaptive: AdaptiveSoftmaxConfig) -> list[str]:
        mistakes = []
        if self.tied:
            mistakes.append("tied must be false with adaptive_softmax, which has no row for each token, got true")
        if self.hidden_size < adaptive.div_value ** len(adaptive.cutoffs):
            mistakes.append(
                f"adaptive_softmax.div_value leaves cluster {len(adaptive.cutoffs)} none of {self.hidden_size} "
                f"features, got {adaptive.div_value:g}: make it or the number of cutoffs smaller"
            )
        return mistakes
