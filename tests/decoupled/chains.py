"""Small chains in float64, and their gradients by one graph to compare with."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sgrnn.decoupled import Exchange, Feedback

INPUTS, HIDDEN, CLASSES, ROWS = 5, 4, 3, 6


def make_modules(layers: int = 4, seed: int = 0) -> list[nn.Module]:
    """Linear and tanh, and a linear one at the end."""
    torch.manual_seed(seed)
    sizes = [INPUTS, *[HIDDEN] * (layers - 1)]
    hidden = [nn.Sequential(nn.Linear(*both), nn.Tanh()) for both in pairwise(sizes)]
    return [module.double() for module in [*hidden, nn.Linear(HIDDEN, CLASSES)]]


def make_data(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(ROWS, INPUTS, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(CLASSES, (ROWS,), generator=generator)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss for each row."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def taken(modules: Sequence[nn.Module]) -> list[Tensor]:
    """Gradients of all parameters, which are removed."""
    found = []
    for module in modules:
        for parameter in module.parameters():
            found.append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
            parameter.grad = None
    return found


def messages_of(modules: Sequence[nn.Module], inputs: Tensor) -> list[Tensor]:
    """What every module sends, in one graph."""
    sent = [inputs]
    for module in modules:
        sent.append(module(sent[-1]))
    return sent[1:]


def true_gradients(modules: Sequence[nn.Module], inputs: Tensor, targets: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of all parameters, and at what every module sends, by plain autograd."""
    sent = messages_of(modules, inputs)
    for message in sent:
        message.retain_grad()
    cross_entropy(sent[-1], targets).mean().backward()
    return taken(modules), [message.grad for message in sent if message.grad is not None]


class Given(Feedback):
    """Replies what it is told to."""

    def __init__(self, reply: Callable[[Exchange], Tensor | None]) -> None:
        super().__init__()
        self._reply = reply

    def reply(self, exchange: Exchange) -> Tensor | None:
        return self._reply(exchange)
