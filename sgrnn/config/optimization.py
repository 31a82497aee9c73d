"""The sections `optimizer`, `synthesizer_optimizer` and `schedule`."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from sgrnn.config.section import Fraction, Section


class Sgd(Section):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: PositiveFloat
    momentum: Fraction = 0.0
    weight_decay: NonNegativeFloat = 0.0


class Adam(Section):
    """Adam; weight decay as an L2 penalty."""

    kind: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0


class AdamW(Section):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: PositiveFloat = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.01


Optimizer = Sgd | Adam | AdamW


class Constant(Section):
    """The learning rate as it is."""

    kind: Literal["constant"] = "constant"


class StepDecay(Section):
    """From epoch `after` on, times `factor` every `every` epochs."""

    kind: Literal["step"] = "step"
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    after: NonNegativeInt = 0
    every: PositiveInt = 1


class Plateau(Section):
    """Times `factor` whenever the validation loss has not improved for `patience` epochs."""

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    patience: PositiveInt = 1


class Cosine(Section):
    """Half a cosine from 1 down to `floor` at the last epoch, after a linear rise over `warmup` epochs."""

    kind: Literal["cosine"] = "cosine"
    floor: Fraction = 0.0
    warmup: NonNegativeFloat = 0.0


class Restarts(Section):
    """Half a cosine from 1 down to `floor`, again and again (SGDR)."""

    kind: Literal["restarts"] = "restarts"
    period: PositiveFloat
    """Epochs to the first restart."""
    growth: Annotated[float, Field(ge=1)] = 1.0
    """Of each period over the one before: 2 doubles it."""
    floor: Fraction = 0.0


Schedule = Constant | StepDecay | Plateau | Cosine | Restarts
