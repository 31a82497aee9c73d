"""What `benchmarks/schedules.py` makes of its runs."""

import pytest
from schedules import REAL, cumulative_seconds, summarize

from sgrnn.config.files import load_recipe


def rows(epochs: int) -> list[dict]:
    return [
        {"update": 10 * epoch, "epoch": float(epoch), "valid_loss": 1.0, "valid_perplexity": 200.0 - epoch}
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("schedule-synthetic", [20, 40, 60, 80, 100, 120, 140]),
        ("schedule-alternating-doubling", [10, 30, 50, 60, 70, 80, 90]),
        ("schedule-alternating-half", [10, 20, 30, 45, 65, 85, 105]),
    ],
)
def test_the_time_of_a_run_is_that_of_its_updates_by_their_source(name: str, expected: list[float]) -> None:
    recipe = load_recipe(name)
    assert cumulative_seconds(recipe, rows(7), 1.0, 2.0) == pytest.approx(expected)
    record = summarize(name, 0, recipe, rows(7), {REAL: 1.0, name: 2.0})
    assert (record["value"], record["time_ratio"]) == (193.0, pytest.approx(expected[-1] / 70))
    assert [place[1] for place in record["curve"]] == pytest.approx(expected)


def test_the_best_evaluation_is_told_with_its_epoch_and_time() -> None:
    found = rows(7)
    found[4]["valid_perplexity"] = 150.0
    costs = {REAL: 1.0, "schedule-synthetic": 2.0}
    record = summarize("schedule-synthetic", 0, load_recipe("schedule-synthetic"), found, costs)
    assert (record["value"], record["best_epoch"], record["best_time"]) == (150.0, 5, pytest.approx(100 / 70))
    assert record["time_ratio"] == pytest.approx(2)


def test_a_diverged_run_has_no_value() -> None:
    record = summarize(
        "schedule-synthetic", 0, load_recipe("schedule-synthetic"), [], {REAL: 1, "schedule-synthetic": 2}
    )
    assert (record["value"], record["curve"]) == (None, [])
