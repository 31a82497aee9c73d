"""A fast network that sends messages to a slow one, on streams of digits, and the ways to train them."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sgrnn
from sgrnn.data import data_folder
from sgrnn.training.problems.task_problem import read_digits

PIXELS = 28 * 28
HIDDEN, MESSAGE, SLOW_HIDDEN = 100, 32, 64
AHEAD = 4  # digits that the synthesizer over time is told of
ERROR_SCALE = 10.0  # output gradients are then of the order of 1, as the other things that a synthesizer knows
ROWS = 4000  # streams of digits scored at the end


@dataclass(frozen=True)
class Setting:
    """Models, method and learning rates of a training."""

    method: str
    rate: float
    seed: int
    digits: float
    period: int
    ticks: int
    batch_size: int
    evaluations: int
    clip: float = 0.0  # the largest norm of a network's gradient; 0 for any
    slow_rate: float = 3e-3
    falling: float = 0.3  # share of the run, in which the rates fall to zero


class Stream(NamedTuple):
    """All digits from one beginning of the slow network to the next, N = ticks x period of B rows.

    Args:
        inputs: (N, B, PIXELS + 1) images, and whether a step is the first after a message.
        odd: (N, B) how many odd digits there were since the last message, this one counted.
        threes: (N, B) the same of threes.
        total: (ticks, B) how many threes there were up to each message, since the beginning.
    """

    inputs: Tensor
    odd: Tensor
    threes: Tensor
    total: Tensor


_read = cache(read_digits)  # by the two streams of a run, once


class Digits:
    """Endless streams of digits drawn from a split of MNIST."""

    def __init__(self, split: str, setting: Setting, batch_size: int, seed: int) -> None:
        images, labels = _read(data_folder())[split]
        self.images = torch.from_numpy(images.reshape(-1, PIXELS))
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.shape = (setting.ticks, setting.period, batch_size)
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self) -> Stream:
        """Return the next stream."""
        ticks, period, rows = self.shape
        chosen = torch.randint(len(self.labels), self.shape, generator=self.generator)
        labels = self.labels[chosen]
        first = torch.zeros(ticks * period, rows, 1)
        first[::period] = 1
        threes = (labels == 3).long().cumsum(dim=1)
        return Stream(
            torch.cat([self.images[chosen].flatten(0, 1).float() / 255, first], dim=-1),
            (labels % 2).cumsum(dim=1).flatten(0, 1),
            threes.flatten(0, 1),
            threes[:, -1].cumsum(dim=0),
        )


class Fast(nn.Module):
    """Reads digits and counts odd ones; a model for a gradient estimator."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.see = nn.Linear(PIXELS + 1, HIDDEN)
        self.core = sgrnn.LSTM(HIDDEN, HIDDEN)
        self.count = nn.Linear(HIDDEN, setting.period + 1)
        self.send = nn.Linear(HIDDEN, MESSAGE)

    def initial_state(self, batch_size: int) -> sgrnn.State:
        return self.core.initial_state(batch_size)

    def forward(self, inputs: Tensor, state: sgrnn.State) -> tuple[Tensor, sgrnn.State]:
        return self.core(F.relu(self.see(inputs)), state)

    def step_features(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return what a synthesizer over time sees of a step: its counts, and whether it is the first of a message."""
        return torch.cat([targets.to(inputs.dtype), inputs[..., -1:]], dim=-1)

    def loss(self, outputs: Tensor, odd: Tensor) -> Tensor:
        """Return the cross-entropy (time, batch) of the odd digits so far."""
        return F.cross_entropy(self.count(outputs).flatten(0, 1), odd.flatten(), reduction="none").view_as(odd)


class Slow(nn.Module):
    """Reads messages and counts threes."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.core = sgrnn.LSTM(MESSAGE, SLOW_HIDDEN)
        self.count = nn.Linear(SLOW_HIDDEN, setting.period * setting.ticks + 1)

    def initial_state(self, batch_size: int) -> sgrnn.State:
        return self.core.initial_state(batch_size)

    def forward(self, messages: Tensor, state: sgrnn.State) -> tuple[Tensor, sgrnn.State]:
        """Return unnormalized log-probabilities (ticks, batch, counts) of the threes so far."""
        outputs, state = self.core(messages, state)
        return self.count(outputs), state

    def loss(self, messages: Tensor, total: Tensor) -> Tensor:
        """Return the mean cross-entropy of the threes so far."""
        scores, _ = self(messages, self.initial_state(messages.shape[1]))
        return F.cross_entropy(scores.flatten(0, 1), total.flatten())

    def error(self, scores: Tensor, total: Tensor) -> Tensor:
        """Return the gradient (batch, features) of one tick's loss of each row at the output of the core."""
        return (scores.softmax(dim=-1) - F.one_hot(total, scores.shape[-1])) @ self.count.weight


class Pair:
    """Both networks, and how they are trained."""

    def __init__(self, setting: Setting) -> None:
        torch.manual_seed(setting.seed)
        self.setting = setting
        self.fast, self.slow = Fast(setting), Slow(setting)
        known = 2 * SLOW_HIDDEN + setting.period + 2 + SLOW_HIDDEN * (setting.method != "no error")
        alone = setting.method == "message alone"
        synthesizer = sgrnn.MLPSynthesizer(MESSAGE, (128,), lookahead=0 if alone else 1, feature_size=known)
        self.interface = sgrnn.Interface(synthesizer)
        self.estimator: sgrnn.GradientEstimator = sgrnn.TruncatedBPTT(self.fast, self._loss, setting.period)
        if setting.method == "every step":
            over_time = sgrnn.MLPSynthesizer(2 * HIDDEN, (128,), lookahead=AHEAD, feature_size=3)
            self.estimator = sgrnn.SyntheticGradients(self.fast, self._loss, 1, synthesizer=over_time)
        trained = [self.fast, self.slow, self.interface, self.estimator]
        self.optimizers = {
            module: torch.optim.Adam(module.parameters(), fused=True) for module in trained if list(module.parameters())
        }
        self.state = self.fast.initial_state(setting.batch_size)
        self.updates = 0  # of the fast network

    def learn(self, stream: Stream, share: float = 1.0) -> None:
        """Learn from one stream, at this share of the learning rates."""
        for module, optimizer in self.optimizers.items():
            rate = self.setting.slow_rate if module is self.slow else self.setting.rate
            optimizer.param_groups[0]["lr"] = share * rate
        if self.setting.method in ("full", "waiting"):
            self._wait(stream)
        else:
            self._go_on(stream)
        for module in (self.slow, self.interface):
            self._step(module)

    def _wait(self, stream: Stream) -> None:
        """Learn from a stream in one graph, or with the fast network's graph cut at its messages."""
        messages, losses, state = [], [], self.state
        for inputs, odd in zip(*(part.split(self.setting.period) for part in stream[:2]), strict=True):
            if self.setting.method == "waiting":
                state = tuple(tensor.detach() for tensor in state)
            outputs, state = self.fast(inputs, state)
            losses.append(self.fast.loss(outputs, odd).mean())
            messages.append(self.fast.send(outputs[-1]))
        (torch.stack(losses).mean() + self.slow.loss(torch.stack(messages), stream.total)).backward()
        self.state = tuple(tensor.detach() for tensor in state)
        self._step(self.fast)
        self.updates += 1

    def _go_on(self, stream: Stream) -> None:
        """Update the fast network by its own loss and the interface's reply, the slow one after its last tick."""
        window = 1 if self.setting.method == "every step" else self.setting.period
        self.stream, self.received, steps = stream, [], len(stream.odd)
        self.remembered = self.slow.initial_state(stream.odd.shape[1])
        for start in range(0, steps, window):
            stop = self.stop = start + window
            targets = torch.stack([stream.odd, stream.threes], dim=-1)
            future = slice(stop, stop + AHEAD)
            span = sgrnn.Span(
                stream.inputs[start:stop], targets[start:stop],
                future=sgrnn.Span(stream.inputs[future], targets[future]) if stop < steps else None,
                is_last=None if stop < steps else torch.ones(targets.shape[1], dtype=torch.bool),
            )  # fmt: skip
            self.state = self.estimator.backward(span, self.state).state
            for module in (self.fast, self.estimator):
                self._step(module)
            self.updates += 1
        self.slow.loss(torch.stack(self.received), stream.total).backward()

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the losses of the window before `stop`, with the interface's reply where a message is sent."""
        losses, stream = self.fast.loss(outputs, targets[..., 0]), self.stream
        if self.stop % self.setting.period:
            return losses
        message = self.fast.send(outputs[-1])
        if self.setting.method == "none":
            self.received.append(message.detach())
            return losses
        facts = self._tick(message, stream.threes[self.stop - 1], stream.total[len(self.received)])
        message, reply = self.interface(message, facts)
        self.received.append(message)
        return losses + reply * (len(stream.odd) / len(outputs))  # a window's share in the mean of all, made whole

    @torch.no_grad()
    def _tick(self, message: Tensor, threes: Tensor, total: Tensor) -> sgrnn.Lookahead | None:
        """Tick the slow network, forwards; returns what the interface's synthesizer knows besides the message."""
        if self.setting.method == "message alone":
            return None
        before = torch.cat(self.remembered, dim=-1)
        scores, self.remembered = self.slow(message[None], self.remembered)
        counts = self.setting.period + 1
        known = [before, F.one_hot(threes, counts)[None], total[None, :, None] / counts]
        if self.setting.method != "no error":
            known.append(self.slow.error(scores[0], total)[None] * ERROR_SCALE)
        return sgrnn.Lookahead(torch.cat(known, dim=-1).to(message), None)

    def _step(self, module: nn.Module) -> None:
        if module in self.optimizers:
            if self.setting.clip:
                nn.utils.clip_grad_norm_(module.parameters(), self.setting.clip)
            self.optimizers[module].step()
            self.optimizers[module].zero_grad()

    @torch.no_grad()
    def score(self, stream: Stream) -> tuple[float, float]:
        """Return the shares of right counts: of threes at all ticks, of odd digits at all messages."""
        state = self.fast.initial_state(stream.odd.shape[1])
        outputs, _ = self.fast(stream.inputs, state)
        sent = outputs[self.setting.period - 1 :: self.setting.period]
        odd = self.fast.count(sent).argmax(dim=-1) == stream.odd[self.setting.period - 1 :: self.setting.period]
        scores, _ = self.slow(self.fast.send(sent), self.slow.initial_state(stream.odd.shape[1]))
        threes = scores.argmax(dim=-1) == stream.total
        return float(threes.float().mean()), float(odd.float().mean())
