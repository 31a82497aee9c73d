"""The fixed diagonal of `benchmarks/stationary.py`: exact for a core that is one, truncation where it is 0."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from stationary import METHODS, StationaryFeedback, run, show, train, windows_of
from torch import Tensor, nn

from sgrnn import BPTT, Span, TruncatedBPTT


class Decaying(nn.Module):
    """Units that decay by themselves, each at its own pace: h_t = decay h_{t-1} + W x_t, which is the output too."""

    def __init__(self, decay: Tensor) -> None:
        super().__init__()
        self.into, self.decay = nn.Linear(3, len(decay)), decay

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(1, batch_size, len(self.decay), dtype=self.decay.dtype)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        units, steps = state[0], []
        for drive in self.into(inputs):
            units = self.decay * units + drive
            steps.append(units)
        return torch.stack(steps), units.unsqueeze(0)


def gradients_of(estimator: Any, span: Span) -> list[Tensor]:
    estimator.model.zero_grad()
    estimator.backward(span)
    return [parameter.grad.clone() for parameter in estimator.model.parameters()]


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(dim=-1)


@pytest.fixture
def span() -> Span:
    torch.manual_seed(0)
    return Span(torch.randn(7, 2, 3).double(), torch.randn(7, 2, 5).double())


def test_it_is_exact_where_the_core_is_such_a_diagonal(span: Span) -> None:
    decay = torch.rand(5).double()
    core = Decaying(decay).double()
    ours, exact = gradients_of(StationaryFeedback(core, squared, decay), span), gradients_of(BPTT(core, squared), span)
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_it_is_truncation_where_the_diagonal_is_zero(span: Span) -> None:
    core = Decaying(torch.rand(5).double()).double()
    ours = gradients_of(StationaryFeedback(core, squared, torch.zeros(5).double()), span)
    for one, other in zip(ours, gradients_of(TruncatedBPTT(core, squared, 1), span), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("row", "arrives"), [(0, True), (2, False)])
def test_shuffled_takes_what_is_later_from_the_row_before(row: int, arrives: bool) -> None:
    torch.manual_seed(0)
    decay = torch.rand(5).double()
    core = Decaying(decay).double()
    nn.init.zeros_(core.into.bias)
    inputs, targets = torch.zeros(7, 3, 3).double(), torch.zeros(7, 3, 5).double()
    inputs[:, 1].normal_()  # the weight learns from the row in the middle alone
    targets[:, row].normal_()
    span = Span(inputs, targets)
    ours = gradients_of(StationaryFeedback(core, squared, decay, shuffled=True), span)[0]
    alone = gradients_of(TruncatedBPTT(core, squared, 1), span)[0]
    assert torch.allclose(ours, alone, rtol=1e-12) is not arrives


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method: str, stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGRNN_DATA", str(stand_ins))
    decay = 0.5 if method.startswith("stationary") else 0.0
    result = train("words", "gru", method, window=1, decay=decay, seed=0, updates=2)
    assert (result["metric"], result["updates"]) == ("validation perplexity", 2)
    assert 1 < result["value"] < 20_000


def test_the_table_has_means_and_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {
        "task": "words",
        "core": "gru",
        "window": 1,
        "updates": 9,
        "method": "stationary",
        "metric": "validation perplexity",
    }
    show([{**fields, "decay": 0.5, "seed": seed, "value": value} for seed, value in ((0, 150.0), (1, 152.0))])
    assert "| 1      | stationary | 0.5           | 9       | 151.00 | 150.00, 152.00 |" in capsys.readouterr().out


def test_a_fixed_diagonal_is_of_one_step_of_a_gru_and_longer_has_its_own_window() -> None:
    assert windows_of("truncated", "lstm", [1, 5]) == windows_of("inside, 1e-2", "gru", [1, 5]) == [1, 5]
    assert windows_of("longer", "lstm", [1, 5]) == [20]
    assert windows_of("stationary, shuffled", "gru", [1, 5]) == [1]
    assert windows_of("stationary", "lstm", [1, 5]) == windows_of("stationary", "gru", [5]) == []


def test_updates_are_timed_side_by_side(stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGRNN_DATA", str(stand_ins))
    asked = argparse.Namespace(
        seconds=True, tasks=["words"], cores=["gru"], methods=["truncated", "stationary", "longer"], windows=[1]
    )
    records = list(run(asked))
    assert [(record["method"], record["window"]) for record in records] == [("truncated", 1), ("longer", 20)]
    assert all(record["metric"] == "seconds per update" and record["value"] > 0 for record in records)
