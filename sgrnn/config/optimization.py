"""The sections `optimizer`, `synthesizer_optimizer` and `schedule`."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from sgrnn.config.section import Fraction, Section


class SgdConfig(Section):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: PositiveFloat
    momentum: Fraction = 0.0
    weight_decay: NonNegativeFloat = 0.0


class AdamConfig(Section):
    """Adam; weight decay as an L2 penalty."""

    kind: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0


class AdamWConfig(Section):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: PositiveFloat = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.01


OptimizerConfig = SgdConfig | AdamConfig | AdamWConfig


class ConstantRateConfig(Section):
    """A learning rate that stays as it is."""

    kind: Literal["constant"] = "constant"


class StepDecayConfig(Section):
    """A learning rate multiplied by `factor` every `every` epochs, from epoch `after` on."""

    kind: Literal["step"] = "step"
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    after: NonNegativeInt = 0
    every: PositiveInt = 1


class PlateauConfig(Section):
    """A learning rate multiplied by `factor` whenever the validation loss has not improved for `patience` epochs."""

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    patience: PositiveInt = 1


class CosineConfig(Section):
    """Half a cosine, down to `floor` of the rate at the last epoch, after a linear rise over `warmup` epochs."""

    kind: Literal["cosine"] = "cosine"
    floor: Fraction = 0.0
    warmup: NonNegativeFloat = 0.0


class WarmRestartsConfig(Section):
    """Half a cosine, down to `floor` of the rate, again and again (SGDR, Loshchilov & Hutter 2017)."""

    kind: Literal["restarts"] = "restarts"
    period: PositiveFloat
    """Epochs to the first restart."""
    growth: Annotated[float, Field(ge=1)] = 1.0
    """Ratio of each period to the one before: 2 doubles it."""
    floor: Fraction = 0.0


ScheduleConfig = ConstantRateConfig | StepDecayConfig | PlateauConfig | CosineConfig | WarmRestartsConfig
