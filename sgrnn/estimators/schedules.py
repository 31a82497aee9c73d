"""Schedules: the share of the synthetic gradient in what crosses a boundary, as a function of time.

A schedule is any function from time to a share in [0, 1]: 1 leaves everything to the synthesizer, 0 to the real
gradient. Those here are pure: their value depends on the time alone, so that a run that is resumed goes on as if it
had never stopped. Time is counted in whatever unit the user counts it: updates, epochs.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, floor, pi

from sgrnn.errors import require_share

Schedule = Callable[[float], float]
_ROUNDING = 1e-9  # that a cycle of 0.1 ends at 0.3 where 3 x 0.1 does not


@dataclass(frozen=True)
class WarmRestarts:
    """Cycles one after another, each `growth` times as long as the one before: the clock of warm restarts.

    A learning rate annealed within each cycle and a schedule that switches between them (`Alternate`) may share one.

    Args:
        period: length of the first cycle.
        growth: 1 for cycles of equal length, 2 for doubling ones (Loshchilov & Hutter 2017, SGDR: T_0 and T_mult).
    """

    period: float
    growth: float = 1.0

    def __post_init__(self) -> None:
        if self.period <= 0:
            raise ValueError(f"period must be above 0, got {self.period}")
        if self.growth < 1:
            raise ValueError(f"growth must be at least 1, got {self.growth}")

    def position(self, time: float) -> tuple[int, float]:
        """Return the number of the cycle that a time falls in, from 0, and the share of it that has passed.

        >>> [WarmRestarts(5, growth=2).position(time) for time in (0, 4, 5, 10, 15)]
        [(0, 0.0), (0, 0.8), (1, 0.0), (1, 0.5), (2, 0.0)]
        """
        if self.growth == 1:
            number, length = floor(time / self.period + _ROUNDING), self.period
            start = number * length
        else:
            number, start, length = 0, 0.0, self.period
            while time >= (start + length) * (1 - _ROUNDING):
                start, length, number = start + length, length * self.growth, number + 1
        return number, max(time - start, 0.0) / length

    def annealed(self, time: float, lowest: float = 0.0) -> float:
        """Return the factor on a learning rate that falls by half a cosine within each cycle (SGDR, equation 5).

        >>> [round(WarmRestarts(4).annealed(time, lowest=0.1), 3) for time in (0, 2, 3.999, 4)]
        [1.0, 0.55, 0.1, 1.0]
        """
        return lowest + (1 - lowest) * half_cosine(self.position(time)[1])


@dataclass(frozen=True)
class Constant:
    """Share that does not change with time."""

    share: float = 1.0

    def __post_init__(self) -> None:
        require_share("share", self.share)

    def __call__(self, time: float) -> float:
        """Return the share at a time."""
        return self.share


@dataclass(frozen=True)
class Alternate:
    """Alternation of real and synthetic gradients, for a cycle each (Shang & Zhang 2019).

    Args:
        cycles: the clock; at the end of each cycle the source changes.
        first: share in the first cycle; it is 1 minus this in the next.

    >>> alternate = Alternate(WarmRestarts(2))
    >>> [alternate(time) for time in range(6)]
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    """

    cycles: WarmRestarts
    first: float = 0.0

    def __post_init__(self) -> None:
        require_share("first", self.first)

    def __call__(self, time: float) -> float:
        """Return the share at a time."""
        return 1 - self.first if self.cycles.position(time)[0] % 2 else self.first


@dataclass(frozen=True)
class Ramp:
    """A share that goes from one value to another, along a line or half a cosine.

    Args:
        stop: time at which it ends.
        start: time at which it begins.
        before: share until `start`.
        after: share from `stop` on.
        shape: ``linear`` or ``cosine``.

    >>> ramp = Ramp(stop=4)
    >>> [ramp(time) for time in (0, 1, 2, 4, 9)]
    [0.0, 0.25, 0.5, 1.0, 1.0]
    """

    stop: float
    start: float = 0.0
    before: float = 0.0
    after: float = 1.0
    shape: str = "linear"

    def __post_init__(self) -> None:
        require_share("before", self.before)
        require_share("after", self.after)
        if self.stop <= self.start:
            raise ValueError(f"stop must be above start, {self.start}, got {self.stop}")
        if self.shape not in ("linear", "cosine"):
            raise ValueError(f"shape must be linear or cosine, got {self.shape!r}")

    def __call__(self, time: float) -> float:
        """Return the share at a time."""
        passed = min(max((time - self.start) / (self.stop - self.start), 0.0), 1.0)
        if self.shape == "cosine":
            passed = 1 - half_cosine(passed)
        return self.before + (self.after - self.before) * passed


@dataclass(frozen=True)
class Bernoulli:
    """Share of 1 with a probability, otherwise 0, drawn anew for every time.

    The draw depends on seed and time alone, so that the same time always gives the same answer.

    Args:
        probability: of a share of 1.
        seed: of the draws.
    """

    probability: float
    seed: int = 0

    def __post_init__(self) -> None:
        require_share("probability", self.probability)

    def __call__(self, time: float) -> float:
        """Return the share at a time, 0 or 1."""
        return float(random.Random(f"{self.seed} {float(time)!r}").random() < self.probability)


def half_cosine(passed: float) -> float:
    """Return half a cosine of the share that has passed, which falls from 1 at 0 to 0 at 1."""
    return (1 + cos(pi * passed)) / 2
