"""`sgrnn diagnose`: its tables are what it keeps, any run can be diagnosed, and what cannot be is refused."""

import json
import math
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import make_diagnosis
from rich.console import Console

from sgrnn.analysis.verdict import worth
from sgrnn.cli.diagnose import print_diagnosis
from sgrnn.training.checkpoints import Checkpoint
from sgrnn.training.run import Run

from .commands import Commands, table_in

SHORT = ("--horizon", 8, "--spans", 12)
TASK = """
task: {kind: copy, bits: 2, episodes_per_epoch: 4}
model: {core: lstm, hidden_size: 8}
gradient: {kind: synthetic, window: 2}
training: {epochs: 2, batch_size: 3, device: cpu}
"""


def printed(metrics: dict[str, Any], window: int | None) -> str:
    stream = StringIO()
    print_diagnosis(Console(file=stream, width=120, markup=False, highlight=False, soft_wrap=True), metrics, window)
    return stream.getvalue()


def test_every_number_stands_under_its_name() -> None:
    output = printed(make_diagnosis(), window=2)
    assert table_in(output) == {
        "1": {"cosine": "0.910 ± 0.010", "R²": "0.550 ± 0.040", "norm ratio": "1.100 ± 0.070",
              "R² hidden": "0.660 ± 0.040", "R² cell": "0.360 ± 0.040"},
        "2": {"cosine": "0.820 ± 0.020", "R²": "0.440 ± 0.050", "norm ratio": "1.200 ± 0.080",
              "R² hidden": "0.560 ± 0.050", "R² cell": "0.260 ± 0.050"},
        "4": {"cosine": "0.730 ± 0.030", "R²": "0.330 ± 0.060", "norm ratio": "1.300 ± 0.090",
              "R² hidden": "0.460 ± 0.060", "R² cell": "-0.160 ± 0.060"},
        "estimator": {"relative error": "0.300 ± 0.030", "cosine": "0.950 ± 0.011", "shows after updates": "378"},
        "T=1": {"relative error": "0.800 ± 0.080", "cosine": "0.650 ± 0.011", "shows after updates": "40"},
        "T=2": {"relative error": "0.500 ± 0.050", "cosine": "0.850 ± 0.011", "shows after updates": "90"},
        "T=4": {"relative error": "0.100 ± 0.010", "cosine": "1.000 ± 0.011 *", "shows after updates": "never"},
        "all": {"estimator": "0.300 ± 0.030", "truncated T=2": "0.500 ± 0.050", "noise of one update": "4.80"},
        "weight": {"estimator": "0.310 ± 0.031", "truncated T=2": "0.510 ± 0.051", "noise of one update": "5.20"},
        "norm of the state": {"all": "25.000 ± 0.500", "hidden": "3.000 ± 0.250", "cell": "24.000 ± 0.750"},
        "size of a prediction": {"all": "0.700 ± 0.070", "hidden": "0.600 ± 0.060", "cell": "0.200 ± 0.020"},
        "common to all rows": {"all": "0.030 ± 0.003", "hidden": "0.040 ± 0.004", "cell": "0.050 ± 0.005"},
        "along the state": {"all": "0.015 ± 0.001", "hidden": "0.025 ± 0.002", "cell": "0.035 ± 0.006"},
    }  # fmt: skip
    assert "* by noise the estimate came out beyond ±1: take more spans" in output
    assert output.endswith(
        "horizon: 90% of the true gradient lies within 3.3 ± 0.4 steps, of what is injected within 1.7 ± 0.2\n"
        "bias: 0.300 ± 0.030 of the mean parameter gradient; shows above the noise after so many updates: 378\n"
        "this estimator is worth T=2.9 ± 0.1 (between 2 and 4) of plain truncation\n"
        "loss recovered from the predictions: R² 0.540 ± 0.055\n"
    )


def test_what_is_not_known_is_said_so() -> None:
    metrics = make_diagnosis()
    metrics["bias"]["relative_error"]["value"][0][0] = metrics["bias"]["relative_error"]["error"][0][0] = None
    metrics["bias"]["equivalent_window"] = {"value": None, "error": None, "text": "not to be told from noise"}
    metrics["bias"]["cosine_outside"] = [[False, False]] * 4
    metrics["recovered"] = {"value": None, "error": None}
    metrics["alignment"]["true_horizon"] = {"value": 3.0, "error": 2.0}
    metrics["alignment"]["parts"] = ["all", "hidden"]
    output = printed(metrics, window=None)
    table = table_in(output)
    assert table["estimator"] == {"relative error": "?", "cosine": "0.950 ± 0.011", "shows after updates": "unknown"}
    assert table["all"] == {"estimator": "?", "noise of one update": "4.80"}
    assert table["1"].keys() == {"cosine", "R²", "norm ratio"}, "a single part is the whole"
    assert "*" not in output
    assert output.endswith(
        "horizon: 90% of the true gradient lies within 3.0 ± 2.0 (not known: take more spans) steps, "
        "of what is injected within 1.7 ± 0.2\n"
        "bias: ? of the mean parameter gradient; shows above the noise after so many updates: unknown\n"
        "what this estimator is worth is not to be told from noise\n"
        "loss recovered from the predictions: R² ?\n"
    )


