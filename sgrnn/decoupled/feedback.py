"""Feedback between two modules of a chain: the gradient that a sender is given in the place of its receiver's."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor, nn

WaitsFor = Literal["nothing", "outputs", "receiver"]
"""Events before a reply: none, the chain's outputs (forward locking), the receiver's gradient (backward locking)."""


@dataclass
class Exchange:
    """One message at an interface of a chain, and what became of it.

    Args:
        message: (rows, ...) what the sender sent, without a graph.
        targets: (rows, ...) of the chain.
        received: (rows, ...) the leaf that the receiver read: the message, or a prediction of it.
        answer: (rows, ...) what the receiver made of it, with the receiver's graph until that goes backwards.
        error: (rows, ...) gradient of the mean loss at the chain's outputs; None before these are known.
        last: True where the receiver is the chain's last module.
        predicted: the prediction that was made for it, with the graph of its synthesizer.
    """

    message: Tensor
    targets: Tensor
    received: Tensor
    answer: Tensor
    error: Tensor | None = None
    last: bool = False
    predicted: Tensor | None = None

    @property
    def arrived(self) -> Tensor | None:
        """Gradient (rows, ...) that the receiver sent back; None where it did not go backwards."""
        return self.received.grad


def by_row(tensor: Tensor) -> Tensor:
    """Return a tensor (rows, ...) as (rows, features); one number a row is one feature."""
    return tensor.flatten(1) if tensor.dim() > 1 else tensor.unsqueeze(1)


class Feedback(nn.Module, ABC):
    """Give the sender of a message a gradient, in the place of that which its receiver would send back.

    Attributes:
        waits_for: what must be known before it replies.
    """

    waits_for: WaitsFor = "nothing"

    @abstractmethod
    def reply(self, exchange: Exchange) -> Tensor | None:
        """Return the gradient (rows, ...) of the mean loss that the sender is given for its message; None for none."""

    def learn(self, exchange: Exchange) -> None:
        """Add to the gradients of this feedback's own parameters, by what arrived from the receiver."""

    def metrics(self) -> dict[str, Tensor]:
        """Return running metrics of the quality of this feedback."""
        return {}


def all_metrics(feedback: Iterable[nn.Module]) -> dict[str, Tensor]:
    """Return the metrics of all feedback of a chain, by the number of the interface, from 1."""
    return {
        f"interface_{number}_{name}": value
        for number, one in enumerate(feedback, start=1)
        if isinstance(one, Feedback)
        for name, value in one.metrics().items()
    }


@final
class Backpropagation(Feedback):
    """Send the receiver's own gradient back: every module waits for those above (backward locking)."""

    waits_for = "receiver"

    def reply(self, exchange: Exchange) -> Tensor | None:
        """Return what arrived; see `Feedback.reply`."""
        return exchange.arrived


@final
class NoFeedback(Feedback):
    """Send nothing back: all modules but the last stay as they were drawn. A control."""

    def reply(self, exchange: Exchange) -> Tensor | None:
        """Return None; see `Feedback.reply`."""
        return None
