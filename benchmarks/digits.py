"""Two networks, one that ticks ten times as often: does the fast one have to wait for the slow one's gradient?

    python benchmarks/digits.py [--quick] [--json FILE] [--conditions NAME ...] [--seeds 0 1 2] [--digits 5e6]
                                [--rates 1e-3 3e-3] [--clips 0 1] [--jobs 1] [--figure FILE] [--out FOLDER] [--known]

As in Jaderberg et al. 2016, section 3.2, with real MNIST digits. The fast network reads a stream of digits, one a step,
and says how many odd ones there were since the last message; every `period` digits it sends a message. The slow one
ticks on messages alone and says how many threes there were since it began; it begins anew after `ticks` messages, and
only then goes backwards. What the fast network sends is of use to the slow one only as far as it is trained to be, by
the gradient at the message, which comes that late. Conditions, each with one Adam for every network:

    full            one graph of both networks and all period x ticks digits; one update of both
    waiting         the fast network's graph is cut at its messages; its update waits for the slow network all the same
    synthetic       it is updated with every message, by an `sgrnn.Interface`; the synthesizer knows the message, what
                    the slow network remembers of those before, and, as training may, the counts that are right and the
                    error that the slow network makes when it ticks: the gradient of that tick's loss at its output,
                    for which it must have ticked, forwards
    no error        the same, the synthesizer not knowing the error
    message alone   the same, the synthesizer knowing the message alone
    every step      as synthetic, and the fast network is updated with every digit: windows of one step, with synthetic
                    gradients over time (`sgrnn.SyntheticGradients`) beside those across the message
    none            updated with every message, no gradient through it: a control

Of the rates and of the norms that gradients are clipped to each condition has those that do best on the validation
images. The rate is that of all but the slow network, which has as many updates in every condition and always the same
one. Rates fall to zero over the last 30% of a run, so that accuracies are those at the end, one run for every number of
digits. They are the share of right counts on the test images, in streams that are the same for all: of the slow network
at all its ticks, of the fast one when it sends. The figure has them on a tenth of those streams, against samples
(digits, rows counted) and against updates of the fast network.

Every result lies in a file of its own under --out: stopped, the benchmark goes on when called again, and with --known
it reports what is there of what was asked for. --quick runs one seed for 2e4 digits: it shows that everything runs.

Needs the images: sgrnn data fetch mnist
"""

import argparse
import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from options import command, parser, positive, whole
from records import Record, best_settings, save_figure, spread, write_records
from runs import known, run_all
from torch import Tensor, nn

import sgrnn
from sgrnn.data import data_folder
from sgrnn.training.problems.task_problem import read_digits

PIXELS = 28 * 28
HIDDEN, MESSAGE, SLOW_HIDDEN = 100, 32, 64
AHEAD = 4  # digits that the synthesizer over time is told of
ERROR_SCALE = 10.0  # errors are then of the order of 1, as the other things that a synthesizer knows
ROWS = 4000  # streams of digits scored at the end
CONDITIONS = ("full", "waiting", "synthetic", "no error", "message alone", "every step", "none")


@dataclass(frozen=True)
class Condition:
    """One run to be made."""

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

    @property
    def name(self) -> str:
        parts = [self.method, f"rate{self.rate:g}", f"seed{self.seed}", f"{self.digits:g}digits"]
        parts += [f"p{self.period}", f"m{self.ticks}", f"b{self.batch_size}", f"e{self.evaluations}"]
        parts += [f"clip{self.clip:g}", f"slow{self.slow_rate:g}", f"falling{self.falling:g}"]
        return "-".join(parts).replace(" ", "_")


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

    def __init__(self, split: str, condition: Condition, batch_size: int, seed: int) -> None:
        images, labels = _read(data_folder())[split]
        self.images = torch.from_numpy(images.reshape(-1, PIXELS))
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.shape = (condition.ticks, condition.period, batch_size)
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self) -> Stream:
        """The next stream."""
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

    def __init__(self, condition: Condition) -> None:
        super().__init__()
        self.see = nn.Linear(PIXELS + 1, HIDDEN)
        self.core = sgrnn.LSTM(HIDDEN, HIDDEN)
        self.count = nn.Linear(HIDDEN, condition.period + 1)
        self.send = nn.Linear(HIDDEN, MESSAGE)

    def initial_state(self, batch_size: int) -> sgrnn.State:
        return self.core.initial_state(batch_size)

    def forward(self, inputs: Tensor, state: sgrnn.State) -> tuple[Tensor, sgrnn.State]:
        return self.core(F.relu(self.see(inputs)), state)

    def loss(self, outputs: Tensor, odd: Tensor) -> Tensor:
        """Cross-entropy (time, batch) of the odd digits so far."""
        return F.cross_entropy(self.count(outputs).flatten(0, 1), odd.flatten(), reduction="none").view_as(odd)


