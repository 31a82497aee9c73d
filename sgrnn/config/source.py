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


class AlternateConfig(Section):
    """Real and synthetic gradients by turns."""

    kind: Literal["alternate"] = "alternate"
    every: PositiveFloat
    """Length of the first turn."""
    growth: Annotated[float, Field(ge=1)] = 1.0
    """Ratio of each turn's length to that of the turn before."""
    unit: Unit = "epochs"
    first: Source = "real"


class AtRestartsConfig(Section):
    """By turns, changing whenever the learning rate restarts: needs the schedule `restarts`."""

    kind: Literal["restarts"] = "restarts"
    first: Source = "real"


class RampConfig(Section):
    """From one share of synthetic gradients to another."""

    kind: Literal["ramp"] = "ramp"
    start: NonNegativeFloat = 0.0
    stop: PositiveFloat
    before: Share = 0.0
    after: Share = 1.0
    shape: Literal["linear", "cosine"] = "linear"
    unit: Unit = "epochs"


class BernoulliConfig(Section):
    """Synthetic with a probability, drawn for every span."""

    kind: Literal["random"] = "random"
    probability: Share
    seed: NonNegativeInt = 0


SourceConfig = ConstantSourceConfig | AlternateConfig | AtRestartsConfig | RampConfig | BernoulliConfig
