"""What `benchmarks/cost.py` weighs and joins, and what its counts of memory and operators are."""

import json
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cost
import pytest
import rivals
import torch
from frame import Record, benchmark
from readings import cells
from rivals import OF_STREAMS, RIVALS, SHAPES, Place, places, recipe_of, reference
from texts import CHARACTERS, SPAN
from updates import calls_and_bytes

import sgrnn.training.train_all

UNITS = 1 << 18


def _through(steps: int, windows: int) -> None:
    """Go back through so many windows of as many steps, each of which keeps its result."""
    hidden = torch.zeros(UNITS, requires_grad=True)
    for _ in range(windows):
        outputs = hidden.detach().requires_grad_()
        for _ in range(steps):
            outputs = torch.tanh(outputs)
        hidden = outputs.detach()
        outputs.sum().backward()


def test_bytes_are_those_that_are_held_at_once_and_calls_those_of_operators_inside_others_too() -> None:
    held = torch.zeros(UNITS)
    for call, calls, tensors in (
        (lambda: torch.add(held, held), 1, 1),
        (lambda: [torch.add(held, held) for _ in range(3)], 3, 3),
        (lambda: [float(torch.add(held, held)[0]) for _ in range(3)], None, 1),
        (lambda: torch.add(torch.add(held, held), torch.add(held, held)), 3, 3),
        (lambda: held.add_(held), 1, 0),
    ):
        found, size = calls_and_bytes(call)
        assert calls in (None, found)
        assert size == pytest.approx(tensors * held.nbytes, abs=1024)
    zeros, size = calls_and_bytes(lambda: torch.zeros(UNITS))
    assert (zeros, size) == (4, held.nbytes), "zeros, and in it empty and zero_, and in that fill_"


def test_a_graph_that_is_freed_window_by_window_takes_the_memory_of_a_window() -> None:
    graphs = {
        key: calls_and_bytes(lambda key=key: _through(*key))[1] / (4 * UNITS) for key in ((40, 1), (5, 1), (5, 8))
    }
    assert graphs[40, 1] == pytest.approx(graphs[5, 1] + 35, abs=0.1)
    assert graphs[5, 8] == pytest.approx(graphs[5, 1], abs=2), "the state that is handed on"


def test_every_line_has_a_recipe_of_its_shape_and_its_share_of_the_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    for shape, described in SHAPES.items():
        lines = places(shape, list(RIVALS), [1, 5, 20], [5, 1])
        assert lines[0] == reference(shape)
        for place in lines:
            recipe, graphs = recipe_of(place, seed=3)
            trained, _ = recipe_of(place.trained, seed=3)
            assert (recipe.training.seed, trained.training.span) == (3, recipe.training.span)
            assert trained.model == recipe.model
            assert graphs == "kept" if place.budget == "any" else graphs in ("freed", "in order", "its own")
            if described.evaluate_every is None:
                assert (recipe.span, place.window) == (1, 1)
            elif described.max_updates is not None:
                steps = (recipe.training.max_updates or 0) * (recipe.span or 0)
                assert steps == pytest.approx(described.max_updates * SPAN, rel=0.01)
        refused = {name for name in RIVALS if f"left out, {name}: " in capsys.readouterr().out}
        names = set(RIVALS) if described.evaluate_every else set(OF_STREAMS)
        assert {place.estimator for place in lines} >= {"truncated", "synthetic"} & names - refused
    window = {place.window: place for place in places("2x200", ["truncated", "longer", "synthetic"], [1, 20], [5])}
    assert set(window) == {1, 5, 20, 28}
    assert recipe_of(window[28])[0].span == 28
    freed, graphs = recipe_of(Place("2x200", "synthetic", 5, "window"))
    assert (freed.gradient.low_memory, graphs) == (True, "freed")  # pyright: ignore
    assert Place("2x200", "checkpointed", 5, "window").trained == reference("2x200")
    assert Place("2x200", "synthetic", 5, "window").trained == Place("2x200", "synthetic", 5, "any")


def make_run(**fields: object) -> Record:
    return {
        "metric": "validation perplexity", "value": 36.0, "curve": [[100, 50.0], [200, 40.0], [400, 36.0]],
        "updates": 400, "seed": 0, "task": "words", "shape": "2x200", "estimator": "synthetic", "window": 5, **fields,
    }  # fmt: skip


def test_quality_at_equal_seconds_is_read_off_the_curve() -> None:
    ratios = {1.0: 36, 0.5: 36, 2.0: 40, 2**0.5: 38, 4.0: 50, 5.0: None}
    for ratio, expected in ratios.items():
        assert cost.at_equal_seconds(make_run(), ratio) == (expected and pytest.approx(expected))
    assert cost.at_equal_seconds(make_run(value=None, curve=[]), 2.0) is None


