"""What trials are judged by, and what figures call it."""

from pathlib import Path
from typing import Any

import pytest

from sgrnn.sweep.results import Result, score_of, unit_of


@pytest.mark.parametrize(
    ("record", "unit", "score"),
    [
        ({"valid_loss": 0.25, "valid_bits_per_character": 2.0}, "bits per character", 2.0),
        ({"valid_loss": 0.25, "valid_accuracy": 0.5}, "validation loss", 0.25),
        ({"valid_loss": 0.25, "valid_length": 7}, "loss / (1 + loss) - length", 0.25 / (1 + 0.25) - 7),
    ],
)
def test_figures_name_the_score_that_trials_are_judged_by(record: dict[str, Any], unit: str, score: float) -> None:
    assert score_of(record) == score
    failed = Result(0, "failed", {}, None, {}, Path("0000"))
    assert unit_of([failed, Result(1, "complete", {}, score, record, Path("0001"))]) == unit
