"""What the timing of training steps rests on, by estimator and by threads; and what is counted of them."""

import os
import signal
from multiprocessing import get_context
from pathlib import Path

import contenders
import pytest
import race
import speed
import torch
from contenders import CONTENDERS, Setting
from frame import Record
from race import Entrant
from readings import cells, lines
from shown import BLUE, GREEN
from updates import count

import sgrnn.training.threads
from sgrnn import BPTT, ExactAhead, Mixed, SyntheticGradients, TruncatedBPTT
from sgrnn.config.files import parse_recipe

TINY = Setting(2, 8, 30, 2, 6, 4)
KINDS = {
    "full": (BPTT, 0), "truncated": (TruncatedBPTT, 0), "truncated, low core": (TruncatedBPTT, 0),
    "exact": (ExactAhead, 8), "synthetic": (SyntheticGradients, 8), "synthetic, light": (SyntheticGradients, 2),
    "synthetic, large": (SyntheticGradients, 8),
    "truncated, low memory": (TruncatedBPTT, 0), "synthetic, low memory": (SyntheticGradients, 8),
    "mixed while real": (Mixed, 8),
}  # fmt: skip
RECIPE = """
data: {corpus: text, train: train.txt, valid: train.txt, test: train.txt, tokenizer: {kind: character}}
model: {core: lstm, hidden_size: 16, embedding_size: 8}
gradient: {kind: truncated, window: 6, parallel: true}
training: {epochs: 1, batch_size: 2, span: 6, device: cpu}
"""