def test_updates_that_are_learned_from_take_as_long_as_those_of_what_always_learns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """400 seconds, of which the first 100 updates take 2 each and all others 1: 300 updates."""
    rarely = Place("2x200", "synthetic, every 8th", 5, "any")
    assert rarely.while_learning == Place("2x200", "synthetic", 5, "any")
    assert rarely.while_learning.while_learning == rarely.while_learning
    monkeypatch.setattr(cost, "FIRST", 100)
    between = 40 - 4 * math.log(1.5) / math.log(2)
    assert cost.at_equal_seconds(make_run(), 1.0, 2.0) == pytest.approx(between)
    assert cost.updates_in_time(400, 1.0, 2.0) == 300
    monkeypatch.setattr(cost, "FIRST", 1000)
    assert cost.at_equal_seconds(make_run(), 1.0, 2.0) == pytest.approx(40)
    assert cost.at_equal_seconds(make_run(), 2.0, 2.0) == pytest.approx(40)
    assert cost.at_equal_seconds(make_run(), 1.0, 1.0) == 36


def test_a_table_joins_what_was_measured_apart_and_the_last_counts(capsys: pytest.CaptureFixture[str]) -> None:
    place = {
        "task": "words",
        "shape": "2x200",
        "estimator": "synthetic",
        "window": 5,
        "budget": "any",
        "graphs": "kept",
    }
    busy, idle = (
        {"metric": cost.OVER_REFERENCE, "value": value, "low": value - 1, "high": value + 1, **place}
        for value in (4.0, 2.0)
    )
    records = [
        busy, make_run(), make_run(seed=1, value=32.0), make_run(estimator="shuffled"), idle,
        {"metric": cost.MEMORY, "value": 12.34, **place}, {"metric": cost.CALLS, "value": 1234, **place},
        busy | {"budget": "window", "value": 0.9, "low": 0.8, "high": 1.0},
    ]  # fmt: skip
    cost.show(records)
    printed = capsys.readouterr().out.splitlines()
    read = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed if line.startswith("| s")]
    assert read[0] == [
        "synthetic", "5", "any", "kept", "34.00 (32.00 to 36.00)", "40.00 (40.00 to 40.00)", "2.00 (1.00 to 3.00)", "",
        "", "12.3", "1,234",
    ]  # fmt: skip
    assert read[1] == ["shuffled", "5", "any", "", "36.00", *[""] * 6]
    assert read[2][4:7] == ["34.00 (32.00 to 36.00)", "34.00 (32.00 to 36.00)*", "0.90 (0.80 to 1.00)"]
    assert read[3] == ["synthetic T=5", "50.00", "40.00", "36.00"]


@contextmanager
def _threads(jobs: int, number: int) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(jobs) as pool:
        yield pool


def test_the_whole_is_run_quickly_and_its_flat_records_are_joined_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.txt").write_text("what is said here is said again and again\n" * 30)
    text = [f"--data.{split}=train.txt" for split in ("train", "valid", "test")]
    small = [*CHARACTERS, "--data.corpus=text", *text, "--model.hidden_size=8", "--training.batch_size=2"]
    shapes = {
        "one": rivals.Shape("characters", small, 1, 10),
        "stream": rivals.Shape("characters", [*small, "--training.span=1"], 1, None),
    }
    monkeypatch.setattr(sgrnn.training.train_all, "processes", _threads)
    for name in ("2x200", "1x128"):
        monkeypatch.delitem(SHAPES, name)
    for name, shape in shapes.items():
        monkeypatch.setitem(SHAPES, name, shape)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SGRNN_DATA", str(tmp_path / "data"))

    def command(arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["cost.py", *arguments.split()])
        benchmark(cost.__doc__, cost.options, cost.run, cost.show)
        return capsys.readouterr().out

    asked = "--quick --shapes one stream --estimators truncated synthetic shuffled --out runs"
    command(f"{asked} --only quality --json quality.json")
    command(f"{asked} --only seconds memory calls --rounds 2 --json costs.json")
    records = [*json.loads(Path("quality.json").read_text()), *json.loads(Path("costs.json").read_text())]
    for record in records:
        assert {"metric", "value", "task", "shape", "estimator", "window"} <= record.keys()
        assert all(not isinstance(value, dict) for value in record.values())
        assert ("seed" in record) != ("budget" in record)
    trained = {(r["shape"], r["estimator"], r["window"]) for r in records if "seed" in r}
    assert trained == {("one", *rest) for rest in (("truncated", 20), ("synthetic", 20), ("shuffled", 20),
                                                   ("truncated", 5), ("synthetic", 5))}  # fmt: skip
    values = {(r["shape"], r["estimator"], r["window"], r["metric"]): r["value"] for r in records}
    assert values["one", "truncated", 20, cost.OVER_REFERENCE] == 1
    assert values["one", "synthetic", 20, cost.CALLS] > values["one", "truncated", 20, cost.CALLS] > 100
    assert values["stream", "synthetic", 1, cost.MEMORY] > values["stream", "truncated", 1, cost.MEMORY] > 0
    printed = cells(command("--from quality.json costs.json"))
    assert printed["shuffled"][0] == "20"
    assert printed["synthetic"][0] == "1", "the stream's, which is the last table"
