"""What `benchmarks/reach.py` measures: the curriculum's lengths within budgets, by the best of several rates."""

import pytest
from frame import Condition
from reach import WHOLE, WINDOWED, build_estimator, draw, records_of, show, synthesizer_rates, train
from readings import cells, dots, lines
from shown import BLACK, BLUE, GREEN

from sgrnn.cores import LSTM
from sgrnn.tasks import Copy

SMALL = {
    "task": "repeat-copy", "method": "truncated", "window": 2, "rate": 1e-2, "synthesizer_rate": 1e-3, "seed": 0,
    "steps": 20, "seconds": 2.5, "hidden_size": 4, "batch_size": 3, "optimizer": "adam", "precision": "float32",
}  # fmt: skip


def test_what_counts_is_the_longest_mastered_within_the_budget() -> None:
    used = {"episodes": 9, "target_r2": 0.5}
    mastered = [[1, 10, 1.0], [2, 20, 2.0], [3, 21, 3.0]]
    for fields, lengths in (({}, [2, 2]), ({"steps": 9, "seconds": 4.0}, [0, 3]), ({"steps": 21}, [3, 2])):
        records = records_of(Condition(SMALL | fields), {"mastered": mastered, "used": used})
        assert [r["value"] for r in records] == lengths
        assert [r["metric"] for r in records] == ["length at equal steps", "length at equal seconds"]
        assert [r["budget"] for r in records] == [(SMALL | fields)["steps"], (SMALL | fields)["seconds"]]


def test_every_method_trains_until_the_budget_is_used_up_a_synthesizer_at_its_rates() -> None:
    task = Copy(3)
    core = LSTM(task.input_size, 4)
    for method in WINDOWED + WHOLE:
        used = train(**SMALL | {"method": method, "steps": 40, "seconds": 0.0})["used"]
        assert 40 <= used["steps"] < 40 + 3 * 5, "and no episode longer"
        other = train(**SMALL | {"method": method, "seconds": 0.0, "optimizer": "muon", "precision": "bfloat16"})
        assert other["used"]["steps"] >= SMALL["steps"]
        learned = list(build_estimator(method, 2, core, task.loss, task.input_size).parameters())
        assert list(synthesizer_rates(method, 2, [3, 4, 3])) == ([3, 4] if learned else [0])


def test_table_and_figure_show_the_best_rates_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    records = []
    for method, window, rate, values in (
        ("truncated", 2, 1, (1, 2, 4)), ("truncated", 4, 1, (3, 3, 3)), ("truncated", 4, 2, (2, 9, 2)),
        ("synthetic", 4, 1, (5, 7, 6)), ("full", 0, 1, (8, 8, 9)),
    ):  # fmt: skip
        for value in values:
            place = {"task": "copy", "method": method, "window": window, "rate": rate, "synthesizer_rate": 0}
            place["optimizer"] = "adam"
            records.append({"metric": "length at equal steps", "value": value, "budget": 600.0, **place})
    show(records)
    printed = cells(capsys.readouterr().out)
    assert printed[""] == ["no window", "T=2", "T=4"]
    assert printed["full"] == ["8 (8 to 9)", "", ""]
    assert printed["truncated"] == ["", "2 (1 to 4)", "3 (3 to 3)"]
    assert printed["synthetic"] == ["", "", "6 (5 to 7)"]
    (axes,) = draw(records).axes
    drawn = lines(axes)
    assert drawn["truncated"] == ([0, 2], [2, 3], BLUE), "windows 2, 3, 4 and 5 side by side"
    assert (drawn["synthetic"], drawn["full"][1:]) == (([2], [6], GREEN), ([8, 8], BLACK))
    assert drawn["published DNI (other budget)"][1] == [16, 14, 18, 18]
    assert {(0, 1), (0, 4), (2, 5), (2, 7)} <= dots(axes)
