"""The section `gradient.source`: the share of synthetic gradients over time."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from sgrnn.config.section import Section, Share

Source = Literal["real", "synthetic"]
Unit = Literal["epochs", "updates"]


class ConstantSourceConfig(Section):
    """A share of synthetic gradients that stays as it is."""

    kind: Literal["constant"] = "constant"
    share: Share = 1.0
    """Share of the synthetic gradient: 0 for real gradients alone."""


class AlternateConfig(Section):
    """Real and synthetic gradients by turns."""

    kind: Literal["alternate"] = "alternate"
    every: PositiveFloat
    """Length of the first turn."""
    growth: Annotated[float, Field(ge=1)] = 1.0
    """Ratio of each turn's length to that of the turn before."""
    unit: Unit = "epochs"
    """Unit of `every`."""
    first: Source = "real"
    """Gradients of the first turn."""


class AtRestartsConfig(Section):
    """By turns, changing whenever the learning rate restarts: needs the schedule `restarts`."""

    kind: Literal["restarts"] = "restarts"
    first: Source = "real"
    """Gradients before the first restart."""


class RampConfig(Section):
    """From one share of synthetic gradients to another."""

    kind: Literal["ramp"] = "ramp"
    start: NonNegativeFloat = 0.0
    """Time at which the share begins to change."""
    stop: PositiveFloat
    """Time from which it stays as it is."""
    before: Share = 0.0
    """Share until `start`."""
    after: Share = 1.0
    """Share from `stop` on."""
    shape: Literal["linear", "cosine"] = "linear"
    """Curve between the two: a line, or half a cosine."""
    unit: Unit = "epochs"
    """Unit of `start` and `stop`."""


class BernoulliConfig(Section):
    """Synthetic with a probability, drawn for every span."""

    kind: Literal["random"] = "random"
    probability: Share
    """Probability that a span has synthetic gradients."""
    seed: NonNegativeInt = 0
    """Seed of the draws."""


SourceConfig = ConstantSourceConfig | AlternateConfig | AtRestartsConfig | RampConfig | BernoulliConfig
