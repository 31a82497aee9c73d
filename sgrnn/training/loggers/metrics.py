"""The part of a record that is logged elsewhere."""

from collections.abc import Mapping
from typing import Any


def metrics_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a record, without what says when they were logged."""
    return {name: value for name, value in record.items() if name not in ("update", "epoch", "seconds")}
