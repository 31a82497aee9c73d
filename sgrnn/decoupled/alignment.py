"""Feedback that is not learned: fixed random weights in the place of the receivers', and Kickback."""

from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import same_values
from sgrnn.decoupled.feedback import Exchange, Feedback, by_row


@final
class FeedbackAlignment(Feedback):
    """Carry the gradient at the receiver's first layer back by fixed random weights (Lillicrap et al. 2016).

        g = d B        d the gradient at the outputs x W' + b of that layer; back-propagation has g = d W

    Args:
        receiver: the module that reads the messages, which begins with a ``torch.nn.Linear``. It is watched, by a copy
            where it is copied together with that.
        seed: of B, which is drawn as torch draws W.

    Raises:
        ValueError: the receiver begins with something else.
    """

    waits_for = "receiver"
    weight: Tensor

    def __init__(self, receiver: nn.Module, seed: int = 0) -> None:
        super().__init__()
        leaves = ((name, module) for name, module in receiver.named_modules() if not list(module.children()))
        self._name, layer = next(leaves, ("", None))
        if not isinstance(layer, nn.Linear):
            raise ValueError(f"receiver must begin with a torch.nn.Linear, got a {type(layer).__name__}")
        self.register_buffer("weight", random_weights(layer.out_features, layer.in_features, seed).to(layer.weight))
        self._read: Tensor | None = None
        self._reads_messages = False  # as the first reply shows
        self._at_layer: Tensor | None = None
        layer.register_forward_hook(self._watch)

    def _watch(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.requires_grad:
            if inputs and not self._reads_messages:
                self._read = inputs[0].detach()
            output.register_hook(self._keep)

    def _keep(self, gradient: Tensor) -> None:
        self._at_layer = gradient

    def reply(self, exchange: Exchange) -> Tensor | None:
        """Return d B; see `Feedback.reply`.

        Raises:
            ValueError: it is a copy that was made without its receiver, which the original watches; or the receiver's
                first layer reads something else than the message.
        """
        gradient, self._at_layer = self._at_layer, None
        if gradient is None and exchange.arrived is not None:
            raise ValueError("a copy of FeedbackAlignment watches no receiver unless that is copied with it")
        if gradient is None:
            return None
        if self._read is not None and not same_values(by_row(self._read), by_row(exchange.received.detach())):
            raise ValueError(
                f"receiver must read the message by the first of its layers, and {self._name or 'the layer'} read "
                "something else: register the layer that reads it before all others"
            )
        self._read, self._reads_messages = None, True
        return gradient @ self.weight.to(gradient)


@final
class DirectFeedbackAlignment(Feedback):
    """Carry the error at the chain's outputs straight to a sender by fixed random weights (Nøkland 2016): g = e B.

    Args:
        message_size: features of a message.
        output_size: features of the chain's outputs.
        seed: of B, whose entries are uniform with variance 1 / output_size.
    """

    waits_for = "outputs"
    weight: Tensor

    def __init__(self, message_size: int, output_size: int, seed: int = 0) -> None:
        super().__init__()
        drawn = 3**0.5 * random_weights(message_size, output_size, seed)
        self.register_buffer("weight", drawn.T.contiguous())

    def reply(self, exchange: Exchange) -> Tensor | None:
        """Return e B; see `Feedback.reply`.

        Raises:
            ValueError: outputs or messages have other sizes.
        """
        assert exchange.error is not None, "the outputs are known"
        error = by_row(exchange.error)
        sizes = error.shape[1], by_row(exchange.message).shape[1]
        if sizes != self.weight.shape:
            raise ValueError(
                f"direct feedback of {self.weight.shape[0]} outputs to messages of {self.weight.shape[1]} features got "
                f"outputs of {sizes[0]} and messages of {sizes[1]}"
            )
        return (error @ self.weight.to(error)).view_as(exchange.message)


@final
class Kickback(Feedback):
    """Send one number of the output error back, times the message's influence on the units of its receiver.

        g = e t,   t = d(sum of the receiver's outputs) / d(message)

    (Balduzzi, Vanchinathan & Buhmann 2015, for a network of one output, whose last hidden layer then has its true
    gradient.) Ours for several outputs: e is in each row the error of largest size, under a cross-entropy that of the
    right class, and at the last module the influence is that on this output alone.
    """

    waits_for = "outputs"

    def reply(self, exchange: Exchange) -> Tensor | None:
        """Return e t; see `Feedback.reply`."""
        assert exchange.error is not None, "the outputs are known"
        errors, answer = by_row(exchange.error), by_row(exchange.answer)
        largest = errors.abs().argmax(dim=1, keepdim=True)
        moved = answer.gather(1, largest) if exchange.last else answer
        (influence,) = torch.autograd.grad(moved.sum(), exchange.received, retain_graph=True)
        return (by_row(influence) * errors.gather(1, largest)).view_as(exchange.message)


def random_weights(rows: int, columns: int, seed: int) -> Tensor:
    """Draw weights (rows, columns) uniformly from ± columns^-½, as ``torch.nn.Linear`` draws its own."""
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(rows, columns, generator=generator) - 1) * columns**-0.5