def test_it_prints_and_keeps_the_same_metrics_again_and_touches_nothing_else(sgrnn: Commands) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine")
    before = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
    output = sgrnn.well("diagnose", "mine", *SHORT)
    kept = Path("mine", "diagnosis.json").read_text()
    metrics = json.loads(kept)
    in_short = f"in short: {worth(Run.open(Path('mine')), metrics)}\n"
    assert output == f"{printed(metrics, window=3)}{in_short}metrics: mine/diagnosis.json\n"
    assert (metrics["update"], metrics["horizon"], metrics["spans"]) == (10, 8, 12)
    assert metrics["alignment"]["lags"] == [1, 2, 3, 5, 8]
    assert metrics["alignment"]["parts"] == metrics["health"]["parts"] == ["all", "hidden", "cell"]
    windows, window = metrics["bias"]["windows"], metrics["bias"]["equivalent_window"]["value"]
    assert set(windows) >= {1, 2, 3, 6, 12}
    assert not 1 < window < 12 or {math.floor(window), math.ceil(window)} <= set(windows)
    assert metrics["bias"]["tensors"][:2] == ["all", "embedding.weight"]
    assert sgrnn.well("diagnose", "mine", *SHORT) == output
    assert Path("mine", "diagnosis.json").read_text() == kept
    assert all(path.read_bytes() == content for path, content in before.items()), "nothing else was touched"


@pytest.mark.parametrize(
    ("overrides", "predicts"),
    [
        (["--gradient.kind=bptt", "--model.core=gru", "--model.num_layers=2"], False),
        (["--gradient.kind=exact", "--model.dropout=0"], False),
        (["--gradient.source={kind: alternate, every: 1}", "--gradient.synthesizer={kind: adjoint}"], True),
        (["--training.batch_size=1"], False),  # a row alone has no neighbor to recover a loss with
    ],
)  # fmt: skip
def test_any_estimator_and_core_can_be_diagnosed(sgrnn: Commands, overrides: list[str], predicts: bool) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine", *overrides)
    output = sgrnn.well("diagnose", "mine", *SHORT)
    assert "plain truncation" in output
    assert ("loss recovered" in output) == predicts


def test_of_whole_episodes_it_says_what_cannot_be_known(sgrnn: Commands, folder: Path) -> None:
    (folder / "task.yaml").write_text(TASK)
    sgrnn.well("train", "task.yaml", "--run", "mine")
    output = sgrnn.well("diagnose", "mine", *SHORT)
    worth = r"this estimator is worth (T=\d+\.\d( ± \d+\.\d)?|(less|more) than T=\d+)( \(.*\))? of plain truncation\n"
    assert re.search(worth, output)
    assert output.count("loss recovered from the predictions: R² ?\n") == 1


def test_a_run_may_be_called_what_looks_like_markup(sgrnn: Commands, tiny: str) -> None:
    Path("a[").mkdir()
    Path(tiny).rename("a[/b]")
    assert sgrnn.well("diagnose", "a[/b]", *SHORT).endswith("metrics: a[/b]/diagnosis.json\n")


def test_what_cannot_be_kept_is_printed_first(sgrnn: Commands) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine")
    Path("mine", "diagnosis.json").mkdir()  # in the way
    outcome = sgrnn("diagnose", "mine", *SHORT)
    assert "of plain truncation" in outcome.out
    assert outcome.status == 2
    assert re.match(r"sgrnn: cannot write mine/diagnosis\.json: [^;]*; [a-z ]*\n$", outcome.err)


def test_what_cannot_be_diagnosed_is_refused(sgrnn: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine")
    assert "--spans is too small: spans must make at least two stretches of 12 steps, got 1" in sgrnn.refused(
        "diagnose", "mine", "--horizon", 12, "--spans", 2
    )
    for horizon, shown in ((13, "13"), (10**8, "100,000,000")):
        message = f"--horizon must be at most 12, the steps of 2 spans, got {shown}"
        assert sgrnn.refused("diagnose", "mine", "--horizon", horizon, "--spans", 2) == message
    assert not Path("mine", "diagnosis.json").exists()
    assert "nowhere holds no run" in sgrnn.refused("diagnose", "nowhere")
    load = Checkpoint.load_state

    def without(part: str) -> None:
        def load_state(self: Checkpoint, device: torch.device) -> dict[str, Any]:
            return {name: value for name, value in load(self, device).items() if name != part}

        monkeypatch.setattr(Checkpoint, "load_state", load_state)

    for part in ("estimator", "state"):
        without(part)
        message = sgrnn.refused("diagnose", "mine", *SHORT)
        assert re.match(r"mine/checkpoints/update-\d+/state\.pt was written by another version of sgrnn: .*", message)
    for checkpoint in Path("mine", "checkpoints").iterdir():
        for path in checkpoint.iterdir():
            path.unlink()
        checkpoint.rmdir()
    assert sgrnn.refused("diagnose", "mine") == "mine has no checkpoint yet: go on with `sgrnn resume mine`"
