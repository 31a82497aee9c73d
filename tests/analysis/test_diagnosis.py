"""Diagnoses while a run trains: what they log, and that training does not notice them."""

import json
from collections.abc import Callable
from math import isfinite
from pathlib import Path

import pytest
from training.tiny import Practice, Training, same

from sgrnn.analysis.diagnosis import read_diagnosis, spans_ahead
from sgrnn.config.files import parse_recipe
from sgrnn.errors import InputError
from sgrnn.training.run import Run

Start = Callable[..., Training]
DIAGNOSIS = "--training.diagnosis={every: 4, horizon: 6, spans: 4}"
TASK = """
task: {kind: copy, bits: 2, threshold: 10, episodes_per_epoch: 5}
model: {core: lstm, hidden_size: 12}
gradient: {kind: synthetic, window: 3}
training: {epochs: 2, batch_size: 4, log_every: 2, device: cpu, span: 3}
"""


def test_a_run_that_is_diagnosed_is_the_run_that_is_not(start: Start) -> None:
    overrides = (
        "--gradient.source={kind: random, probability: 0.5}",
        "--model.slower_levels=[{period: 2, hidden_size: 6, interface: true}]",
    )
    plain, diagnosed = start("plain", *overrides), start("diagnosed", DIAGNOSIS, *overrides)
    plain()
    diagnosed()
    assert same(plain.saved, diagnosed.saved)
    logged = [record for record in diagnosed.metrics if "true_r2" in record]
    assert [record["update"] for record in logged] == [4, 8]
    assert all(record.keys() >= {"true_cosine", "true_norm_ratio"} for record in logged)
    assert any("bias" in record for record in logged)
    assert all(isfinite(value) for record in logged for value in record.values())
    assert [record for record in diagnosed.metrics if "true_r2" not in record] == plain.metrics


def test_a_diagnosed_run_resumes_to_the_same_record(start: Start) -> None:
    whole, parts = start("whole", DIAGNOSIS), start("parts", DIAGNOSIS)
    whole()
    parts(stop_after=4)
    parts()
    assert same(whole.saved, parts.saved)
    assert whole.metrics == parts.metrics


def test_a_run_on_a_task_does_not_notice_either(tmp_path: Path) -> None:
    runs = []
    for name, overrides in (("plain", []), ("diagnosed", [DIAGNOSIS])):
        recipe = parse_recipe(TASK, "recipe.yaml", tmp_path, overrides)
        runs.append(Practice(Run.create(tmp_path / name, recipe, None), tmp_path))
        runs[-1]()
    assert same(runs[0].saved, runs[1].saved)
    assert any("true_r2" in record for record in runs[1].metrics)


def test_truncation_has_no_predictions_to_log(start: Start) -> None:
    run = start("mine", DIAGNOSIS, "--gradient.kind=truncated")
    run()
    logged = [record for record in run.metrics if "bias" in record]
    assert logged
    assert not any("true_r2" in record for record in logged)


def test_spans_ahead_are_the_next_ones_with_a_longer_future(start: Start) -> None:
    problem = start("mine").problem
    problem.start(2)
    problem.draw()
    ahead = spans_ahead(problem, 3, 2, 9)
    assert [span.future and span.future.steps for span in ahead] == [9, 9, 9]
    for expected in ahead:
        span = problem.draw()
        assert span.inputs.equal(expected.inputs)
        assert span.future is not None
        assert span.future.steps == 2


def test_a_damaged_file_is_refused(start: Start) -> None:
    run = start("mine").run
    assert read_diagnosis(run) is None
    (run.folder / "diagnosis.json").write_text("{")
    with pytest.raises(InputError, match=r"diagnosis.json is damaged: .*; write it again with `sgrnn diagnose "):
        read_diagnosis(run)
    measured = {"spans": 2, "alignment": {}, "bias": {}, "health": {}}
    (run.folder / "diagnosis.json").write_text(json.dumps(measured))
    assert read_diagnosis(run) == measured
