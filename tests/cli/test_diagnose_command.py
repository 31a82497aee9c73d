"""`sgrnn diagnose`: what it says of a run and keeps, and what it refuses."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from sgrnn.training.checkpoints import Checkpoint

from .commands import Commands

SHORT = ("--horizon", 8, "--spans", 12)
TASK = """
task: {kind: copy, bits: 2, episodes_per_epoch: 4}
model: {core: lstm, hidden_size: 8}
gradient: {kind: synthetic, window: 2}
training: {epochs: 2, batch_size: 3, device: cpu}
"""


@pytest.fixture
def run(sgrnn: Commands) -> str:
    sgrnn.well("train", "tiny.yaml", "--run", "mine")
    return "mine"


def test_it_prints_tables_and_what_they_come_to_and_keeps_the_metrics(sgrnn: Commands, run: str) -> None:
    before = {path: path.read_bytes() for path in Path(run).rglob("*") if path.is_file()}
    output = sgrnn.well("diagnose", run, *SHORT)
    kept = json.loads(Path(run, "diagnosis.json").read_text())
    for words in (
        "against the true gradient of the next h steps", "against a long window's", "by parameter",
        "states and predictions", "gates over all", "horizon: 90% of the true gradient lies within",
        f"this estimator is {kept['bias']['worth']['text']} of plain truncation", "figures: mine/diagnosis.json\n",
    ):  # fmt: skip
        assert words in output
    assert kept["update"] == 10
    assert kept["alignment"]["lags"] == [1, 2, 3, 5, 8]
    assert kept["alignment"]["parts"] == ["all", "hidden", "cell"]
    windows = kept["bias"]["windows"]
    assert kept["bias"]["contenders"] == ["estimator", *(f"T={window}" for window in windows)]
    assert set(windows) >= {1, 2, 3, 6, 12}
    equivalent_window = kept["bias"]["worth"]["value"]
    assert not 1 < equivalent_window < 12 or {math.floor(equivalent_window), math.ceil(equivalent_window)} <= set(
        windows
    )
    cosines = [row[0] for row in kept["bias"]["cosine"]["value"]]
    assert all(-1 <= cosine <= 1 for cosine in cosines)
    assert len(kept["bias"]["cosine_outside"]) == len(cosines)
    assert kept["bias"]["tensors"][:2] == ["all", "embedding.weight"]
    assert set(kept["health"]["gates"]) == {"input", "forget", "output"}
    assert all(path.read_bytes() == bytes_ for path, bytes_ in before.items()), "nothing else was touched"


def test_the_same_again_gives_the_same_metrics(sgrnn: Commands, run: str) -> None:
    sgrnn.well("diagnose", run, *SHORT)
    first = Path(run, "diagnosis.json").read_text()
    sgrnn.well("diagnose", run, *SHORT)
    assert Path(run, "diagnosis.json").read_text() == first


@pytest.mark.parametrize(
    "overrides",
    [
        ["--gradient.kind=bptt"],
        ["--gradient.kind=truncated"],
        ["--gradient.source.kind=alternate", "--gradient.source.every=1"],
        ["--gradient.synthesizer={kind: adjoint}"],
        ["--model.core=gru", "--model.num_layers=2"],
    ],
)
def test_any_policy_and_core_can_be_diagnosed(sgrnn: Commands, overrides: list[str]) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine", *overrides)
    assert "plain truncation" in sgrnn.well("diagnose", "mine", *SHORT)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (
            "~",
            r"this estimator is worth (T=\d+\.\d( ± \d+\.\d)?|(less|more) than T=\d+)( \(.*\))? of plain truncation\n",
        ),
        ("3", "after so many updates: unknown\nwhat this estimator is worth is not to be told from noise\n"),
    ],
)
def test_a_run_on_a_task_too(sgrnn: Commands, folder: Path, span: str, expected: str) -> None:
    (folder / "task.yaml").write_text(TASK)
    sgrnn.well("train", "task.yaml", "--run", "mine", f"--training.span={span}")
    assert re.search(expected, sgrnn.well("diagnose", "mine", *SHORT))


def test_what_cannot_be_diagnosed_is_refused(sgrnn: Commands, run: str) -> None:
    assert "--spans is too small: spans must make at least two stretches of 50 steps, got 0" in sgrnn.refused(
        "diagnose", run, "--horizon", 50, "--spans", 2
    )
    assert not Path(run, "diagnosis.json").exists()
    assert "nowhere holds no run" in sgrnn.refused("diagnose", "nowhere")
    for checkpoint in Path(run, "checkpoints").iterdir():
        for path in checkpoint.iterdir():
            path.unlink()
        checkpoint.rmdir()
    assert sgrnn.refused("diagnose", run) == "mine has no checkpoint yet: go on with `sgrnn resume mine`"


@pytest.mark.parametrize("recipe", ["tiny.yaml", "task.yaml"])
def test_a_run_of_one_row_can_be_diagnosed_and_reported(sgrnn: Commands, folder: Path, recipe: str) -> None:
    (folder / "task.yaml").write_text(TASK)
    sgrnn.well("train", recipe, "--run", "mine", "--training.batch_size=1")
    output = sgrnn.well("diagnose", "mine", *SHORT)
    assert "loss recovered" not in output
    sgrnn.well("report", "mine")


@pytest.mark.parametrize("part", ["estimator", "state"])
def test_a_checkpoint_of_another_version_is_refused(
    sgrnn: Commands, run: str, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    load = Checkpoint.load_state

    def without(self: Checkpoint, device: torch.device) -> dict[str, Any]:
        saved = load(self, device)
        if part == "estimator":
            del saved["estimator"]["mean_square"]
        else:
            del saved[part]
        return saved

    monkeypatch.setattr(Checkpoint, "load_state", without)
    message = sgrnn.refused("diagnose", run, *SHORT)
    assert re.match(r"mine/checkpoints/update-\d+/state\.pt was written by another version: .*", message)


def test_against_another_run_it_says_where_it_is_better(sgrnn: Commands, run: str) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "other", "--gradient.kind=truncated", "--training.max_updates=40")
    output = sgrnn.well("diagnose", run, *SHORT, "--against", "other")
    kept = json.loads(Path(run, "diagnosis.json").read_text())["against"]
    assert "loss of other less that of this run" in output
    assert "states alike (rank correlation of dissimilarities): all " in output
    assert kept["run"] == "other"
    better = sgrnn.well("evaluate", "other", "--split", "valid"), sgrnn.well("evaluate", run, "--split", "valid")
    losses = [float(re.findall(r"([\d.]+) nats per token", text)[0]) for text in better]
    for by in ("frequency", "place"):
        tokens, mean = kept[by]["tokens"], kept[by]["difference"]["value"]
        whole = sum(number * value for number, value in zip(tokens, mean, strict=True)) / sum(tokens)
        assert whole == pytest.approx(losses[0] - losses[1], abs=2e-4)
        assert sum(kept[by]["share"]) == pytest.approx(1)
    levels = "--model.slower_levels=[{period: 2, hidden_size: 6}]"  # of which the slower has not yet said anything
    for name in ("slow", "slower"):
        sgrnn.well("train", "tiny.yaml", "--run", name, levels)
    assert "slow hidden ?" in sgrnn.well("diagnose", "slow", *SHORT, "--against", "slower")
    agreement = json.loads(Path("slow/diagnosis.json").read_text())["against"]["agreement"]
    assert agreement["slow hidden"] is None
    assert agreement["fast hidden"] is not None
    sgrnn.well("train", "tiny.yaml", "--run", "words", "--data.tokenizer.kind=word")
    message = sgrnn.refused("diagnose", run, *SHORT, "--against", "words")
    assert message.startswith("mine and words must have learned the same text with the same tokenizer")
