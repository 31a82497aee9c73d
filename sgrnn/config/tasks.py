"""The section `task`: what is learned where there is no text."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic import model_validator as check

from sgrnn.config.section import Section


class Mnist(Section):
    """Sequential MNIST; an epoch goes once through the images."""

    kind: Literal["mnist"] = "mnist"
    by: Literal["pixel", "row"] = "pixel"
    """What is read at a step."""


class _Drawn(Section):
    """A task whose episodes are drawn without end."""

    episodes_per_epoch: PositiveInt = 1000
    """Between two evaluations. Where episodes grow and are cut into spans, an epoch has as many updates as so many
    episodes of the first length have."""


class _Grown(_Drawn):
    """A task of vectors to be given again, which grows as it is mastered."""

    bits: PositiveInt = 8
    vectors: PositiveInt = 1
    """To begin with."""
    threshold: PositiveFloat = 0.15
    """Loss in bits per output bit under which an episode counts as mastered."""


class Copy(_Grown):
    """Give the vectors that were read; their number is raised."""

    kind: Literal["copy"] = "copy"


class RepeatCopy(_Grown):
    """Give the vectors that were read several times over; both numbers are raised."""

    kind: Literal["repeat-copy"] = "repeat-copy"
    repeats: PositiveInt = 1
    """To begin with."""
    repeats_scale: PositiveInt = 10
    """The number of repeats that is shown as 1."""


class Adding(_Drawn):
    """Give the sum of the two numbers that were marked."""

    kind: Literal["adding"] = "adding"
    lag: PositiveInt
    """Steps from one to the other."""
    steps: PositiveInt | None = None
    """Of an episode; null for twice the lag."""

    @check(mode="after")
    def _has_room_for_the_lag(self) -> Self:
        if self.steps is not None and self.steps <= self.lag:
            raise ValueError(f"steps must be more than the lag, {self.lag}, got {self.steps}")
        return self


class Recall(_Drawn):
    """Name a token some steps after it was read."""

    kind: Literal["recall"] = "recall"
    lag: PositiveInt
    """Steps in between."""
    tokens: Annotated[int, Field(ge=2)] = 8
    """How many there are."""


Task = Copy | RepeatCopy | Adding | Recall | Mnist
