"""Figures as plain numbers, for JSON."""

from math import isfinite
from typing import Any

from torch import Tensor

from sgrnn.diagnostics import Estimate


def plain(estimate: Estimate) -> dict[str, Any]:
    """A figure and its standard error, by name."""
    return {"value": numbers(estimate.value), "error": numbers(estimate.error)}


def numbers(metrics: Tensor) -> Any:
    """Lists of numbers, None where one is not finite, which JSON does not know."""
    return _finite(metrics.tolist())


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value if isfinite(value) else None
