"""`TruncatedBPTT` with `every` is TBPTT(k1, k2) as one would write it."""

import copy
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
import torch
from models import (
    CORES,
    ROWS,
    SIZE,
    gradients,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
    train_on,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM, initial_state
from sgrnn.estimators import BPTT, TruncatedBPTT
from sgrnn.span import Span
from sgrnn.state import State, cut, detach, leaves, map_state, to_matrix, where_rows

STEPS = 20
STARTS = [(0, 0), (3, 1), (4, 0), (4, 2), (11, 1), (12, 1)]
RATE = 0.1


def descend(model: nn.Module) -> None:
    """Take a step, so that weights change from update to update."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= RATE * parameter.grad
    model.zero_grad()


def by_hand(model: nn.Module, whole: Span, state: State, window: int, every: int) -> list[Any]:
    """Losses and states of all updates, and the parameters after the last, by plain autograd over single steps."""
    found: list[Any] = []
    for stop in range(every, whole.steps + 1, every):
        state, total, states = cut(state), torch.zeros(()).double(), {}
        for step in range(max(stop - window, 0), stop):
            states[step] = state
            if whole.is_first is not None:
                state = where_rows(whole.is_first[step], initial_state(model, whole.batch_size), state)
            outputs, state = model(whole.inputs[step : step + 1], state)
            if step >= stop - every:
                total = total + squared_error(outputs, whole.targets[step : step + 1]).sum()
        states[stop] = state
        loss = total / (every * whole.batch_size)
        loss.backward()
        descend(model)
        found.append((loss.detach(), to_matrix(detach(state))))
        state = states[max(stop + every - window, 0)]  # before the steps that run again in the next update
    return [*found, [parameter.detach() for parameter in model.parameters()]]


def trained(model: nn.Module, whole: Span, state: State, window: int, every: int) -> list[Any]:
    """By the estimator, what `by_hand` finds."""
    estimator, found = TruncatedBPTT(model, squared_error, window, every=every), []
    for span in whole.divide(every, lookahead=0):
        step = estimator.backward(span, state)
        descend(model)
        state = step.state
        found.append((step.loss, to_matrix(state)))
    return [*found, [parameter.detach() for parameter in model.parameters()]]


@pytest.mark.parametrize(("window", "every"), [(4, 1), (5, 2), (7, 5), (25, 4)])
@pytest.mark.parametrize("name", CORES)
def test_it_is_the_loop_that_one_would_write(name: str, window: int, every: int) -> None:
    for is_first in (STARTS, None):
        whole = make_span(STEPS, is_first=is_first)
        expected = by_hand(make_core(name), whole, make_state(make_core(name)), window, every)
        assert_close(trained(make_core(name), whole, make_state(make_core(name)), window, every), expected)


def test_with_constant_weights_and_all_steps_it_is_the_whole_gradient() -> None:
    """Every loss goes back to the first step: their gradients add up to that of one span."""
    model, whole = make_core("GRU-2"), make_span(8, is_first=[(2, 1)])
    state = make_state(model)
    spans = whole.divide(2, lookahead=0)
    found, steps = train_on(TruncatedBPTT(model, squared_error, 8, every=2), spans, state)
    expected, whole_steps = train_on(BPTT(model, squared_error), [whole], state)
    assert_close(found, expected)
    assert_close(steps[-1].state, whole_steps[-1].state)


@pytest.mark.parametrize("every", [3, 8])
def test_without_steps_before_it_is_plain_truncation_to_the_bit(every: int) -> None:
    """In the first span, and in all where windows do not overlap."""
    model = make_core("own")
    spans = make_span(8, is_first=STARTS[:4]).divide(8 if every == 8 else 3, lookahead=0)[: 1 if every == 3 else None]
    expected = train_on(TruncatedBPTT(model, squared_error, 8), spans, make_state(model))[0]
    assert_identical(
        train_on(TruncatedBPTT(model, squared_error, 8, every=every), spans, make_state(model))[0], expected
    )


def after_two(model: nn.Module) -> tuple[TruncatedBPTT, list[Span], State]:
    """An estimator that has seen two spans of three, and the state after them."""
    estimator, spans = TruncatedBPTT(model, squared_error, 7, every=2), make_span(6).divide(2, lookahead=0)
    state = make_state(model)
    for span in spans[:2]:
        state = estimator.backward(span, state).state
    model.zero_grad()
    return estimator, spans, state


def changed(state: State) -> State:
    leaves(state)[0][0, 0] += 1
    return state


@pytest.mark.parametrize(
    ("hand_in", "goes_on"),
    [
        (lambda state: state, True),
        (copy.deepcopy, True),
        (lambda state: None, False),
        (changed, False),
        (lambda state: changed(copy.deepcopy(state)), False),
        (lambda state: copy.deepcopy(changed(state)), False),
        (lambda state: map_state(Tensor.float, state), False),
    ],
    ids=["given back", "copied", "None", "written into", "copy written into", "written into and copied", "converted"],
)
def test_the_past_is_forgotten_with_another_state(hand_in: Callable[[State], State], goes_on: bool) -> None:
    model = make_core("nn.LSTM-2")
    estimator, spans, state = after_two(model)
    given = hand_in(state)
    if given is not None:
        model.to(leaves(given)[0].dtype)
    span = spans[2] if given is None or leaves(given)[0].dtype == torch.float64 else Span(
        spans[2].inputs.float(), spans[2].targets.float()
    )  # fmt: skip
    kept = copy.deepcopy(given)
    step = estimator.backward(span, given)
    found = gradients(model)
    model.zero_grad()
    alone = TruncatedBPTT(model, squared_error, 2).backward(span, kept)
    assert_close(step.loss, alone.loss)
    assert torch.allclose(found["weight_hh_l0"], gradients(model)["weight_hh_l0"]) != goes_on


def test_other_rows_or_other_inputs_are_another_past() -> None:
    model = make_core("nn.GRU-1")
    estimator, spans, state = after_two(model)
    fewer = estimator.backward(spans[2].rows(0, 2), state[:, :2].contiguous())
    assert fewer.state.shape == (1, 2, SIZE)
    all_begin = Span(spans[2].inputs, spans[2].targets, torch.tensor([[True] * ROWS, [False] * ROWS]))
    assert estimator.backward(all_begin, fewer.state).state.shape == (1, ROWS, SIZE)


def test_rows_that_ended_begin_with_the_next_span() -> None:
    whole, found = make_span(6), []
    ended = torch.tensor([False, True, False])
    for marked in (True, False):
        model = make_core("own")
        first, second, third = whole.divide(2, lookahead=0)
        second = Span(second.inputs, second.targets, is_last=None if marked else ended)
        third = Span(third.inputs, third.targets, torch.stack([ended, ended & False]) if marked else None)
        found.append(
            train_on(TruncatedBPTT(model, squared_error, 7, every=2), [first, second, third], make_state(model))
        )
    assert_close(found[0][0], found[1][0])


@pytest.mark.parametrize("copied", [False, True])
def test_what_is_kept_is_saved_small_and_outlives_the_callers_tensors(copied: bool) -> None:
    """A copy or a saved estimator goes on with it; the data that a span is a slice of may be written over."""
    model = make_core("LSTM-1")
    text = make_span(5000)
    estimator, state = TruncatedBPTT(model, squared_error, 5, every=2), make_state(model)
    first, second = text.slice(0, 2).with_future(None), text.slice(2, 4).with_future(None)
    state = estimator.backward(first, state).state
    file = BytesIO()
    torch.save(estimator.state_dict(), file)
    assert file.tell() < 8000, "steps, and not all that they are slices of"
    first.inputs.fill_(torch.nan)
    model.zero_grad()
    other = copy.deepcopy(estimator)
    if not copied:
        other = TruncatedBPTT(model, squared_error, 5, every=2)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
    expected = estimator.backward(second, state), gradients(model)
    model.zero_grad()
    found = other.backward(second, copy.deepcopy(state)), gradients(model)
    assert expected[0].loss.isfinite()
    assert_identical((vars(found[0]), found[1]), (vars(expected[0]), expected[1]))


class Averaging(nn.Module):
    """Keeps a sum of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(SIZE, SIZE)
        self.register_buffer("sum", torch.zeros(()))

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.sum = self.sum + inputs.detach().sum()
        return self.core(inputs, state)


@pytest.mark.parametrize(("window", "every"), [(7, 2), (5, 4)])
def test_buffers_take_in_every_step_once(window: int, every: int) -> None:
    model, whole, state = Averaging().double(), make_span(8), None
    estimator = TruncatedBPTT(model, squared_error, window, every=every)
    for span in whole.divide(every, lookahead=0):
        state = estimator.backward(span, state).state
    assert_close(model.sum, whole.inputs.sum())


def test_an_encoder_learns_from_its_own_span_alone() -> None:
    """What it made of earlier steps is kept without its graph, which has been gone through."""
    core, encoder = make_core("LSTM-1"), nn.Linear(SIZE, SIZE).double()
    estimator, state = TruncatedBPTT(core, squared_error, 6, every=2), make_state(core)
    for span in make_span(6).divide(2, lookahead=0):
        encoder.zero_grad()
        state = estimator.backward(Span(encoder(span.inputs), span.targets), state).state
        assert gradients(encoder)["weight"].any()


def test_dropout_draws_other_masks_for_steps_that_run_again() -> None:
    model = make_language_model(LSTM(SIZE, SIZE, 2, dropout=0.4), dropout=0.4)
    estimator, state = TruncatedBPTT(model, model.loss, 9, every=3), make_state(model)
    for span in make_text(9).divide(3, lookahead=0):
        step = estimator.backward(span, state)
        state = step.state
        assert step.loss.isfinite()


class Cutting(nn.Module):
    """Cuts its own state off."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(SIZE, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs, state = self.core(inputs, state)
        return outputs, state.detach()


def test_what_does_not_fit_is_refused() -> None:
    model = make_core("GRU-1")
    for options, message in [
        ({"every": 0}, "^every must be at least 1 step, got 0$"),
        ({"every": 6}, "^every must be at most window, 5 steps, .* got 6$"),
        ({"every": 2, "parallel": True}, "^parallel must not be True with every: there is one window$"),
    ]:
        with pytest.raises(ValueError, match=message):
            TruncatedBPTT(model, squared_error, 5, **options)
    for window in (5, 2):
        with pytest.raises(
            ValueError, match=r"^a span must have at most every steps, 2, got 3: divide it \(span\.divide"
        ):
            TruncatedBPTT(model, squared_error, window, every=2).backward(make_span(3))
    estimator = TruncatedBPTT(Cutting().double(), squared_error, 3, every=2)
    with pytest.raises(ValueError, match=r"hand the state back attached to its graph \(no detach\(\)"):
        estimator.backward(make_span(2))
