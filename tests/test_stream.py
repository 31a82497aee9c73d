"""Streams: what would be written by hand, number for number, whatever comes and goes."""

import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

import sgrnn
from sgrnn.cores.feedforward import FeedForward
from sgrnn.estimators.online import SnAp1
from sgrnn.stream import StreamStep

ROWS, FEATURES, HIDDEN, STEPS = 3, 2, 4, 14
Make = Callable[[nn.Module, Any], sgrnn.GradientEstimator]


class Made:
    """Core, head and their optimizer, always the same, with a stream of them."""

    def __init__(self, estimator: Make | None = None, seed: int = 0, **options: Any) -> None:
        torch.manual_seed(seed)
        self.core, self.head = nn.LSTM(FEATURES, HIDDEN).double(), nn.Linear(HIDDEN, 1).double()
        self.learned = [*self.core.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(self.learned, lr=0.05)
        if estimator is None:
            options = {"delay": 3, "synthesizer_rate": 0.01} | options
        self.stream = sgrnn.Stream(self.core, self.loss, self.optimizer, estimator=estimator, **options)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (self.head(outputs) - targets).square().sum(-1)

    def all(self) -> list[Tensor]:
        return [each.detach().clone() for each in (*self.learned, *self.stream.estimator.parameters())]


def readings(steps: int = STEPS, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(steps, ROWS, FEATURES, dtype=torch.float64, generator=generator)
    return list(zip(inputs, inputs.cumsum(0).sum(2, keepdim=True).sin(), strict=True))


def run(made: Made, data: list[tuple[Tensor, Tensor]]) -> list[StreamStep]:
    return [made.stream.step(inputs, targets) for inputs, targets in data]


@pytest.mark.parametrize("window", [1, 4])
def test_truncated_it_is_the_loop_with_detach(window: int) -> None:
    made, by_hand = Made(lambda core, loss: sgrnn.TruncatedBPTT(core, loss, window)), Made()
    data = readings()
    steps = run(made, data)
    core, state, waiting = by_hand.core, None, []
    for (inputs, targets), step in zip(data, steps, strict=True):
        outputs, state = core(inputs[None], state)
        losses = by_hand.loss(outputs, targets[None])
        assert_close([step.outputs, step.losses, step.loss], [outputs[0], losses[0], losses.mean()])
        waiting.append(losses)
        if len(waiting) == window:
            torch.cat(waiting).mean().backward()
            by_hand.optimizer.step()
            by_hand.optimizer.zero_grad()
            state, waiting = tuple(each.detach() for each in state), []
    assert_close(made.learned, by_hand.learned)


@pytest.mark.parametrize("window", [1, 2])
def test_by_default_it_is_delayed_synthetic_gradients(window: int) -> None:
    made, by_hand = Made(window=window, clip=0.5), Made()
    estimator = sgrnn.Delayed(sgrnn.SyntheticGradients(by_hand.core, by_hand.loss, window, lookahead=3))
    estimator.load_state_dict(made.stream.estimator.state_dict())
    own = torch.optim.Adam(estimator.parameters(), lr=0.01)
    data = readings()
    steps, state = run(made, data), None
    for start in range(0, STEPS, window):
        inputs, targets = (torch.stack(each) for each in zip(*data[start : start + window], strict=True))
        step = estimator.backward(sgrnn.Span(inputs, targets), state)
        state = step.state
        nn.utils.clip_grad_norm_(by_hand.learned, 0.5)
        for optimizer in (by_hand.optimizer, own):
            optimizer.step()
            optimizer.zero_grad()
        found = torch.stack([each.loss for each in steps[start : start + window] if each.loss is not None])
        assert_close(found.mean(), step.loss)
        assert_close(steps[start + window - 1].metrics, step.metrics)
    assert_close(made.all(), [*by_hand.learned, *estimator.parameters()])
    assert steps[-1].metrics["shrinkage"] > 0, "the synthetic gradients take part"


@pytest.mark.parametrize("kind", ["default", "windows", "online"])
def test_it_goes_on_to_the_bit_from_what_is_saved(kind: str) -> None:
    makes: dict[str, Any] = {
        "default": None, "windows": lambda core, loss: sgrnn.TruncatedBPTT(core, loss, 4), "online": SnAp1,
    }  # fmt: skip
    data, made = readings(), Made(makes[kind])
    present = torch.tensor([True, False, True])
    run(made, data[:5])
    made.stream.step(data[5][0], data[5][1], present=present)
    file = io.BytesIO()
    parts = {"stream": made.stream, "core": made.core, "head": made.head, "optimizer": made.optimizer}
    torch.save({name: part.state_dict() for name, part in parts.items()}, file)
    file.seek(0)
    saved, other = torch.load(file, weights_only=True), Made(makes[kind], seed=9)
    others = {"stream": other.stream, "core": other.core, "head": other.head, "optimizer": other.optimizer}
    for name, part in others.items():
        part.load_state_dict(saved[name])
    for one, two in zip(run(made, data[6:]), run(other, data[6:]), strict=True):
        assert_identical(
            [one.loss, one.losses, one.outputs, one.metrics], [two.loss, two.losses, two.outputs, two.metrics]
        )
    assert_identical(made.all(), other.all())


def test_a_prediction_changes_nothing_and_is_what_the_next_step_begins_with() -> None:
    made, other, data = Made(), Made(), readings()
    for inputs, targets in data:
        predicted = made.stream.predict(inputs)
        step = made.stream.step(inputs, targets)
        assert_close(predicted, step.outputs)
    run(other, data)
    assert_identical(made.all(), other.all())


def test_gradients_that_lie_there_are_no_part_of_a_step() -> None:
    made, other, data = Made(), Made(), readings()
    for inputs, targets in data:
        made.stream.predict(inputs)
        for parameter in made.stream.core.parameters():
            parameter.grad = torch.ones_like(parameter)
        made.stream.step(inputs, targets)
    run(other, data)
    assert_identical(made.all(), other.all())


def test_a_reading_that_is_not_finite_is_refused_by_name_and_does_no_harm() -> None:
    made, other, data = Made(), Made(), readings()
    for place, (inputs, targets) in enumerate(data):
        if place % 3 == 2:
            broken = inputs.clone()
            broken[1, 0] = math.nan
            with pytest.raises(sgrnn.InputError, match=r"inputs must be finite, got \[nan, .*\] in row 1: leave"):
                made.stream.step(broken, targets)
            broken = targets.clone()
            broken[2] = math.inf
            with pytest.raises(sgrnn.InputError, match=r"targets must be finite, got \[inf\] in row 2"):
                made.stream.step(inputs, broken)
        made.stream.step(inputs, targets)
    run(other, data)
    assert_identical(made.all(), other.all())


def test_without_an_answer_nothing_is_lost_but_the_loss() -> None:
    """An answer that counts for nothing: by targets=None for all rows, by `answered` for some."""
    data, none = readings(), torch.zeros(ROWS, dtype=torch.bool)
    some = torch.tensor([True, False, True])
    made, marked = Made(), Made()
    for place, (inputs, targets) in enumerate(data):
        silent = place in (4, 5, 9)
        one = made.stream.step(inputs, None if silent else targets)
        two = marked.stream.step(inputs, targets * math.nan if silent else targets, answered=none if silent else None)
        assert (one.loss is None) == silent
        assert_identical([one.outputs, one.loss, one.losses], [two.outputs, two.loss, two.losses])
    assert_identical(made.all(), marked.all())

    inputs, targets = data[0]
    step = made.stream.step(inputs, targets.where(some[:, None], math.nan), answered=some)
    assert step.losses is not None
    assert step.loss is not None
    assert step.losses[1] == 0
    assert_close(step.loss, step.losses.sum() / 2)


@pytest.mark.parametrize("window", [1, 3])
def test_a_source_may_write_its_next_readings_where_the_last_lie(window: int) -> None:
    made, other, data = Made(window=window), Made(window=window), readings()
    places = [torch.empty_like(each) for each in (*data[0], torch.ones(ROWS, dtype=torch.bool))]
    for number, (inputs, targets) in enumerate(data):
        present = torch.arange(ROWS) != number % 5
        for place, each in zip(places, (inputs, targets, present), strict=True):
            place.copy_(each)
        made.stream.step(places[0], places[1], present=places[2])
        other.stream.step(inputs, targets, present=present)
    assert_identical(made.all(), other.all())


def test_before_the_first_answer_it_only_listens() -> None:
    made, data = Made(), readings()
    before, state = made.all(), None
    for inputs, _ in data[:4]:
        step = made.stream.step(inputs)
        outputs, state = made.core(inputs[None], state)
        assert step.loss is None
        assert_close(step.outputs, outputs[0])
    assert_identical(made.all(), before)
    assert_close(made.stream.state, state)
    assert made.stream.step(*data[4]).loss is not None
    assert not torch.equal(made.all()[0], before[0])


@pytest.mark.parametrize("window", [1, 3])
def test_rows_come_and_go_as_padding_does(window: int) -> None:
    """With the weights that an estimator learns of spans whose rows are masked while they are away."""
    data = readings(12)
    there = torch.ones(12, ROWS, dtype=torch.bool)
    there[3:7, 1] = there[:2, 2] = there[10:, 0] = False
    made, by_hand = Made(window=window), Made()
    for (inputs, targets), present in zip(data, there, strict=True):
        gone = ~present[:, None]
        made.stream.step(inputs.masked_fill(gone, math.nan), targets.masked_fill(gone, math.inf), present=present)
    estimator = sgrnn.Delayed(sgrnn.SyntheticGradients(by_hand.core, by_hand.loss, window, lookahead=3))
    estimator.load_state_dict(Made(window=window).stream.estimator.state_dict())
    own = torch.optim.Adam(estimator.parameters(), lr=0.01)
    inputs, targets = (torch.stack(each) for each in zip(*data, strict=True))
    first = torch.zeros_like(there)
    first[0], first[1:] = True, there[1:] & ~there[:-1]
    inputs, targets = inputs.where(there[..., None], 0), targets.where(there[..., None], 0)
    whole, state = sgrnn.Span(inputs, targets, first, mask=there), None
    for start in range(0, 12, window):
        step = estimator.backward(whole.slice(start, start + window).with_future(None), state)
        state = step.state
        for optimizer in (by_hand.optimizer, own):
            optimizer.step()
            optimizer.zero_grad()
    assert_close(made.all(), [*by_hand.learned, *estimator.parameters()])


def test_rows_begin_anew_where_they_are_marked() -> None:
    made, data = Made(), readings()
    run(made, data[:5])
    first = torch.tensor([False, True, False])
    predicted = made.stream.predict(data[5][0], is_first=first)
    step = made.stream.step(*data[5], is_first=first)
    assert_close(predicted, step.outputs)
    changed = Made()
    run(changed, data[:5])
    assert_close(step.outputs[1], changed.core(data[5][0][None], None)[0][0, 1])


def test_refusals() -> None:
    made, data = Made(), readings()
    inputs, targets = data[0]
    run(made, data[:2])
    with pytest.raises(ValueError, match="inputs must have 3 rows like the steps before, got 2: present= is for rows"):
        made.stream.step(inputs[:2], targets[:2])
    with pytest.raises(ValueError, match="targets must have 3 rows like inputs, got 2"):
        made.stream.step(inputs, targets[:2])
    with pytest.raises(ValueError, match=r"present must be \(3,\) bool, got \(2,\) in torch.bool"):
        made.stream.step(inputs, targets, present=torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"answered must be \(3,\) bool, got \(3,\) in torch.float32"):
        made.stream.step(inputs, targets, answered=torch.ones(3))
    with pytest.raises(
        TypeError, match=r"inputs must be a tensor \(rows, ...\), or a tuple, list or dict of such, got"
    ):
        made.stream.step([1.0, 2.0, 3.0], targets)
    with pytest.raises(ValueError, match=r"targets must be \(rows, ...\), got no rows"):
        made.stream.step(inputs, torch.tensor(1.0))
    with pytest.raises(ValueError, match="a stream has no future, and the estimator looks 8 steps ahead"):
        Made(lambda core, loss: sgrnn.SyntheticGradients(core, loss, 1))


def test_a_core_may_carry_nothing_from_step_to_step() -> None:
    core = FeedForward(FEATURES, 1).double()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().sum(-1)

    stream = sgrnn.Stream(core, loss, torch.optim.SGD(core.parameters(), 0.1), estimator=sgrnn.BPTT)
    for inputs, targets in readings()[:3]:
        step = stream.step(inputs, targets)
        torch.testing.assert_close(step.loss, loss(step.outputs, targets).mean())


@pytest.mark.parametrize("window", [1, 2])
def test_outputs_are_those_of_the_core_where_a_loss_writes_into_them(window: int) -> None:
    plain, writing = (Made(lambda core, loss: sgrnn.TruncatedBPTT(core, loss, window)) for _ in range(2))
    writing.stream.loss = lambda outputs, targets: plain.loss(outputs.relu_(), targets)
    assert_close(run(writing, readings(3))[0].outputs, run(plain, readings(3))[0].outputs)
