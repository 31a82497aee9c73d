"""The section `gradient`: what crosses a boundary backwards, predicted by what, and when."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic import model_validator as check

from sgrnn.config.section import Section


class BPTT(Section):
    """Back-propagation through the whole span."""

    kind: Literal["full"] = "full"


class TruncatedBPTT(Section):
    """Nothing crosses a boundary."""

    kind: Literal["truncated"] = "truncated"
    window: PositiveInt
    parallel: bool | None = None
    """Whether the windows of a span run as one batch; null for where that is faster, with interfaces never."""


class ExactAhead(Section):
    """The exact gradient of the next steps crosses every boundary: a rival of synthetic ones that sees as far."""

    kind: Literal["exact"] = "exact"
    window: PositiveInt
    lookahead: PositiveInt = 8
    """Steps beyond each window."""
    parallel: bool | None = None
    """As of `truncated`."""


class ErrorSynthesizer(Section):
    """Carries the errors that the model makes in the next steps back by learned Jacobians."""

    kind: Literal["error"] = "error"
    lookahead: PositiveInt = 8
    hidden_size: PositiveInt = 128
    """Units of the network that computes the gates."""
    rank: PositiveInt = 32
    """Of the learned Jacobian of each step ahead."""
    projection: PositiveInt = 32
    """Features that each input ahead is reduced to."""
    near: PositiveInt = 2
    """Steps ahead whose Jacobians depend on state and inputs; those beyond are constants."""


class AdjointSynthesizer(Section):
    """A learned backward pass: carries errors, and what arrives at the next boundary, back by learned Jacobians."""

    kind: Literal["adjoint"] = "adjoint"
    hidden_size: PositiveInt = 128
    """Units of the network that computes gains and gates."""
    rank: PositiveInt = 32
    """Of the learned Jacobian."""
    projection: PositiveInt = 32
    """Features that each input of a window is reduced to."""
    near: PositiveInt | None = None
    """Steps of a window whose Jacobians depend on state and inputs; null for all."""


class MLPSynthesizer(Section):
    """A multi-layer perceptron that sees the tokens ahead, as in the literature with a lookahead of 0."""

    kind: Literal["mlp"] = "mlp"
    lookahead: NonNegativeInt = 4
    hidden_sizes: tuple[PositiveInt, ...] = (256,)
    """Units of the synthesizer's hidden layers; [] makes it linear."""
    projection: PositiveInt | None = 32
    """Features that each step ahead is reduced to; null for all."""
    auxiliary: bool = False


Share = Annotated[float, Field(ge=0, le=1)]
Source = Literal["real", "synthetic"]
Unit = Literal["epochs", "updates"]


class ConstantSource(Section):
    """The same share of synthetic gradients at all times."""

    kind: Literal["constant"] = "constant"
    share: Share = 1.0


class Alternate(Section):
    """Real and synthetic gradients by turns."""

    kind: Literal["alternate"] = "alternate"
    every: PositiveFloat
    """Length of the first turn."""
    growth: Annotated[float, Field(ge=1)] = 1.0
    """Of each turn's length over that of the one before."""
    unit: Unit = "epochs"
    first: Source = "real"


class AtRestarts(Section):
    """By turns, changing whenever the learning rate restarts: needs the schedule `restarts`."""

    kind: Literal["restarts"] = "restarts"
    first: Source = "real"


class Ramp(Section):
    """From one share of synthetic gradients to another."""

    kind: Literal["ramp"] = "ramp"
    start: NonNegativeFloat = 0.0
    stop: PositiveFloat
    before: Share = 0.0
    after: Share = 1.0
    shape: Literal["linear", "cosine"] = "linear"
    unit: Unit = "epochs"

    @check(mode="after")
    def _has_a_length(self) -> Self:
        if self.stop <= self.start:
            raise ValueError(f"stop must be above start, {self.start:g}, got {self.stop:g}")
        return self


class Bernoulli(Section):
    """Synthetic with a probability, drawn for every span."""

    kind: Literal["random"] = "random"
    probability: Share
    seed: NonNegativeInt = 0


class Grounding(Section):
    """Now and then a span in which the synthetic gradients are those of a longer window."""

    every: PositiveInt
    """Spans."""
    window: PositiveInt


class SyntheticGradients(Section):
    """Synthetic gradients cross the boundaries, always or as `source` says."""

    kind: Literal["synthetic"] = "synthetic"
    window: PositiveInt
    synthesizer: Annotated[ErrorSynthesizer | AdjointSynthesizer | MLPSynthesizer, Field(discriminator="kind")] = (
        ErrorSynthesizer()
    )
    run_ahead: NonNegativeInt | None = None
    """Steps that the model is run beyond the span, for a synthesizer that sees errors to know those there; null for as
    many as it sees."""
    trace_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """lambda of TD(lambda): how much of the real gradient crosses the boundaries inside a span."""
    discount: Annotated[float, Field(ge=0, le=1)] = 1.0
    remove_mean: bool = False
    remove_radial: bool = True
    shrinkage: bool = True
    shuffle: bool = False
    """A control: every row gets the prediction made for another, and the synthesizer learns from what that does."""
    parallel: bool | None = None
    """Whether the windows of a span run as one batch; null for where that is faster, with interfaces never."""
    source: Annotated[ConstantSource | Alternate | AtRestarts | Ramp | Bernoulli, Field(discriminator="kind")] = (
        ConstantSource()
    )
    """Who supplies the gradient at a boundary."""
    real_window: PositiveInt | None = None
    """Steps that real gradients go back while it is their turn; null for the whole span."""
    grounding: Grounding | None = None


Gradient = BPTT | TruncatedBPTT | ExactAhead | SyntheticGradients