class Slow(nn.Module):
    """Reads messages and counts threes."""

    def __init__(self, condition: Condition) -> None:
        super().__init__()
        self.core = sgrnn.LSTM(MESSAGE, SLOW_HIDDEN)
        self.count = nn.Linear(SLOW_HIDDEN, condition.period * condition.ticks + 1)

    def initial_state(self, batch_size: int) -> sgrnn.State:
        return self.core.initial_state(batch_size)

    def forward(self, messages: Tensor, state: sgrnn.State) -> tuple[Tensor, sgrnn.State]:
        """Unnormalized log-probabilities (ticks, batch, counts) of the threes so far."""
        outputs, state = self.core(messages, state)
        return self.count(outputs), state

    def loss(self, messages: Tensor, total: Tensor) -> Tensor:
        """Mean cross-entropy."""
        scores, _ = self(messages, self.initial_state(messages.shape[1]))
        return F.cross_entropy(scores.flatten(0, 1), total.flatten())

    def error(self, scores: Tensor, total: Tensor) -> Tensor:
        """The gradient (batch, features) of one tick's loss of each row at the output of the core."""
        return (scores.softmax(dim=-1) - F.one_hot(total, scores.shape[-1])) @ self.count.weight


class Pair:
    """Both networks, and how a condition trains them."""

    def __init__(self, condition: Condition) -> None:
        torch.manual_seed(condition.seed)
        self.condition = condition
        self.fast, self.slow = Fast(condition), Slow(condition)
        encoder = None
        if condition.method != "message alone":
            features = 2 * SLOW_HIDDEN + condition.period + 2 + SLOW_HIDDEN * (condition.method != "no error")
            encoder = sgrnn.LookaheadEncoder(1, sgrnn.vector_features, features)
        self.interface = sgrnn.Interface(sgrnn.MLPSynthesizer(MESSAGE, (128,), lookahead=encoder))
        self.estimator: sgrnn.GradientEstimator = sgrnn.TruncatedBPTT(condition.period)
        if condition.method == "every step":
            over_time = sgrnn.LookaheadEncoder(AHEAD, _counts, 3)
            self.estimator = sgrnn.SyntheticGradients(1, sgrnn.MLPSynthesizer(2 * HIDDEN, (128,), lookahead=over_time))
        trained = [self.fast, self.slow, self.interface, self.estimator]
        self.optimizers = {
            module: torch.optim.Adam(module.parameters(), fused=True) for module in trained if list(module.parameters())
        }
        self.state = self.fast.initial_state(condition.batch_size)
        self.updates = 0  # of the fast network

    def learn(self, stream: Stream, share: float = 1.0) -> None:
        """One stream, at this share of the learning rates."""
        for module, optimizer in self.optimizers.items():
            rate = self.condition.slow_rate if module is self.slow else self.condition.rate
            optimizer.param_groups[0]["lr"] = share * rate
        if self.condition.method in ("full", "waiting"):
            self._wait(stream)
        else:
            self._go_on(stream)
        for module in (self.slow, self.interface):
            self._step(module)

    def _wait(self, stream: Stream) -> None:
        """All in one graph, or the fast network's cut at its messages."""
        messages, losses, state = [], [], self.state
        for inputs, odd in zip(*(part.split(self.condition.period) for part in stream[:2]), strict=True):
            if self.condition.method == "waiting":
                state = tuple(tensor.detach() for tensor in state)
            outputs, state = self.fast(inputs, state)
            losses.append(self.fast.loss(outputs, odd).mean())
            messages.append(self.fast.send(outputs[-1]))
        (torch.stack(losses).mean() + self.slow.loss(torch.stack(messages), stream.total)).backward()
        self.state = tuple(tensor.detach() for tensor in state)
        self._step(self.fast)
        self.updates += 1

    def _go_on(self, stream: Stream) -> None:
        """The fast network is updated by its own loss and the interface's reply, the slow one after its last tick."""
        period, window = self.condition.period, 1 if self.condition.method == "every step" else self.condition.period
        steps, received = len(stream.odd), []
        self.remembered = self.slow.initial_state(stream.odd.shape[1])
        for start in range(0, steps, window):
            stop = start + window
            sends = stop % period == 0

            def loss(outputs: Tensor, targets: Tensor, sends: bool = sends, stop: int = stop) -> Tensor:
                losses = self.fast.loss(outputs, targets[..., 0])
                if not sends:
                    return losses
                message = self.fast.send(outputs[-1])
                if self.condition.method == "none":
                    received.append(message.detach())
                    return losses
                facts = self._tick(message, stream.threes[stop - 1], stream.total[len(received)])
                message, reply = self.interface(message, facts)
                received.append(message)
                return losses + reply * (steps / window)  # a window's share in the mean over all steps, made whole

            targets = torch.stack([stream.odd, stream.threes], dim=-1)
            future = slice(stop, stop + AHEAD)
            span = sgrnn.Span(
                stream.inputs[start:stop], targets[start:stop],
                future=sgrnn.Span(stream.inputs[future], targets[future]) if stop < steps else None,
                is_last=None if stop < steps else torch.ones(targets.shape[1], dtype=torch.bool),
            )  # fmt: skip
            self.state = self.estimator.backward(self.fast, loss, span, self.state).state
            for module in (self.fast, self.estimator):
                self._step(module)
            self.updates += 1
        self.slow.loss(torch.stack(received), stream.total).backward()

    @torch.no_grad()
    def _tick(self, message: Tensor, threes: Tensor, total: Tensor) -> sgrnn.Lookahead | None:
        """Tick the slow network, forwards; returns what the interface's synthesizer knows besides the message."""
        if self.condition.method == "message alone":
            return None
        before = torch.cat(self.remembered, dim=-1)
        scores, self.remembered = self.slow(message[None], self.remembered)
        counts = self.condition.period + 1
        right = [F.one_hot(threes, counts), total[:, None] / counts]
        if self.condition.method != "no error":
            right.append(self.slow.error(scores[0], total) * ERROR_SCALE)
        return sgrnn.Lookahead(before, torch.cat(right, dim=-1)[None].to(message), None)

    def _step(self, module: nn.Module) -> None:
        if module in self.optimizers:
            if self.condition.clip:
                nn.utils.clip_grad_norm_(module.parameters(), self.condition.clip)
            self.optimizers[module].step()
            self.optimizers[module].zero_grad()

    @torch.no_grad()
    def score(self, stream: Stream) -> tuple[float, float]:
        """The share of right counts: of threes at all ticks, of odd digits at all messages."""
        state = self.fast.initial_state(stream.odd.shape[1])
        outputs, _ = self.fast(stream.inputs, state)
        sent = outputs[self.condition.period - 1 :: self.condition.period]
        odd = self.fast.count(sent).argmax(dim=-1) == stream.odd[self.condition.period - 1 :: self.condition.period]
        scores, _ = self.slow(self.fast.send(sent), self.slow.initial_state(stream.odd.shape[1]))
        threes = scores.argmax(dim=-1) == stream.total
        return float(threes.float().mean()), float(odd.float().mean())


