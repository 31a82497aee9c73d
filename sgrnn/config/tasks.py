"""The section `task`: what is learned where there is no text."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from sgrnn.config.section import Section


class MnistConfig(Section):
    """Name the digit that was read; an epoch goes once through the images."""

    kind: Literal["mnist"] = "mnist"
    by: Literal["pixel", "row", "image"] = "pixel"
    """Pixels that are read in a step: one, a row of them, or the whole image, for the core feedforward."""


class _Drawn(Section):
    """A task whose episodes are drawn without end."""

    episodes_per_epoch: PositiveInt = 1000
    """Episodes between two evaluations. Where they grow and are cut into spans, an epoch has as many updates as so many
    episodes of the first length."""


class _Grown(_Drawn):
    """A task of vectors to be repeated, which grows as it is mastered."""

    bits: PositiveInt = 8
    """Bits of a vector."""
    vectors: PositiveInt = 1
    """Number at the beginning of training."""
    threshold: PositiveFloat = 0.15
    """Loss in bits per output bit under which an episode counts as mastered."""


class CopyConfig(_Grown):
    """Give the vectors that were read; their number is raised."""

    kind: Literal["copy"] = "copy"


class RepeatCopyConfig(_Grown):
    """Give the vectors that were read several times over; both numbers are raised."""

    kind: Literal["repeat-copy"] = "repeat-copy"
    repeats: PositiveInt = 1
    """Number at the beginning of training."""
    repeats_scale: PositiveInt = 10
    """Number of repeats that the model's input shows as 1."""


class AddingConfig(_Drawn):
    """Give the sum of the two numbers that were marked."""

    kind: Literal["adding"] = "adding"
    lag: PositiveInt
    """Steps from one marked number to the other."""
    steps: PositiveInt | None = None
    """Steps of an episode, more than the lag; null for twice the lag."""


class RecallConfig(_Drawn):
    """Name a token some steps after it was read."""

    kind: Literal["recall"] = "recall"
    lag: PositiveInt
    """Steps between reading a token and naming it."""
    tokens: Annotated[int, Field(ge=2)] = 8
    """Number of different tokens."""


TaskConfig = CopyConfig | RepeatCopyConfig | AddingConfig | RecallConfig | MnistConfig
