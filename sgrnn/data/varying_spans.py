"""Spans whose lengths are drawn anew at every pass through a text (Merity, Keskar & Socher 2018, section 5)."""

from statistics import NormalDist
from typing import final

import numpy as np
from numpy.typing import NDArray

from sgrnn.errors import InputError, at_least, require_share

WIDEST = 100
"""The largest standard deviation, in base lengths."""


@final
class VaryingSpans:
    """Places at which a text is cut into spans of varying length, so that no step is always the first or last of one.

    A length is drawn from a normal distribution around the base, now and then around half of it, rounded down and at
    least `least`; the last of a pass is what is left. Lengths are a function of seed and number of the span alone.

    >>> spans = VaryingSpans(base=10, deviation=2.0, least=3, seed=1)
    >>> [spans.limits(position, steps=40) for position in range(5)]
    [(0, 9), (9, 15), (15, 25), (25, 34), (34, 40)]

    Args:
        base: length that is varied.
        base_probability: with which it is the mean, and not half of it.
        deviation: standard deviation around the mean.
        least: the shortest length but for the last span of a pass.
        seed: of the lengths.

    Raises:
        InputError: a number out of range.
    """

    def __init__(
        self, base: int, *, base_probability: float = 0.95, deviation: float = 5.0, least: int = 5, seed: int = 0
    ) -> None:
        at_least("base", base, 1, kind=InputError)
        at_least("least", least, 1, kind=InputError)
        if least > base:
            raise InputError(f"least must be at most base, {base}, got {least}")
        require_share("base_probability", base_probability, kind=InputError)
        if not 0 < deviation <= WIDEST * base:  # the mean adds up the chances of all lengths that may be drawn
            raise InputError(f"deviation must be above 0 and at most {WIDEST} times base, {base}, got {deviation}")
        self.base, self.base_probability, self.deviation, self.least, self.seed = (
            base, base_probability, deviation, least, seed,
        )  # fmt: skip
        self._pass = (-1, 0, np.empty(0, np.int64))  # number, position of its first span, ends of its spans

    @property
    def mean(self) -> float:
        """Expected length: the sum of the chances to be at least so long."""
        longest = round(self.base + 10 * self.deviation)
        return self.least + sum(
            chance * (1 - NormalDist(mean, self.deviation).cdf(length))
            for chance, mean in ((self.base_probability, self.base), (1 - self.base_probability, self.base / 2))
            for length in range(self.least + 1, longest + 1)
        )

    def limits(self, position: int, steps: int) -> tuple[int, int]:
        """Return the steps between which a span lies.

        Args:
            position: number of the span, of all passes from the first.
            steps: of a pass.
        """
        number, began, ends = self._pass
        if position < began or (len(ends) and ends[-1] != steps):
            number, began, ends = -1, 0, ends[:0]
        while position >= began + len(ends):
            number, began, ends = number + 1, began + len(ends), self._ends(number + 1, steps)
        self._pass = (number, began, ends)
        place = position - began
        return int(ends[place - 1]) if place else 0, int(ends[place])

    def _ends(self, number: int, steps: int) -> NDArray[np.int64]:
        """Return the steps at which the spans of a pass end."""
        draw = np.random.default_rng([self.seed, number])
        spans = -(-steps // self.least)  # no more are needed
        means = np.where(draw.random(spans) < self.base_probability, self.base, self.base / 2)
        lengths = np.floor(draw.normal(means, self.deviation)).astype(np.int64)
        ends = np.cumsum(np.maximum(lengths, self.least))
        return np.append(ends[ends < steps], steps)
