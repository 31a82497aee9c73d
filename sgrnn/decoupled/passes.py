"""One pass of a chain of modules, forwards with its graph cut at every interface, and backwards by feedback."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from sgrnn.decoupled.feedback import Exchange, Feedback
from sgrnn.errors import is_of_memory

Loss = Callable[[Tensor, Tensor], Tensor]
"""From outputs (rows, ...) and targets (rows, ...) to one number per row, (rows,)."""


def backpropagate(
    modules: Iterable[nn.Module],
    loss: Loss,
    feedback: Iterable[nn.Module],
    inputs: Tensor,
    targets: Tensor,
    *,
    turns: Sequence[bool] | None = None,
    input_synthesizers: Iterable[nn.Module] | None = None,
) -> Tensor:
    """Add to the gradients of the modules whose turn it is, and of what is below them.

    Module i reads what module i - 1 sent, its graph cut off; with synthetic inputs it reads what its synthesizer
    makes of the chain's inputs, which learns by the squared difference to what was sent. Its gradient is what the
    feedback above it replies, that of the last module the loss's own.

    Args:
        modules: from the inputs to the outputs.
        loss: of the outputs.
        feedback: a `Feedback` for every interface, from the lowest.
        inputs: (rows, ...).
        targets: (rows, ...).
        turns: of every module, False for one that only goes forwards; None for all True.
        input_synthesizers: of every module but the first.

    Returns:
        the mean loss, a detached scalar.

    Raises:
        ValueError: a module cannot read what is sent to it, or the loss is not one number per row.
    """
    modules, feedback = list(modules), [one for one in feedback if isinstance(one, Feedback)]
    received, sent = _forwards(modules, inputs, None if input_synthesizers is None else list(input_synthesizers))
    outputs = sent[-1].detach().requires_grad_()
    mean = mean_loss(loss, outputs, targets)
    (error,) = torch.autograd.grad(mean, outputs)
    exchanges = [
        Exchange(message.detach(), targets, leaf, answer, error, last=answer is sent[-1])
        for message, leaf, answer in zip(sent, received[1:], sent[1:], strict=False)
    ]
    turns = [True] * len(modules) if turns is None else turns
    gradients = [
        one.reply(exchange) if turn and one.waits_for != "receiver" else None
        for one, exchange, turn in zip(feedback, exchanges, turns, strict=False)
    ]
    gradients.append(error)
    for number in reversed(range(len(modules))):
        if number < len(feedback):
            if feedback[number].waits_for == "receiver":
                gradients[number] = feedback[number].reply(exchanges[number])
            feedback[number].learn(exchanges[number])
        if turns[number] and gradients[number] is not None and sent[number].requires_grad:  # not held fixed
            sent[number].backward(gradients[number])
    return mean.detach()


def _forwards(
    modules: Sequence[nn.Module], inputs: Tensor, input_synthesizers: Sequence[nn.Module] | None
) -> tuple[list[Tensor], list[Tensor]]:
    """Return what each module read, leaves but for the inputs, and what it sent, with its graph."""
    received, sent = [inputs], []
    for number, module in enumerate(modules):
        if number:
            message = sent[-1].detach()
            if input_synthesizers is not None:
                predicted = predicted_message(input_synthesizers[number - 1](inputs.clone()), message, number)
                message = predicted.detach()
            received.append(message.requires_grad_())
        try:
            answer = module(received[-1].clone())  # which it may write into
        except RuntimeError as error:
            if is_of_memory(error):
                raise
            raise ValueError(
                f"modules.{number} must read what is sent to it, {tuple(received[-1].shape)}, and does not: {error}"
            ) from error
        if not isinstance(answer, Tensor):
            raise TypeError(f"modules.{number} must return a tensor, got a {type(answer).__name__}")
        sent.append(answer)
    return received, sent


def predicted_message(predicted: Tensor, message: Tensor, number: int) -> Tensor:
    """Return an input synthesizer's prediction in the shape of the message that came, from which it has learned.

    Args:
        predicted: what the module of this number will be sent, with the synthesizer's graph.
        message: (rows, ...) what it was sent.
        number: of the module, from 0.

    Raises:
        ValueError: the prediction is of another size.
    """
    if predicted.numel() != message.numel():
        raise ValueError(
            f"input_synthesizers.{number - 1} must predict what modules.{number} is sent, {tuple(message.shape)}, got "
            f"{tuple(predicted.shape)}"
        )
    predicted = predicted.view_as(message)
    if predicted.requires_grad:  # by a synthesizer that is not held fixed
        (predicted - message).square().mean().backward()
    return predicted


def mean_loss(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of the rows' losses, a scalar.

    Args:
        loss: of a copy of the outputs, which it may write into.
        outputs: (rows, ...).
        targets: (rows, ...).

    Raises:
        ValueError: the loss is not one number per row.
    """
    losses = loss(outputs.clone(), targets)
    if losses.shape != targets.shape[:1]:
        raise ValueError(f"loss must give one number per row, ({len(targets)},), got {tuple(losses.shape)}")
    return losses.mean()
