"""What `benchmarks/understanding.py` measures: each quantity where it is known beforehand."""

from pathlib import Path

import decoupled_networks
import pytest
import torch
import torch.nn.functional as F
from decoupled_networks import Setting, build
from torch import Tensor, nn
from understanding import deep, representations
from understanding_models import (
    DATA,
    LOSSES,
    Linear,
    artificial,
    deep_network,
    layers_of,
    recovered,
    train_linear,
    weight_norms,
)

from sgrnn import decoupled


@pytest.fixture(autouse=True)
def _mnist(stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGRNN_DATA", str(stand_ins))
    decoupled_networks.digits.cache_clear()


def least_squares(inputs: Tensor, targets: Tensor) -> float:
    ones = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    return float((ones @ torch.linalg.pinv(ones) @ targets - targets).square().mean())


def test_the_data_sets_are_what_they_say() -> None:
    losses = {name: least_squares(*artificial(name, 2, 0)) for name in DATA}
    assert losses["separable"] < 0.12
    assert 0.15 < losses["noisy"] < 0.22
    assert losses["xor"] > 0.24
    assert losses["random"] > 0.24
    inputs, targets = artificial("xor", 5, 1)
    assert torch.equal(targets[:, 0] > 0, inputs[:, 0] * inputs[:, 1] > 0)
    assert 0.4 < float(targets.mean()) < 0.6


@pytest.mark.parametrize("layers", [1, 3])
def test_with_squared_loss_a_linear_model_finds_its_optimum_by_predictions(layers: int) -> None:
    for method in ("backprop", "linear"):
        found, least = train_linear(Linear("noisy", 2, "squared", layers, method, 0, 800, 3e-2))
        assert least == pytest.approx(least_squares(*artificial("noisy", 2, 0)), rel=1e-4)
        assert found == pytest.approx(least, rel=0.02)


def test_losses_are_the_squared_difference_and_the_cross_entropy() -> None:
    outputs, targets = torch.tensor([[0.5], [-1.0]]), torch.tensor([[1.0], [0.0]])
    torch.testing.assert_close(LOSSES["squared"](outputs, targets), torch.tensor([0.25, 1.0]))
    expected = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")[:, 0]
    torch.testing.assert_close(LOSSES["log"](outputs, targets), expected)


class Exact(nn.Module):
    """Knows the gradient at a message of what comes above it."""

    def __init__(self, upper: nn.Module, rows: int) -> None:
        super().__init__()
        self.upper, self.rows = upper, rows
        self.anything = nn.Parameter(torch.zeros(()))

    def forward(self, message: Tensor, known: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = message.detach().requires_grad_()
            loss = F.cross_entropy(self.upper(leaf), known.argmax(dim=1), reduction="sum")
            (gradient,) = torch.autograd.grad(loss, leaf)
        return gradient.unsqueeze(1) / self.rows + self.anything


def test_exact_predictions_recover_the_loss_and_none_recover_nothing() -> None:
    setting = Setting("cdni", 3, 1.0, 0, 1, 1e-3, 1e-3, 0, hidden_size=8)
    chain, rows = build(setting), 20
    images, labels = (each[:60] for each in decoupled_networks.digits("test"))
    assert recovered(chain, images, labels, rows) == pytest.approx([0, 0])
    for number, feedback in enumerate(chain.feedback):
        assert isinstance(feedback, decoupled.SyntheticFeedback)
        feedback.interface.predictor.synthesizer = Exact(chain.network[number + 1 :], rows)
    chain.network.eval()
    found = recovered(chain, images, labels, rows, points=20)
    assert min(found) > 0.98


def test_layers_are_those_of_the_network_in_evaluation_and_norms_those_of_its_matrices() -> None:
    chain = build(Setting("backprop", 4, 1.0, 0, 1, 1e-3, 1e-3, 0, hidden_size=8))
    images = decoupled_networks.digits("test")[0][:5]
    found = layers_of(chain.network, images)
    chain.network.eval()
    assert [layer.shape[1] for layer in found] == [8, 8, 8, 10]
    torch.testing.assert_close(found[-1], chain(images))
    norms = weight_norms(chain.network)
    assert norms[-1] == pytest.approx(float(chain.network[3].weight.detach().norm()))  # pyright: ignore
    assert len(norms) == 4
    lower, upper = deep_network(784, 8, 9, 10)
    assert (len(lower), len(upper)) == (4, 5)  # pyright: ignore[reportArgumentType]


def test_a_deep_network_and_three_that_are_compared_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr("understanding.ROWS", 20)
    for method in ("backprop", "cdni"):
        assert 0 <= deep(method, 4, 0, 3)["value"] <= 100
    result = representations(3, 0, 4)
    torch.set_num_threads(threads)
    assert len(result["cdni"]["agreement"]) == len(result["other"]["probes"]) == len(result["backprop"]["norms"]) == 3
    assert len(result["cdni"]["recovered"]) == 2
    assert len(result["cdni"]["recovered"][0]) == 2
    assert result["other"]["agreement"] != result["cdni"]["agreement"]
