"""What `benchmarks/reach.py` measures: the curriculum's lengths within budgets, by the best of several rates."""

from dataclasses import replace
from pathlib import Path

import pytest
from reach import WHOLE, WINDOWED, Condition, best_rates, make_policy, reached, synthesizer_rates, to_records, train
from runs import run_all

from sgrnn import LSTM
from sgrnn.tasks import Copy

SMALL = Condition("copy", "truncated", 2, 1e-2, 1e-3, seed=0, steps=200, seconds=0.0, hidden_size=4, batch_size=3)


@pytest.mark.parametrize(("budget", "column", "expected"), [(0, 1, 0), (10, 1, 1), (25, 1, 2), (4.0, 2, 3)])
def test_what_counts_is_the_longest_mastered_within_the_budget(budget: float, column: int, expected: int) -> None:
    assert reached([[1, 10, 1.0], [2, 20, 2.0], [3, 30, 3.0]], budget, column) == expected


@pytest.mark.parametrize("method", WINDOWED + WHOLE)
def test_every_method_trains_until_the_budget_is_used_up(method: str) -> None:
    result = train(replace(SMALL, method=method, task="repeat-copy"))
    assert 200 <= result["used"]["steps"] < 200 + 3 * 5, "and no episode longer"
    records = to_records(result)
    assert [record["metric"] for record in records] == ["length at equal steps", "length at equal seconds"]
    assert all(record["method"] == method for record in records)


def test_each_method_and_window_has_its_best_rates() -> None:
    rates = [(1, 1, 3), (1, 1, 9), (1, 1, 4), (1, 2, 5), (1, 2, 5), (1, 2, 5), (2, 1, 4)]
    one = {"metric": "m", "task": "copy", "method": "state", "window": 4}
    made = [{**one, "rate": rate, "synthesizer_rate": its, "value": value} for rate, its, value in rates]
    assert best_rates(made) == made[3:6]


@pytest.mark.parametrize("method", WINDOWED + WHOLE)
def test_rates_of_a_synthesizer_are_tried_where_there_is_one(method: str) -> None:
    learned = list(make_policy(replace(SMALL, method=method), LSTM(10, 4), Copy(3)).parameters())
    assert list(synthesizer_rates(method, 2, [3, 4, 3])) == ([3, 4] if learned else [0])


def test_stopped_it_goes_on(tmp_path: Path) -> None:
    conditions = [SMALL, replace(SMALL, seed=1)]
    first = list(run_all(train, conditions[:1], tmp_path, jobs=1))
    there = next(tmp_path.iterdir())
    before = there.stat().st_mtime_ns
    both = list(run_all(train, conditions, tmp_path, jobs=1))
    assert both[0] == first[0]
    assert there.stat().st_mtime_ns == before
    assert both[1]["condition"]["seed"] == 1
