"""What `benchmarks/schedules.py` makes of its runs."""

import pytest
from frame import Condition, Record
from readings import cells, dots, lines
from schedules import REAL, draw, score, show
from shown import GREEN, ORANGE

from sgrnn.config.files import load_recipe

COSTS = {
    REAL: 1.0, "schedule-synthetic": 2.0, "schedule-alternating-doubling": 2.0, "schedule-alternating-half": 2.0
}  # fmt: skip


def scored(name: str, seed: int, best: float = 193.0) -> Record:
    rows = [
        {"update": 10 * n, "epoch": float(n), "seconds": 1, "valid_loss": 1.0, "valid_perplexity": 200.0 - n}
        for n in range(1, 8)
    ]
    rows[4]["valid_perplexity"] = best
    fields = {"seed": seed, "recipe": name}
    return score(Condition(fields, load_recipe(name)), rows, COSTS) | fields


def test_the_time_of_a_run_is_that_of_its_updates_by_their_source() -> None:
    for name, expected in {
        "schedule-synthetic": [20, 40, 60, 80, 100, 120, 140],
        "schedule-alternating-doubling": [10, 30, 50, 60, 70, 80, 90],
        "schedule-alternating-half": [10, 20, 30, 45, 65, 85, 105],
    }.items():
        record = scored(name, 0, best=150.0)
        assert [70 * place[1] for place in record["curve"]] == pytest.approx(expected)
        assert (record["value"], record["best_epoch"]) == (150.0, 5)
        assert (record["time_ratio"], record["best_time"]) == pytest.approx((expected[-1] / 70, expected[4] / 70))


def test_table_and_figure_show_medians_and_a_diverged_run_is_in_neither(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("schedule-synthetic", "schedule-alternating-half")
    records = [scored(name, seed, 150.0 + seed) for name in names for seed in (0, 1, 5)]
    fields = {"seed": 0, "recipe": "schedule-alternating-doubling"}
    diverged = score(Condition(fields, load_recipe("schedule-alternating-doubling")), [], COSTS) | fields
    assert (diverged["value"], diverged["curve"]) == (None, [])
    show([*records, diverged])
    printed = cells(capsys.readouterr().out)
    assert printed["schedule-synthetic"] == ["151.00 (150.00 to 155.00)", "5", "1.43", "2.00"]
    assert printed["schedule-alternating-half"] == ["151.00 (150.00 to 155.00)", "5", "0.93", "1.50"]
    assert printed["schedule-alternating-doubling"] == ["inf", "nan", "nan", "nan"]
    by_epoch, by_time = draw([*records, diverged]).axes
    middle = [199.0, 198.0, 197.0, 196.0, 151.0, 194.0, 193.0]
    assert lines(by_epoch) == {
        "synthetic": ([1, 2, 3, 4, 5, 6, 7], middle, GREEN), "alternating-half": ([1, 2, 3, 4, 5, 6, 7], middle, ORANGE)
    }  # fmt: skip
    assert lines(by_time)["synthetic"][0] == pytest.approx([2 * n / 7 for n in range(1, 8)])
    assert {(5.0, 150.0), (5.0, 155.0)} <= dots(by_epoch)
