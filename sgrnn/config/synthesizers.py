"""The section `gradient.synthesizer`: how synthetic gradients are predicted."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from sgrnn.config.section import Section


class ErrorSynthesizerConfig(Section):
    """Carries the output gradients of the next steps back by learned Jacobians."""

    kind: Literal["error"] = "error"
    lookahead: PositiveInt = 8
    """Steps ahead whose output gradients are seen."""
    hidden_size: PositiveInt = 32
    """Units of the network that computes the gates."""
    rank: PositiveInt = 8
    """Rank of the learned Jacobian of each step ahead."""
    projection: PositiveInt = 16
    """Features that each input ahead is reduced to."""
    near: PositiveInt = 1
    """Steps ahead whose Jacobians depend on state and inputs; those beyond are constants."""


class DiagonalSynthesizerConfig(Section):
    """Carries the output gradients of the next steps back by constant gains, unit by unit: nearly free."""

    kind: Literal["diagonal"] = "diagonal"
    lookahead: PositiveInt = 8
    """Steps ahead whose output gradients are seen."""
    rank: NonNegativeInt = 0
    """Dimensions that the output gradient of each step crosses units through; 0 for none."""


class AdjointSynthesizerConfig(Section):
    """A learned backward pass through a window, for output gradients and for what arrives at the next boundary."""

    kind: Literal["adjoint"] = "adjoint"
    hidden_size: PositiveInt = 128
    """Units of the network that computes gains and gates."""
    rank: PositiveInt = 32
    """Rank of the learned Jacobian."""
    projection: PositiveInt = 32
    """Features that each input of a window is reduced to."""
    near: PositiveInt | None = None
    """Steps of a window whose Jacobians depend on state and inputs; null for all."""


class MLPSynthesizerConfig(Section):
    """A multi-layer perceptron that sees inputs and targets ahead, as in the literature with a lookahead of 0."""

    kind: Literal["mlp"] = "mlp"
    lookahead: NonNegativeInt = 4
    """Steps ahead that are seen; 0 for the state alone."""
    hidden_sizes: tuple[PositiveInt, ...] = (256,)
    """Units of the hidden layers; [] makes it linear."""
    projection: PositiveInt | None = 32
    """Features that each step ahead is reduced to; null for all."""
    auxiliary: bool = False
    """Predict the gradient at the next boundary, too, by a second head (Jaderberg et al. 2016)."""


SynthesizerConfig = ErrorSynthesizerConfig | DiagonalSynthesizerConfig | AdjointSynthesizerConfig | MLPSynthesizerConfig
