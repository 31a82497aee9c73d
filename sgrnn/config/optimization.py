"""The sections `optimizer`, `synthesizer_optimizer`, `schedule` and `average`."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from sgrnn.config.section import Fraction, PositiveShare, Section, Share


class SgdConfig(Section):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: PositiveFloat
    """Learning rate, before a schedule's factor."""
    momentum: Fraction = 0.0
    """Share of the last step that the next one keeps."""
    weight_decay: NonNegativeFloat = 0.0
    """Factor of the L2 penalty."""


class AdamConfig(Section):
    """Adam; weight decay as an L2 penalty."""

    kind: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    """Learning rate, before a schedule's factor."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay per update of the running means of the gradient and of its square."""
    weight_decay: NonNegativeFloat = 0.0
    """Factor of the L2 penalty."""


class AdamWConfig(Section):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: PositiveFloat = 1e-3
    """Learning rate, before a schedule's factor."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay per update of the running means of the gradient and of its square."""
    weight_decay: NonNegativeFloat = 0.01
    """Share of a parameter that is taken off at each update, times the learning rate."""


class MuonConfig(Section):
    """Muon for the weight matrices of recurrent layers, AdamW for all else (`sgrnn.Muon`)."""

    kind: Literal["muon"] = "muon"
    learning_rate: PositiveFloat = 3e-3
    """Learning rate of both, before a schedule's factor; one that suits Adam suits it."""
    momentum: Fraction = 0.95
    """Share of the running mean of a matrix's gradient that each update keeps."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay per update of AdamW's running means."""
    weight_decay: NonNegativeFloat = 0.0
    """Share of a parameter that is taken off at each update, times the learning rate."""


SynthesizerOptimizerConfig = SgdConfig | AdamConfig | AdamWConfig
OptimizerConfig = SynthesizerOptimizerConfig | MuonConfig


class ConstantRateConfig(Section):
    """A learning rate that stays as it is."""

    kind: Literal["constant"] = "constant"


class StepDecayConfig(Section):
    """A learning rate multiplied by `factor` every `every` epochs, from epoch `after` on."""

    kind: Literal["step"] = "step"
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Factor on the learning rate."""
    after: NonNegativeInt = 0
    """Epochs before it is first multiplied."""
    every: PositiveInt = 1
    """Epochs from one time to the next."""


class PlateauConfig(Section):
    """A learning rate multiplied by `factor` whenever the validation loss has not improved for `patience` epochs.

    With a patience of 1 that is at every epoch which ends no better than the best one before.
    """

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Factor on the learning rate."""
    patience: PositiveInt = 1
    """Epochs without improvement that are waited for."""


class CosineConfig(Section):
    """Half a cosine, down to `floor` of the rate at the last epoch, after a linear rise over `warmup` epochs."""

    kind: Literal["cosine"] = "cosine"
    floor: Fraction = 0.0
    """Share of the rate at the end."""
    warmup: NonNegativeFloat = 0.0
    """Epochs over which the rate rises from 0."""


class WarmRestartsConfig(Section):
    """Half a cosine, down to `floor` of the rate, again and again (SGDR, Loshchilov & Hutter 2017)."""

    kind: Literal["restarts"] = "restarts"
    period: PositiveFloat
    """Epochs to the first restart."""
    growth: Annotated[float, Field(ge=1)] = 1.0
    """Ratio of each period to the one before: 2 doubles it."""
    floor: Fraction = 0.0
    """Share of the rate just before a restart."""


class OneCycleConfig(Section):
    """Half a cosine up to the rate and another down, once in the whole training (one cycle, Smith & Topin 2018)."""

    kind: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the epochs over which the rate rises."""
    start: PositiveShare = 0.04
    """Share of the rate at the beginning."""
    floor: Share = 4e-6
    """Share of the rate at the end."""


class TriggeredAverageConfig(Section):
    """Mean of the model's weights since the validation loss stalled (NT-ASGD, Merity et al. 2018)."""

    kind: Literal["triggered"] = "triggered"
    non_monotone: NonNegativeInt = 5
    """Number n of the last epochs that are not looked at: the mean begins where the validation loss after an epoch is
    above the best of those more than n epochs before."""


class ExponentialAverageConfig(Section):
    """Mean of the model's weights after every update, the earlier ones counting less and less."""

    kind: Literal["exponential"] = "exponential"
    decay: Fraction = 0.999
    """Share of the mean that each update leaves."""


AverageConfig = TriggeredAverageConfig | ExponentialAverageConfig
ScheduleConfig = (
    ConstantRateConfig | StepDecayConfig | PlateauConfig | CosineConfig | OneCycleConfig | WarmRestartsConfig
)
