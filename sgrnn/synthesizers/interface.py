"""An interface between two modules: passes a message on, and predicts for its sender the receiver's gradient."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce
from sgrnn.state import (
    State,
    at_least_float32,
    batch_size,
    leaves,
    map_state,
    parts_of,
    rebuilt,
    state_size,
    without_autocast,
)  # fmt: skip
from sgrnn.synthesizers.predictor import GradientPredictor


@final
class Interface(nn.Module):
    """Decouple two modules: predict for the sender of a message the gradient that its receiver would send back.

    The synthetic gradient between modules (Jaderberg et al. 2016, section 3.2): for a message m from a sender to a
    receiver, with L the receiver's loss,

        g = M(m, known)                      predicted when the message is sent, and the sender's gradient at m
        minimize |M(m, known) - dL/dm|^2     over M's parameters only, when the receiver goes backwards

    so that the sender is trained at once, whenever the receiver may run, and however seldom. In a loop:

        received, reply = interface(sender(inputs))
        (loss_of_sender + reply).backward()              # the sender has its gradient, and may be updated now
        ...
        loss_of_receiver(receiver(received)).backward()  # the receiver has its own, and so has the interface

    The graph is cut: nothing of the receiver's arrives at the sender. The receiver may be run on several messages
    before it goes backwards, but each message once; where it never does, M does not learn of that message.

    Gradients are in the unit of the receiver's loss, so that a mean over rows or steps must stay one over as many. The
    sender's loss, and not the reply, is what may be scaled.

    Args:
        synthesizer: M, as `sgrnn.synthesizers` describes, of a state that is the message: a module
            ``synthesizer(message, known) -> (rows, heads, features)``, of which the first head counts;
            ``MLPSynthesizer(features)`` for one. Its last layer zero, the sender begins without a gradient.
        shrinkage: multiply by `sgrnn.Shrinkage`; without, predictions are trusted from the first on.
        ema_decay: decay of the running means (scale of the gradients, shrinkage), per message that is answered.
        all_reduce: sums over the processes, where several share a batch (`sgrnn.all_reduce`), each with as many rows
            and a loss that is a mean over its own. Running means, shrinkage and metrics are then those of all rows.
            Each message sent with gradients and each answer is then a message between the processes: all of them must
            send and answer alike, as often and in the same order, so that between the levels of a core their rows must
            be in step, and windows in order or as one batch in all of them: an estimator's `parallel` True or False,
            and not None.
    """

    def __init__(
        self,
        synthesizer: nn.Module,
        *,
        shrinkage: bool = True,
        ema_decay: float = 0.99,
        all_reduce: AllReduce | None = None,
    ) -> None:
        super().__init__()
        self.predictor = GradientPredictor(
            synthesizer, shrinkage=shrinkage, ema_decay=ema_decay, all_reduce=all_reduce
        )  # fmt: skip

    @property
    def message_size(self) -> int | None:
        """Features of a message, the synthesizer's ``state_size``; None for any number."""
        return getattr(self.predictor.synthesizer, "state_size", None)

    def forward(self, message: Tensor, known: Any = None) -> tuple[Tensor, Tensor]:
        """Pass a message on, cut off from its graph, and return with it a term for the sender's loss.

        Args:
            message: (rows, features), with the sender's graph.
            known: further inputs of the synthesizer, such as a `sgrnn.Lookahead` of the rows.

        Returns:
            the received message, of the same values, whose backward pass trains the synthesizer and ends there; and the
            reply, zero, whose backward pass gives the sender its synthetic gradient: add it to the sender's loss.

        Raises:
            ValueError: the message is no matrix, or the synthesizer predicts for another number of features.
        """
        sent = message.detach()
        self._require_message(sent)
        if not torch.is_grad_enabled():
            return sent, sent.new_zeros(())
        predicted = self.predict(sent, known)
        passed_on = received(predicted, sent, self.learn).clone()  # which, unlike the view, may be written in place
        return passed_on, reply(message, self.injected(predicted))

    def predict(self, sent: State, known: Any = None) -> Tensor:
        """Predict the receiver's gradient for a message, (rows, features), or for a state's floating-point part.

        The prediction is in units of the scale, and has a graph.

        Args:
            sent: without a graph.
            known: as `forward`.

        Raises:
            ValueError: the synthesizer predicts for another number of features.
        """
        expected = batch_size(sent), state_size(sent)
        with without_autocast(leaves(sent)[0].device):
            readable = self.predictor.readable(map_state(lambda tensor: tensor.nan_to_num(0, 0, 0), sent))
            predicted = at_least_float32(self.predictor.synthesizer(readable, told(known))[:, 0])
        if predicted.shape != expected:  # by a synthesizer without the attribute state_size
            raise ValueError(
                f"message must be (rows, features) as the synthesizer predicts for it, {tuple(predicted.shape)}, got "
                f"{expected}"
            )
        return predicted

    def injected(self, predicted: Tensor) -> Tensor:
        """Return the gradient (rows, features) that the sender is given for a prediction: scaled and shrunk."""
        return self.predictor.scale * self.predictor.trust * self._processes(predicted) * predicted.detach()

    def metrics(self) -> dict[str, Tensor]:
        """Return metrics of the quality of the predictions: ``target_r2``, running, and ``shrinkage``.

        The R² is that of predictions, before they were trained, with the gradients that arrived from the receiver,
        which include what is injected into the receiver itself.
        """
        return self.predictor.metrics()

    def learn(self, predicted: Tensor, arrived: Tensor, rows: Tensor | None = None) -> Tensor:
        """Update the running means by a gradient that arrived, and return the regression's gradient at its prediction.

        Both are (rows, features), as is the result.

        Rows that are not finite are left out, and those that are marked False (rows,).
        """
        arrived = at_least_float32(arrived) / self._processes(arrived)  # of the mean over all rows
        finite = (predicted + arrived).isfinite().all(dim=1)
        if not bool(finite.all()):
            rows = finite if rows is None else rows & finite
            predicted, arrived = (each.where(finite.unsqueeze(1), 0) for each in (predicted, arrived))
        return self.predictor.regress(predicted.unsqueeze(1), arrived, rows)[0][:, 0]

    def _require_message(self, sent: Tensor) -> None:
        size = self.message_size
        if sent.dim() != 2 or (size is not None and sent.shape[1] != size):
            wanted = "(rows, features)" if size is None else f"(rows, {size}), as the synthesizer predicts for"
            raise ValueError(f"message must be {wanted}, got {tuple(sent.shape)}")

    def _processes(self, like: Tensor) -> Tensor | int:
        """Count the processes that share the batch: as many times is one's gradient that of the mean over all rows."""
        all_reduce = self.predictor.all_reduce
        return 1 if all_reduce is None else all_reduce(like.new_ones(()))