def _counts(inputs: Tensor, targets: Tensor) -> Tensor:
    """What a synthesizer over time is told of a step: its counts, and whether it is the first after a message."""
    return torch.cat([targets.to(inputs.dtype), inputs[..., -1:]], dim=-1)


def train(condition: Condition) -> Record:
    """Train on so many digits; scores at the end, and a curve of [digits, updates, threes right, odd right]."""
    streams = Digits("train", condition, condition.batch_size, condition.seed)
    tests = Digits("test", condition, ROWS // 10, seed=10_000).draw()
    pair = Pair(condition)
    per_stream = condition.period * condition.ticks * condition.batch_size
    number = math.ceil(condition.digits / per_stream)
    due = {round(number * (place + 1) / condition.evaluations) for place in range(condition.evaluations)}
    curve: list[list[float]] = []
    for done in range(1, number + 1):
        pair.learn(streams.draw(), min(1.0, (1 - (done - 1) / number) / condition.falling))
        if done in due:
            curve.append([done * per_stream, pair.updates, *pair.score(tests)])
    scores = {split: score_all(pair, Digits(split, condition, ROWS // 10, seed=20_000)) for split in ("test", "valid")}
    metrics = {name: float(value) for name, value in pair.interface.metrics().items()}
    return {"condition": asdict(condition), "curve": curve, "scores": scores, "interface": metrics}


def score_all(pair: Pair, streams: Digits) -> list[float]:
    """Threes and odd digits right, in ten times as many rows as are scored along the way."""
    return np.mean([pair.score(streams.draw()) for _ in range(10)], axis=0).tolist()


def to_record(result: Record) -> Record:
    """Accuracies at the end of the run, and the curve."""
    (threes, odd), (valid, _) = (result["scores"][split] for split in ("test", "valid"))
    return {
        "metric": "accuracy of the slow network", "value": threes, "fast_accuracy": odd, "valid_accuracy": valid,
        **result["condition"], **{f"interface_{name}": value for name, value in result["interface"].items()},
        "curve": result["curve"],
    }  # fmt: skip


def best(records: list[Record]) -> dict[tuple[str, float], list[Record]]:
    """For every method and number of digits the records of the settings that do best on the validation images."""
    return best_settings(records, ("method", "digits"), ("rate", "clip"), lambda record: record["valid_accuracy"])


def print_table(records: list[Record]) -> None:
    """A line for each method and number of digits: accuracies at the end."""
    print(f"\n{'':16s}{'digits':>10s}{'rate':>8s}{'clip':>6s}{'threes right':>26s}{'odd right':>26s}{'target r2':>11s}")
    for (method, digits), found in best(records).items():
        values, fast = (spread([record[name] for record in found]) for name in ("value", "fast_accuracy"))
        r2 = median(
            record["interface_target_r2" if "interface_target_r2" in record else "interface_r2"] for record in found
        )
        print(f"{method:16s}{digits:10.0e}{found[0]['rate']:8g}{found[0]['clip']:6g}{values:>26s}{fast:>26s}{r2:11.2f}")


def plot(records: list[Record], path: Path) -> None:
    """The slow network's accuracy against samples and updates: medians, and each seed faintly."""
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    for axes, column, label in zip(
        figure.subplots(1, 2, sharey=True), (0, 1), ("digits seen", "updates of the fast network"), strict=True
    ):
        for index, ((method, digits), found) in enumerate(best(records).items()):
            curves = [record["curve"] for record in found]
            for curve in curves:
                axes.plot([row[column] for row in curve], [row[2] for row in curve], color=f"C{index}", alpha=0.25)
            rows = list(zip(*curves, strict=True))
            middle = [median(row[2] for row in at) for at in rows]
            axes.plot([at[0][column] for at in rows], middle, color=f"C{index}", label=f"{method}, {digits:.0e}")
        axes.set(xlabel=label, xscale="log", ylabel="threes counted right" if column == 0 else "")
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    save_figure(figure, path)


def largest_norm(text: str) -> float:
    """The type of an option that is one; 0 for none."""
    return 0.0 if text == "0" else positive(text)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__ or "")
    made.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    made.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1, 2])
    made.add_argument("--rates", type=positive, nargs="+", default=[1e-3, 3e-3], help="of all but the slow network")
    made.add_argument(
        "--clips", type=largest_norm, nargs="+", default=[0.0, 1.0], help="largest norms of gradients; 0: any"
    )
    made.add_argument("--digits", type=positive, nargs="+", default=[5e6], help="samples of a run, rows counted")
    made.add_argument("--period", type=whole(1), default=10, help="digits between two messages")
    made.add_argument("--ticks", type=whole(1), default=10, help="messages between two beginnings of the slow network")
    made.add_argument("--batch-size", type=whole(1), default=16)
    made.add_argument("--evaluations", type=whole(1), default=50)
    made.add_argument("--jobs", type=whole(1), default=1, help="conditions trained at a time")
    made.add_argument("--figure", type=Path, metavar="FILE", help="draw the curves there, as PNG")
    made.add_argument("--out", type=Path, default=Path("benchmarks/out/digits"))
    made.add_argument("--known", action="store_true", help="train nothing: report the results that lie under --out")
    found = made.parse_args()
    if found.quick:
        found.seeds, found.digits, found.evaluations = found.seeds[:1], [2e4], 2
        found.rates, found.clips = found.rates[:1], found.clips[:1]
    update = found.period * found.ticks * found.batch_size
    if min(found.digits) < update:
        made.error(f"argument --digits: must be at least those of an update, {update}, got {min(found.digits):g}")
    return found


def main() -> None:
    """Run every condition and report."""
    asked = parse_arguments()
    conditions = [
        Condition(method, rate, seed, digits, asked.period, asked.ticks, asked.batch_size, asked.evaluations, clip)
        for seed in dict.fromkeys(asked.seeds)
        for method in dict.fromkeys(asked.conditions)
        for digits in dict.fromkeys(asked.digits)
        for rate in dict.fromkeys(asked.rates)
        for clip in dict.fromkeys(asked.clips)
    ]
    if asked.known:
        conditions = known(conditions, asked.out)
    records: list[Record] = []
    for condition, result in zip(conditions, run_all(train, conditions, asked.out, asked.jobs), strict=True):
        records.append(to_record(result))
        print(f"{condition.name}: {records[-1]['value']:.3f}", flush=True)
        write_records(records, asked.json)
    print_table(records)
    if asked.figure is not None:
        plot(records, asked.figure)


if __name__ == "__main__":
    command(main)