@pytest.fixture(autouse=True)
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that need not load torch again."""
    monkeypatch.setattr(race, "get_context", lambda kind: get_context("fork"))
    monkeypatch.setattr(speed, "ROUND_SECONDS", 0.01)


def test_the_products_are_six_operations_for_each_weight_and_token_and_those_of_the_rule_for_threads() -> None:
    weights = 2 * (4 * 8 * 8 + 4 * 8 * 8) + 30 * 8
    operations = sum(2 * times * rows * inner * columns for times, rows, inner, columns, _ in speed.products(TINY))
    assert operations == 6 * weights * TINY.tokens
    model = sgrnn.LanguageModel(30, 8, sgrnn.LSTM(8, 8, 2), 8)
    assert speed.multiply_adds(TINY) == TINY.batch * sgrnn.training.threads.products(model) == TINY.batch * weights


def test_counted_are_the_products_of_an_update_and_the_steps_of_its_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.txt").write_text("what is said here is said again and again\n" * 5)
    monkeypatch.setenv("SGRNN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    whole = count(parse_recipe(RECIPE, "whole"))
    characters = len(set("what is said here is said again and again\n"))
    weights = 4 * 16 * (8 + 16) + 16 * 8 * (8 != 16) + 16 * characters
    assert (whole["steps forward"], whole["steps backward"]) == (1, 1)
    assert whole["operations"] == pytest.approx(6 * weights, rel=0.15)
    parts = count(parse_recipe(RECIPE, "parts", overrides=["--gradient.window=2"]))
    assert (parts["steps forward"], parts["steps backward"]) == (2, 1), (
        "forwards once more, to know where windows begin"
    )
    ahead = ["--gradient.kind=exact", "--gradient.lookahead=2"]
    exact = count(parse_recipe(RECIPE, "exact", overrides=ahead))
    assert exact["steps backward"] == pytest.approx(8 / 6)


def die(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_contenders_are_timed_beside_each_other_and_those_that_do_not_work_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CONTENDERS, "plain, autocast", lambda setting: 1 / 0)
    monkeypatch.setitem(CONTENDERS, "plain, compiled", die)
    names = ["plain", "truncated", "synthetic", "plain, autocast", "plain, compiled"]
    records = speed.measure(TINY, [Entrant(name, 1) for name in names], [0], rounds=2)
    found = {(r["metric"], r["contender"]): r["value"] for r in records}
    for name in names[:3]:
        assert found["peak memory, MiB", name] >= 0
        assert 0 < found["share of peak", name] < 1
        milliseconds = found[speed.MILLISECONDS, name]
        assert found["tokens per second", name] == pytest.approx(1e3 * TINY.tokens / milliseconds)
    assert 0.2 < found["time ratio synthetic / truncated", "synthetic"] / (
        found[speed.MILLISECONDS, "synthetic"] / found[speed.MILLISECONDS, "truncated"]
    ) < 5  # fmt: skip
    assert found["failure", "plain, autocast"] == "ZeroDivisionError: division by zero"
    assert found["failure", "plain, compiled"] == "its process was killed"
    assert {(r["setting"], r["window"], r["threads"]) for r in records} == {(TINY.name, 2, 1)}
    speed.show(records)
    printed = cells(capsys.readouterr().out)
    assert printed["truncated"][5] == f"{found['tokens per second', 'truncated']:,.0f}"
    assert printed["plain, compiled"][3] == "does not work here: its process was killed"


def test_memory_is_that_of_the_contender_whatever_was_held_before() -> None:
    held = bytearray(b"x") * (512 << 20)
    del held
    larger = Setting(1, 8, 200_000, 2, 6, 4)
    (found,) = (
        r["value"] for r in speed.measure(larger, [Entrant("plain", 1)], [0], 2) if r["metric"] == "peak memory, MiB"
    )
    layers = 2 * 200_000 * 8 * 4 / speed.MEBIBYTE
    assert 2 * layers < found < 400, "parameters and gradients"


def test_figure_and_table_show_ratios_of_times(capsys: pytest.CaptureFixture[str]) -> None:
    records: list[Record] = []
    for one, other, base in (
        ("truncated", "plain", 1),
        ("synthetic", "truncated", 5),
        ("synthetic, large", "truncated", 7),
        ("synthetic, light", "truncated", 3),
    ):
        for vocabulary in (50, 100):
            for window in (1, 5):
                place = {"layers": 1, "hidden": 64, "batch": 20, "precision": "float32", "window": window}
                place |= {"vocabulary": vocabulary, "contender": one, "setting": f"V={vocabulary}, T={window}"}
                place["threads"] = 1
                place |= {"optimizer": "sgd", "machine": "CPU", "rounds": 2, "multiply_adds": 1}
                value = base + window + vocabulary / 100
                records.append({"metric": f"time ratio {one} / {other}", "value": value, **place})
    speed.show(records[:1])
    assert cells(capsys.readouterr().out)["truncated"][-1] == "2.50 of plain's"
    above, above_too, below, below_too = speed.draw(records).axes
    assert lines(above) == {"truncated, 1x64": ([0, 1], [2.5, 6.5], BLUE)}
    assert lines(above_too)["truncated, 1x64"][1] == [3, 7]
    assert lines(below)["synthetic, 1x64"] == ([0, 1], [6.5, 10.5], GREEN)
    assert lines(below_too)["synthetic, large, 1x64"][1] == [9, 13]
    assert lines(below_too)["synthetic, light, 1x64"][1] == [5, 9]
    assert [axes.get_title() for axes in (above, above_too)] == ["V = 50", "V = 100"]


def test_every_contender_trains_all_that_it_has_with_the_estimator_that_it_is_named_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    optimizers: list[torch.optim.Optimizer] = []
    estimators: list = []
    watched, build = torch.optim.Optimizer.__init__, contenders.build_estimator
    monkeypatch.setattr(
        torch.optim.Optimizer, "__init__", lambda self, *given: optimizers.append(self) or watched(self, *given)
    )
    monkeypatch.setattr(
        contenders, "build_estimator", lambda *given, **kw: estimators.append(build(*given, **kw)) or estimators[-1]
    )
    unable = {"plain, compiled"}
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # nor has torch's own LSTM under autocast, on such a processor
        unable.add("plain, autocast")
    for name in CONTENDERS.keys() - unable:
        optimizers.clear()
        estimators.clear()
        update = CONTENDERS[name](TINY)
        kinds = [(type(estimator), estimator.lookahead) for estimator in estimators]
        assert kinds == ([KINDS[name]] if name in KINDS else [])
        assert all(getattr(estimator, "window", None) in (TINY.window, None) for estimator in estimators)
        assert len(optimizers) == (2 if name.startswith(("synthetic", "mixed")) else 1)
        trained = optimizers[:1] if name == "mixed while real" else optimizers  # real ones need no synthesizer
        parameters = [parameter for optimizer in trained for parameter in optimizer.param_groups[0]["params"]]
        before = [parameter.clone() for parameter in parameters]
        for _ in range(3):
            update()
        assert not any(torch.equal(*pair) for pair in zip(before, parameters, strict=True)), name


def test_every_way_of_waiting_is_timed_beside_every_load(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loads: list[int] = []
    monkeypatch.setattr(speed, "busy", lambda number: loads.append(number) or race.busy(number))
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    entrants = [Entrant("truncated", 1, "spin"), Entrant("truncated", 1, "sleep")]
    records = speed.measure(TINY, entrants, [0, 1], rounds=1)
    assert loads == [0, 1]
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    places = {(r["threads"], r["waiting"], r["busy"]) for r in records if r["metric"] == speed.PROCESSORS}
    assert places == {(1, way, number) for way in ("spin", "sleep") for number in (0, 1)}
    speed.show([r | {"value": 7.0, "low": 6.0, "high": 8.0} for r in records if "milliseconds" in r["metric"]][:2])
    expected = ["1", "spin", "0", "7.00 (6.00 to 8.00)", "7.00 (6.00 to 8.00)", "", "", "", ""]
    assert cells(capsys.readouterr().out)["truncated"] == expected
    with race.waiting("sleep"):
        assert os.environ["OMP_WAIT_POLICY"] == "passive"
    with race.waiting("spin"):
        assert "OMP_WAIT_POLICY" not in os.environ
    with race.busy(2) as processes:
        assert [process.poll() for process in processes] == [None, None]
    assert [process.poll() for process in processes] == [-signal.SIGKILL] * 2
