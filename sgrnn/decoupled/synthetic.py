"""Synthetic feedback: a synthesizer predicts the gradient from the message, and perhaps the label or the error."""

from itertools import pairwise
from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.decoupled.feedback import Exchange, Feedback, by_row
from sgrnn.synthesizers.interface import Interface

Told = Literal["nothing", "label", "error"]
"""Things that a synthesizer is told beside the message."""


@final
class MessageSynthesizer(nn.Module):
    """Predict the gradient at a message by a perceptron on the message and on what is known beside it.

    A hidden layer is linear, batch norm, ReLU; the last layer is zero, so that training begins without a gradient.
    Without hidden layers it is linear in message and known together (Jaderberg et al. 2016: none for cDNI, two of 1024
    units for DNI).

    Args:
        message_size: features of a message.
        hidden_sizes: units of each hidden layer.
        known_size: features of what is known beside the message; 0 for nothing.
        sigmoid: read the logistic sigmoid of message and known, too, entry by entry (Czarnecki et al. 2017, for log
            losses).
    """

    def __init__(
        self, message_size: int, hidden_sizes: tuple[int, ...] = (), *, known_size: int = 0, sigmoid: bool = False
    ) -> None:
        super().__init__()
        self.state_size, self.known_size, self.sigmoid = message_size, known_size, sigmoid
        sizes = [(message_size + known_size) * (2 if sigmoid else 1), *hidden_sizes]
        self.hidden = nn.Sequential()
        for before, after in pairwise(sizes):
            self.hidden.extend([nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()])
        self.last = nn.Linear(sizes[-1], message_size)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, message: Tensor, known: Tensor | None = None) -> Tensor:
        """Predict (rows, 1, message_size) for messages (rows, message_size) and what is known (rows, known_size).

        Raises:
            ValueError: either has other features than it should.
        """
        require_sizes(message, known, (self.state_size, self.known_size))
        inputs = message if known is None else torch.cat([message, known.to(message)], dim=1)
        if self.sigmoid:
            inputs = torch.cat([inputs, inputs.sigmoid()], dim=1)
        return self.last(self.hidden(inputs)).unsqueeze(1)


def require_sizes(message: Tensor, known: Tensor | None, sizes: tuple[int, int]) -> None:
    """Refuse messages (rows, features) and what is known (rows, known_size) of other sizes.

    Raises:
        ValueError: either has other features.
    """
    width = 0 if known is None else known.shape[1]
    if (message.shape[1], width) != sizes:
        raise ValueError(
            f"message and known must have {sizes[0]} and {sizes[1]} features, as the synthesizer was made for, got "
            f"{message.shape[1]} and {width}"
        )


@final
class SyntheticFeedback(Feedback):
    """Predict the gradient that the receiver will send back (decoupled neural interface, Jaderberg et al. 2016).

        g = M(message, told)                       the sender's gradient, at once
        minimize |M(message, told) - arrived|²     over M alone, when the receiver has gone backwards

    M predicts in units of a running scale (`sgrnn.synthesizers.GradientPredictor`).

    Args:
        synthesizer: M, such as `MessageSynthesizer`: ``(message (rows, features), known) -> (rows, 1, features)``.
        told: the thing that M knows beside the message: ``nothing`` (DNI), the ``label`` (cDNI), or the ``error``, the
            gradient of the rows' losses at the chain's outputs, which must have been computed (forward locking).
            Linear in the error alone it is direct feedback alignment whose weights are learned.
        classes: number of classes, where targets are class indices (rows,); None for targets that are told as they are.
        shrinkage: multiply predictions by `sgrnn.synthesizers.Shrinkage`.

    Raises:
        ValueError: `told` is none of these.
    """

    def __init__(
        self, synthesizer: nn.Module, *, told: Told = "nothing", classes: int | None = None, shrinkage: bool = False
    ) -> None:
        super().__init__()
        if told not in get_args(Told):
            raise ValueError(f"told must be one of {', '.join(get_args(Told))}, got {told!r}")
        self.interface = Interface(synthesizer, shrinkage=shrinkage)
        self.told, self.classes = told, classes
        self.waits_for = "outputs" if told == "error" else "nothing"

    def known(self, exchange: Exchange) -> Tensor | None:
        """Return what the synthesizer is told beside the message, (rows, features).

        Raises:
            ValueError: labels are no class indices.
        """
        if self.told == "nothing":
            return None
        if self.told == "label":
            return label_features(exchange.targets, self.classes)
        assert exchange.error is not None, "the outputs are known"
        return by_row(exchange.error) * len(exchange.error)

    def reply(self, exchange: Exchange) -> Tensor | None:
        """Return the prediction; see `Feedback.reply`."""
        return self.interface.injected(self._predict(exchange)).view_as(exchange.message)

    def learn(self, exchange: Exchange) -> None:
        """Train the synthesizer on what arrived; see `Feedback.learn`."""
        if exchange.arrived is not None:
            predicted = self._predict(exchange)
            gradient = self.interface.learn(predicted.detach(), by_row(exchange.arrived))
            if predicted.requires_grad:  # by a synthesizer that is not held fixed
                torch.autograd.backward(predicted, gradient)

    def _predict(self, exchange: Exchange) -> Tensor:
        if exchange.predicted is None:
            exchange.predicted = self.interface.predict(by_row(exchange.message), self.known(exchange))
        return exchange.predicted

    def metrics(self) -> dict[str, Tensor]:
        """Return the running R² of the predictions and their shrinkage; see `Feedback.metrics`."""
        return self.interface.metrics()


def label_features(targets: Tensor, classes: int | None) -> Tensor:
    """Return targets as features (rows, n): class indices as one-hot vectors, others as they are.

    Raises:
        ValueError: they are no class indices, or out of range.
    """
    if classes is None:
        if not targets.is_floating_point():
            raise ValueError(f"targets must be floating-point where `classes` is not given, got {targets.dtype}")
        return by_row(targets)
    if targets.dim() != 1 or targets.is_floating_point():
        raise ValueError(
            f"targets must be class indices (rows,) where `classes` is given, got {targets.dtype} "
            f"{tuple(targets.shape)}"
        )
    if not (int(targets.min()) >= 0 and int(targets.max()) < classes):
        raise ValueError(f"targets must be from 0 to {classes - 1}, got {int(targets.min())} to {int(targets.max())}")
    return F.one_hot(targets.long(), classes)
