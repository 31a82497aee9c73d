"""Small models trained with one synthesizer, and what is asked of networks that synthetic gradients have trained."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn import decoupled
from sgrnn.decoupled.passes import backpropagate

DATA = ("separable", "noisy", "xor", "random")
LOSSES = {
    "squared": lambda outputs, targets: (outputs - targets).square().sum(dim=1),
    "log": lambda outputs, targets: F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(dim=1),
}
ROWS = 500


@dataclass(frozen=True)
class Linear:
    """A linear model, or a deep one of linear layers, that is trained with a synthesizer or without.

    Args:
        data: a name in `DATA`.
        size: dimensions of the inputs.
        loss: a name in `LOSSES`.
        layers: of the model.
        method: backprop, or a synthesizer told the label, `linear` or with a `sigmoid`. Of one layer it predicts the
            gradient at the model's output, of more that in the middle.
        seed: of data and model.
        steps: of training, each on all rows.
        rate: of Adam for both, falling to zero.
    """

    data: str
    size: int
    loss: str
    layers: int
    method: str
    seed: int
    steps: int
    rate: float = 1e-2


def artificial(data: str, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return normal inputs (ROWS, size), and targets (ROWS, 1), 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(ROWS, size, generator=generator)
    side = inputs @ torch.randn(size, 1, generator=generator) > 0
    if data == "noisy":
        side ^= torch.rand(ROWS, 1, generator=generator) < 0.2
    if data == "xor":
        side = (inputs[:, :1] * inputs[:, 1:2]) > 0
    if data == "random":
        side = torch.rand(ROWS, 1, generator=generator) < 0.5
    return inputs, side.float()


def train_linear(setting: Linear) -> tuple[float, float]:
    """Train a linear model; the loss at the end, and the least that a linear model of squared loss has."""
    inputs, targets = artificial(setting.data, setting.size, setting.seed)
    torch.manual_seed(setting.seed)
    layers = [nn.Linear(setting.size, setting.size) for _ in range(setting.layers - 1)]
    parts: list[nn.Module] = [*layers, nn.Linear(setting.size, 1)]
    middle = max(1, setting.layers // 2)
    upper = nn.Sequential(*parts[middle:])  # of one layer, nothing
    feedback = feedback_in_the_middle(setting.method, setting.size if setting.layers > 1 else 1, 1)
    modules, loss = [nn.Sequential(*parts[:middle]), upper], LOSSES[setting.loss]
    parameters = [*nn.ModuleList(modules).parameters(), *feedback.parameters()]
    optimizer = torch.optim.Adam(parameters, setting.rate, fused=True)
    for step in range(setting.steps):
        optimizer.param_groups[0]["lr"] = setting.rate * (1 - step / setting.steps)
        backpropagate(modules, loss, [feedback], inputs, targets)
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        found = float(loss(nn.Sequential(*parts)(inputs), targets).mean())
    ones = torch.cat([inputs, torch.ones(ROWS, 1)], dim=1).double()
    fitted = ones @ torch.linalg.lstsq(ones, targets.double()).solution
    return found, float((fitted - targets).square().mean())


def feedback_in_the_middle(method: str, message_size: int, label_size: int) -> decoupled.Feedback:
    """Return the feedback of a method, told the label where it is a synthesizer."""
    if method == "backprop":
        return decoupled.Backpropagation()
    synthesizer = decoupled.MessageSynthesizer(message_size, known_size=label_size, sigmoid=method == "sigmoid")
    return decoupled.SyntheticFeedback(synthesizer, told="label")


def deep_network(input_size: int, hidden_size: int, layers: int, classes: int) -> list[nn.Module]:
    """Return a deep ReLU network in two halves, with an interface between them."""
    parts = decoupled.fully_connected(input_size, hidden_size, layers, classes)
    return [nn.Sequential(*parts[: layers // 2]), nn.Sequential(*parts[layers // 2 :])]


@torch.no_grad()
def layers_of(network: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """Return the outputs of every layer for some inputs, as in evaluation."""
    network.eval()
    found = []
    for layer in network:
        inputs = layer(inputs)
        found.append(inputs)
    network.train()
    return found


def weight_norms(network: nn.Sequential) -> list[float]:
    """Return the norm of every layer's matrix."""
    matrices = [next(p for p in layer.parameters() if p.dim() == 2) for layer in network]
    return [float(matrix.detach().norm()) for matrix in matrices]


def recovered(chain: decoupled.Chain, inputs: Tensor, targets: Tensor, rows: int, points: int = 5) -> list[float]:
    """Return for every interface the R² between the loss that predicted gradients imply and the loss itself.

    From each row's message to that of the next row of its class: the integral of the predicted gradient along the
    straight line, against the difference of the losses, the layers above being run from both, as in evaluation.

    Args:
        chain: a trained network with synthesizers that wait for nothing.
        inputs, targets: some of the data.
        rows: of a batch in training, over which predicted gradients are a mean.
        points: of the quadrature.
    """
    order = targets.argsort(stable=True)
    inputs, targets = inputs[order], targets[order]
    same = targets == targets.roll(1)
    nodes, weights = np.polynomial.legendre.leggauss(points)
    found = []
    for number, message in enumerate(layers_of(chain.network, inputs)[:-1]):
        feedback, upper = chain.feedback[number], chain.network[number + 1 :]
        assert isinstance(feedback, decoupled.SyntheticFeedback), "of a network with synthesizers"
        upper.eval()
        with torch.no_grad():
            cost = chain.loss(upper(message), targets)
            implied = torch.zeros_like(cost)
            for node, weight in zip(nodes, weights, strict=True):
                between = message.roll(1, dims=0).lerp(message, (float(node) + 1) / 2)
                exchange = decoupled.Exchange(between, targets, between, between)
                reply = feedback.reply(exchange)
                assert reply is not None, "of a synthesizer"
                implied += float(weight) / 2 * (reply * (message - message.roll(1, dims=0))).sum(dim=1)
        upper.train()
        true = (cost - cost.roll(1))[same]
        error = true - implied[same] * rows
        found.append(float(1 - error.square().sum() / true.square().sum()))
    return found
