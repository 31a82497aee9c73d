"""What all benchmarks share: options and their messages, names of runs, records, results that are kept, scores."""

import importlib
import sys
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import frame
import pytest
from frame import Condition, Record, benchmark, best_settings, grid, run_all, score_of, train_recipes
from matplotlib.figure import Figure
from shown import new_figure

from sgrnn.errors import InputError

REFUSED = [
    ("digits", "--clips -1", "argument --clips: must be a number above 0, got -1"),
    ("digits", "--rates nan", "argument --rates: must be a number above 0, got nan"),
    ("digits", "--digits 5", "--digits must be at least those of an update, 1600, got 5"),
    ("reach", "--seeds one", "argument --seeds: must be a whole number from 0 on, got one"),
    ("speed", "--rounds 1", "argument --rounds: must be a whole number from 2 on, got 1"),
    ("cost", "--rounds 1", "argument --rounds: must be a whole number from 2 on, got 1"),
    ("speed", "--models 2x", "argument --models: must be a whole number from 1 on, got "),
    ("quality", "--from nowhere.json", "cannot read the records in nowhere.json: [Errno 2] No such file"),
    ("hierarchy", "--from other.json", "other.json must hold a list of records, each with a metric"),
    ("stationary", "--methods stationary --windows 5", "nothing to show: no condition is left by these options"),
    ("schedules", "--quick", "sgrnn data fetch ptb"),
    ("speed", "--from none.json", "or no record is in these files"),
    ("speed", "--from of_another.json", "these are no records of speed.py: 'setting' is missing or unknown"),
]


def test_what_means_nothing_or_is_missing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text('{"metric": 1}')
    (tmp_path / "none.json").write_text("[]")
    (tmp_path / "of_another.json").write_text('[{"metric": "length", "value": 1}]')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SGRNN_DATA", str(tmp_path))
    for script, arguments, message in REFUSED:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments.split(" ")])
        module = importlib.import_module(script)
        with pytest.raises(SystemExit, match="2"):
            benchmark(module.__doc__, module.options, module.run, module.show, getattr(module, "draw", None))
        assert message in capsys.readouterr().err


def test_a_figure_without_panels_is_refused() -> None:
    with pytest.raises(InputError, match=r"^there is nothing to draw: "):
        new_figure(0)


def test_records_that_were_written_give_the_same_table_and_figure_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[list[Record]] = []

    def run(asked: Namespace) -> Iterator[Record]:
        yield {"metric": "length", "value": 3, "quick": asked.quick}
        yield {"metric": "length", "value": 4, "quick": asked.quick}

    def draw(records: list[Record]) -> Figure:
        drawn.append(records)
        return Figure()

    for arguments in (["--quick", "--json", "one.json"], ["--from", "one.json", "one.json", "--figure", "one.png"]):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["some.py", *arguments])
        benchmark(None, lambda parser: None, run, lambda records: print([r["value"] for r in records]), draw)
    assert capsys.readouterr().out.splitlines() == ["[3, 4]", "[3, 4, 3, 4]"]
    assert drawn == [[{"metric": "length", "value": value, "quick": True} for value in (3, 4, 3, 4)]]


def test_runs_of_other_settings_have_other_names() -> None:
    fields = grid(task=["a, b"], rate=[1e-3, 2e-3, 1e-3], digits=[5e6, 1234567.0, 1234568.0], quick=[False, True])
    names = [Condition(each).name for each in fields]
    assert names[:2] == ["a_b-rate0.001-digits5000000", "a_b-rate0.001-digits5000000-quick"]
    assert len(set(names)) == 12


@contextmanager
def threads(jobs: int, number: int) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(jobs) as pool:
        yield pool


def test_results_are_kept_and_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "processes", threads)
    one, other = Condition({"seed": 1}), Condition({"seed": 2})
    assert list(run_all(lambda seed: {"value": seed}, [one], tmp_path, jobs=1)) == [{"value": 1}]
    assert list(run_all(lambda seed: {"value": -seed}, [other, one], tmp_path, 1)) == [{"value": -2}, {"value": 1}]


def test_a_score_is_the_best_or_the_last_evaluation_and_settings_are_those_with_the_highest_median(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows: list[Record] = [{"update": n, "loss": 1.0, "target_r2": n / 10} for n in range(1, 8)]
    rows += [{"update": n, "epoch": n, "seconds": 2.0 * n, "valid": value} for n, value in enumerate((3.0, 2.0, 2.5))]
    best, last = score_of(rows, "m", "valid"), score_of(rows, "m", "valid", best=False)
    assert (best["value"], last["value"]) == (2.0, 2.5)
    assert (best["updates"], best["seconds"], best["curve"]) == (2, 4.0, [[0, 3.0], [1, 2.0], [2, 2.5]])
    assert best["target_r2"] == pytest.approx(0.5), "of the last five lines"
    short: Record = {"update": 8, "loss": 1.0}
    assert score_of([*rows, short], "m", "valid")["target_r2"] == pytest.approx(0.55), "of those that have it"
    monkeypatch.setattr(frame, "train_all", lambda recipes, out, jobs: iter([("one", rows), ("two", [])]))
    asked = Namespace(out=Path("out"), jobs=1)
    conditions = [Condition({"seed": seed}) for seed in (5, 6)]
    trained = list(train_recipes(conditions, asked, lambda condition, rows: score_of(rows, "m", "valid")))
    assert [(r["seed"], r["value"], r["curve"][-1:]) for r in trained] == [(5, 2.0, [[2, 2.5]]), (6, None, [])]
    rates = [(1, 1, 3), (1, 1, 9), (1, 1, 4), (1, 2, 5), (1, 2, 5), (2, 1, 4), (2, 3, 4)]
    made = [{"seed": seed, "rate": rate, "value": value} for seed, rate, value in rates]
    assert best_settings(made, ["seed"], ["rate"], lambda record: record["value"]) == made[3:6]
