"""A range of a sweep's space."""

from decimal import Decimal
from typing import Self

from pydantic import PositiveFloat
from pydantic import model_validator as check

from sgrnn.config.section import Section


class Range(Section):
    """Numbers from `low` to `high`, both among them; whole ones for a field that takes whole numbers."""

    low: float
    high: float
    step: PositiveFloat | None = None
    """Between two of them; null for 1 where they are whole, and else for any number."""
    log: bool = False
    """Whether equal ratios are equally likely instead of equal differences."""

    @check(mode="after")
    def _is_a_range(self) -> Self:
        if self.high <= self.low:
            raise ValueError(f"high must be above low, {self.low:g}, got {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 where log is true, got {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("step and log exclude each other: remove one")
        if self.step is not None and (Decimal(str(self.high)) - Decimal(str(self.low))) % Decimal(str(self.step)):
            raise ValueError(f"high must be a whole number of steps, {self.step:g}, above low, got {self.high:g}")
        return self