def told(known: Any) -> Any:
    """Cut a synthesizer's inputs off from their graphs, with zeros for what is not finite.

    The regression trains the synthesizer alone, and by what is finite alone: its gradient of a weight would be that
    which a row reads, times zero where the row is left out.
    """
    if isinstance(known, Tensor):
        return known.detach().nan_to_num(0, 0, 0) if known.is_floating_point() else known.detach()
    if isinstance(known, dict | tuple | list):
        return rebuilt(known, [told(part) for part in parts_of(known)])
    if is_dataclass(known) and not isinstance(known, type):
        return replace(known, **{field.name: told(getattr(known, field.name)) for field in fields(known)})
    return known


Learn = Callable[[Tensor, Tensor], Tensor]
"""From a prediction and the gradient that arrived to the regression's gradient at the prediction."""


def received(predicted: Tensor, sent: Tensor, learn: Learn) -> Tensor:
    """Return what was sent, for a receiver whose backward pass trains what was predicted, and ends there."""
    return _Received.apply(predicted, sent, learn)


def reply(message: Tensor, gradient: Tensor) -> Tensor:
    """Return zero, whose backward pass gives the message a gradient, as far as that is finite."""
    return _Reply.apply(message, gradient.to(message.dtype).nan_to_num(0, 0, 0))


def alongside(tensor: Tensor, reply: Tensor) -> Tensor:
    """Return the tensor, linked to the reply so that a backward pass treats that as added to the loss."""
    return _Alongside.apply(tensor, reply)


class _Received(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, predicted: Tensor, sent: Tensor, learn: Learn) -> Tensor:
        ctx.save_for_backward(predicted)
        ctx.learn = learn
        return sent.view_as(sent)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (predicted,) = ctx.saved_tensors
        return ctx.learn(predicted, *grad_outputs), None, None


class _Reply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, message: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return message.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad_outputs[0] * gradient, None


class _Alongside(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, reply: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        return grad_outputs[0], grad_outputs[0].new_ones(())
