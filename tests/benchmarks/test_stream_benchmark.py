"""Streams that `benchmarks/stream.py` learns from, and when it says that a gap is mastered."""

import json
from argparse import Namespace
from itertools import islice, pairwise
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from endless import memory_chain, repeat_after, text
from frame import Condition
from readings import cells
from stream import records_of, run, show, train
from stream_methods import METHODS

SMALL: dict[str, Any] = {
    "task": "gap", "method": "synthetic 1 2", "length": 2, "rate": 1e-2, "synthesizer_rate": 1e-2, "seed": 0,
    "steps": 520, "seconds": 0.0, "hidden_size": 4, "rows": 2,
}  # fmt: skip


def test_a_bit_is_to_be_repeated_after_the_gap() -> None:
    read = list(islice(repeat_after(3, rows=4, seed=0), 20))
    for early, late in zip(read, read[3:], strict=False):
        assert torch.equal((early.inputs + 1) / 2, late.targets)


def test_a_cue_is_asked_for_once_after_its_chain_and_nothing_else_is() -> None:
    read = list(islice(memory_chain(4, rows=2, seed=0), 40))
    inputs, targets, asks = (
        torch.stack([getattr(each, name) for each in read]) for name in ("inputs", "targets", "answered")
    )
    assert torch.equal(inputs[..., 2], asks.float())
    for row in range(2):
        places = asks[:, row].nonzero().flatten().tolist()
        assert [later - earlier for earlier, later in pairwise(places)] == [5] * (len(places) - 1)
        for place in places[1:]:
            assert inputs[place - 4, row, 0] == targets[place, row, 0] * 2 - 1
            assert not inputs[place - 3 : place + 1, row, 0].any()


def test_a_text_is_read_once_in_rows() -> None:
    read = list(text(torch.arange(11).numpy(), rows=2))
    assert [each.inputs.tolist() for each in read] == [[0, 5], [1, 6], [2, 7], [3, 8]]
    assert [each.targets.tolist() for each in read] == [[1, 6], [2, 7], [3, 8], [4, 9]]


@pytest.mark.parametrize("method", [*METHODS, "snap-1", "rtrl"])
def test_every_method_takes_every_step_of_a_stream(method: str) -> None:
    for task in ("gap", "chain") if method != "future 1" else ("gap",):
        assert train(**{**SMALL, "method": method, "task": task, "steps": 60})["steps"] == 60


def test_a_curve_has_a_point_for_every_500_answers() -> None:
    result = train(**{**SMALL, "method": "truncated 1"})
    assert (result["steps"], result["mastered"]) == (520, None)
    ((step, _, loss),) = result["curve"]
    assert step == 500
    assert 0.5 < loss < 1, "nothing can be learned of a gap of two steps by windows of one"


def test_mastered_within_a_budget_of_steps_or_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    records = []
    for seed, mastered in enumerate(([400, 3.0], [600, 5.0], None)):
        condition = Condition(SMALL | {"seed": seed, "steps": 500, "seconds": 4.0})
        records += records_of(condition, {"mastered": mastered, "curve": [], "steps": 500, "seconds": 4.0 + seed})
    records += records_of(Condition(SMALL | {"seed": 3, "steps": 500, "seconds": 4.0}), None)
    assert [r["value"] for r in records] == [400, 3.0, 8.0, None, None, 10.0, None, None, 12.0, None, None]
    show(records)
    assert cells(capsys.readouterr().out)["synthetic 1 2"] == ["400, 1 of 4"]


def test_where_a_length_is_not_mastered_longer_ones_are_not_tried_and_count_as_never(tmp_path: Path) -> None:
    asked = Namespace(
        tasks=["gap"], lengths=[3, 2], seeds=[0, 1], methods=["truncated 1", "tbptt 1 2"], rates=[1e-2],
        synthesizer_rates=[1e-2, 1e-3], steps=20, seconds=1e-3, hidden_size=4, rows=2, out=tmp_path, jobs=1,
        quick=False,
    )  # fmt: skip
    for length in (2, 3):  # as if one of them had mastered both, which is not trained again then
        fields = {
            "task": "gap", "length": length, "seed": 1, "method": "tbptt 1 2", "rate": 1e-2, "synthesizer_rate": 0.0,
            "steps": 20, "seconds": 1e-3, "hidden_size": 4, "rows": 2,
        }  # fmt: skip
        known = {"mastered": [5 * length, 0.0], "curve": [], "steps": 5 * length, "seconds": 0.0}
        (tmp_path / f"{Condition(fields).name}.json").write_text(json.dumps(known))
    found = {
        (record["length"], record["method"], record["seed"]): record["value"]
        for record in run(asked)
        if record["metric"] == "steps until mastered"
    }
    never = dict.fromkeys([(length, method, seed) for length in (2, 3) for method in asked.methods for seed in (0, 1)])
    assert found == never | {(2, "tbptt 1 2", 1): 10, (3, "tbptt 1 2", 1): 15}
    assert len([path for path in tmp_path.iterdir() if "length3" in path.name]) == 1, "a hopeless one was tried"


def test_without_a_budget_of_steps_seconds_alone_count() -> None:
    result = {"mastered": [5, 3.0], "curve": [], "steps": 5, "seconds": 3.0}
    found = records_of(Condition(SMALL | {"steps": 0, "seconds": 4.0}), result)
    assert {r["metric"]: r["value"] for r in found} == {"seconds until mastered": 3.0, "milliseconds per step": 600.0}


def test_texts_are_shown_whole_and_by_tenths(capsys: pytest.CaptureFixture[str]) -> None:
    curve = [[step, 0.0, log(2) * bits] for step, bits in enumerate([4.0] * 5 + [2.0] * 5, start=1)]
    found = records_of(
        Condition(SMALL | {"task": "text"}), {"mastered": None, "curve": curve, "steps": 500, "seconds": 1.0}
    )
    assert [record["value"] for record in found] == [pytest.approx(3.0), pytest.approx(2.0)]
    show(found)
    shown = cells(capsys.readouterr().out)
    assert shown["synthetic 1 2, 2"] == ["4.000"] * 5 + ["2.000"] * 5
