"""A module of a chain that is trained by itself: by messages that come when they come, and without waiting."""

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from multiprocessing.queues import Queue
from queue import Empty, Full
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sgrnn.decoupled.feedback import Exchange, Feedback
from sgrnn.decoupled.passes import Loss, mean_loss, predicted_message


@dataclass
class Part:
    """A module with what else is trained beside it.

    Args:
        module: the module, and `optimizer` that of its parameters.
        feedback: at the interface above it; None above the last module.
        input_synthesizer: predicts what the module will be sent; None to wait for that.
        message_shape: of a row of what is predicted; None for the prediction's own.
        loss: of the last module.
        update_probability: of an update at a step.
        number: of the module, from 0.
    """

    module: nn.Module
    optimizer: Optimizer
    feedback: Feedback | None = None
    feedback_optimizer: Optimizer | None = None
    input_synthesizer: nn.Module | None = None
    input_optimizer: Optimizer | None = None
    loss: Loss | None = None
    update_probability: float = 1.0
    number: int = 0
    message_shape: tuple[int, ...] | None = None


@dataclass
class Mail:
    """Queues of an interface: messages go up, the gradients that answer them come down. Neither ever waits."""

    up: "Queue[Any]"
    down: "Queue[Any]"


def send(queue: "Queue[Any]", number: int, *tensors: Tensor) -> bool:
    """Put numbered tensors into a queue, unless that is full; return whether they are sent."""
    packed = [(tensor.dtype, tensor.contiguous().view(torch.uint8).numpy()) for tensor in tensors]
    try:
        queue.put_nowait(pickle.dumps((number, packed)))  # here, and not later by a thread of the queue's
    except Full:
        return False
    return True


def receive(queue: "Queue[Any]") -> tuple[Any, ...] | None:
    """Return the next letter of a queue, number and tensors, or None."""
    try:
        number, packed = pickle.loads(queue.get_nowait())
    except Empty:
        return None
    return number, *(torch.from_numpy(array).view(dtype) for dtype, array in packed)


@final
class Unit:
    """Train one module of a chain from letters, at its own pace.

    Args:
        part: the module and what belongs to it.
        inputs, targets: (n, ...) of the whole chain, of which batches are drawn.
        batch_size: rows of a batch.
        below, above: the mail with its neighbors; None where there is none.
        pending: messages whose answers are waited for; older ones are forgotten.
        seed: of the batches it draws, and of its turns.

    Attributes:
        updates: how often the module was updated.
        dropped: messages for which there was no place.
    """

    def __init__(
        self,
        part: Part,
        inputs: Tensor,
        targets: Tensor,
        batch_size: int,
        below: Mail | None,
        above: Mail | None,
        pending: int,
        seed: int,
    ) -> None:
        self.part, self.inputs, self.targets, self.batch_size = part, inputs, targets, batch_size
        self.below, self.above, self.pending = below, above, pending
        self.updates = self.dropped = 0
        self._generator = torch.Generator().manual_seed(seed)
        self._sent: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()  # rows and message, by number
        self._number = 0

    def step(self) -> bool:
        """Learn from the answers that have come, and from one batch; return False where there was nothing to do."""
        learned = self._learn_from_answers()
        number, rows, message = self._next()
        if rows is None:
            return learned
        turn = float(torch.rand((), generator=self._generator)) < self.part.update_probability
        received = self._read(rows, message)
        answer = self.part.module(received.clone())  # which it may write into
        self._go_back(rows, answer, turn)
        if turn:
            step(self.part.optimizer)
            self.updates += 1
        if self.below is not None and number is not None and received.grad is not None:
            send(self.below.down, number, received.grad)
        return True

    def _next(self) -> tuple[int | None, Tensor | None, Tensor | None]:
        """Return the number of a message, its rows of the data and itself; or rows drawn here; or None."""
        letter = None if self.below is None else receive(self.below.up)
        if letter is not None:
            number, rows, message = letter
            return number, rows, message
        if self.below is not None and self.part.input_synthesizer is None:
            return None, None, None
        return None, torch.randint(len(self.inputs), (self.batch_size,), generator=self._generator), None

    def _read(self, rows: Tensor, message: Tensor | None) -> Tensor:
        """Return what the module reads: the inputs, the message, or a prediction of it, which learns from it."""
        if self.below is None:
            return self.inputs[rows]
        if self.part.input_synthesizer is not None:
            predicted = self.part.input_synthesizer(self.inputs[rows])
            if message is not None:
                predicted = predicted_message(predicted, message, self.part.number)
                step(self.part.input_optimizer)
            shape = self.part.message_shape
            message = (predicted if shape is None else predicted.reshape(len(rows), *shape)).detach()
        assert message is not None, "there is none to wait for"
        return message.requires_grad_()

    def _go_back(self, rows: Tensor, answer: Tensor, turn: bool) -> None:
        """Send the answer on, and give the module its gradient if it is its turn."""
        targets = self.targets[rows]
        if self.part.loss is not None:
            if turn:
                mean_loss(self.part.loss, answer, targets).backward()
            return
        assert self.part.feedback is not None, "below the last module"
        assert self.above is not None, "below the last module"
        message = answer.detach()
        reply = self.part.feedback.reply(Exchange(message, targets, message, answer)) if turn else None
        if send(self.above.up, self._number, rows, message):
            self._sent[self._number] = rows, message
            if len(self._sent) > self.pending:
                self._sent.popitem(last=False)
        else:
            self.dropped += 1
        self._number += 1
        if reply is not None and answer.requires_grad:  # not held fixed
            answer.backward(reply)

    def _learn_from_answers(self) -> bool:
        """Train the feedback on the gradients that have come back."""
        learned = False
        while self.above is not None and (letter := receive(self.above.down)) is not None:
            number, arrived = letter
            rows, message = self._sent.pop(number, (None, None))
            if rows is None or message is None or self.part.feedback is None:
                continue
            leaf = message.clone().requires_grad_()
            leaf.grad = arrived
            self.part.feedback.learn(Exchange(message, self.targets[rows], leaf, message))
            step(self.part.feedback_optimizer)
            learned = True
        return learned


def step(optimizer: Optimizer | None) -> None:
    """Take a step, and begin anew."""
    if optimizer is not None:
        optimizer.step()
        optimizer.zero_grad()
