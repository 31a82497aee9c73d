"""`ExactAhead` hands every boundary the gradient of the next steps' losses as plain autograd has it."""

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    PlacedCore,
    gradients,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    mark,
    run_by_hand,
    squared_error,
)
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.estimators import BPTT, ExactAhead, Loss, TruncatedBPTT
from sgrnn.span import Span
from sgrnn.state import State, detach, floating_leaves

STEPS, AHEAD = 8, 5
ENDED = torch.ones(ROWS, dtype=torch.bool)


def by_hand(
    model: nn.Module, loss: Loss, whole: Span, steps: int, state: State, window: int, ahead: int
) -> dict[str, Tensor]:
    """The gradients of the summed loss of `steps` steps, with those of `ahead` more of `whole` at each boundary."""
    _, states = run_by_hand(model, loss, whole, state)
    totals: dict[str, Tensor] = {}
    for start in range(0, steps, window):
        stop = min(start + window, steps)
        here = Span(whole.inputs[start:stop], whole.targets[start:stop])
        model.zero_grad()
        total, inside = run_by_hand(model, loss, here, detach(states[start]))
        beyond = slice(stop, stop + ahead)
        if len(whole.inputs[beyond]):
            later, before = run_by_hand(
                model, loss, Span(whole.inputs[beyond], whole.targets[beyond]), detach(states[stop])
            )
            arriving = torch.autograd.grad(later, floating_leaves(before[0]), allow_unused=True, materialize_grads=True)
            model.zero_grad()
            torch.autograd.backward([total, *floating_leaves(inside[-1])], [torch.ones_like(total), *arriving])
        else:
            total.backward()
        for name, gradient in gradients(model).items():
            totals[name] = totals.get(name, 0) + gradient
    return totals


@pytest.mark.parametrize(
    ("name", "window", "parallel"),
    [("LSTM-2", 1, True), ("nn.GRU-1", 3, True), ("hierarchy 1, 4", 3, False), ("own", STEPS, False)],
)
def test_what_crosses_is_the_gradient_of_the_next_steps(name: str, window: int, parallel: bool) -> None:
    core = make_core(name)
    state = make_state(core)
    whole = make_span(STEPS + AHEAD)
    span = Span(whole.inputs[:STEPS], whole.targets[:STEPS], future=Span(whole.inputs[STEPS:], whole.targets[STEPS:]))
    expected = by_hand(core, squared_error, whole, STEPS, state, window, AHEAD)
    core.zero_grad()
    ExactAhead(core, squared_error, window, AHEAD, parallel=parallel).backward(span, state)
    assert_close({name: gradient * STEPS * ROWS for name, gradient in gradients(core).items()}, expected)


def test_with_all_steps_that_follow_it_is_the_whole_spans_gradient() -> None:
    core = make_core("LSTM-1")
    state = make_state(core)
    span = make_span(STEPS, is_first=[(2, 1), (5, 0), (6, 2)], is_last=ENDED)
    BPTT(core, squared_error).backward(span, state)
    expected = gradients(core)
    core.zero_grad()
    ExactAhead(core, squared_error, 1, STEPS).backward(span, state)
    assert_close(gradients(core), expected)


def test_rows_count_no_further_than_their_sequence_is_long() -> None:
    """Every gradient that crosses is that of the steps which the row still has, a row of five and rows of nine."""
    torch.manual_seed(0)
    model = PlacedCore(9).double()
    state = model.initial_state(ROWS)
    state["place"][0] = 4
    whole, found = make_span(9), []
    for window, ahead in ((1, 8), (9, 1)):
        span = Span(whole.inputs, whole.targets, mark(9, ROWS, [(5, 0)]), is_last=ENDED)
        model.zero_grad()
        ExactAhead(model, squared_error, window, ahead).backward(span, state)
        found.append(gradients(model))
    assert_close(*found)


def test_a_token_model_is_credited_with_its_future() -> None:
    model = make_language_model(LSTM(SIZE, SIZE))
    text = make_text(STEPS)
    state = make_state(model)
    steps = {}
    for ahead in (1, 5):
        model.zero_grad()
        ExactAhead(model, model.loss, 2, ahead).backward(text, state)
        steps[ahead] = gradients(model)
    model.zero_grad()
    TruncatedBPTT(model, model.loss, 2).backward(text, state)
    truncated = gradients(model)
    weight = "core.layers.0.weight_hh_l0"
    assert not torch.allclose(steps[1][weight], truncated[weight])
    assert not torch.allclose(steps[1][weight], steps[5][weight])
    assert_close(steps[1]["output.weight"], truncated["output.weight"])  # it acts in its own step alone


def test_what_crosses_can_be_looked_at() -> None:
    core = make_core("LSTM-1")
    span = make_span(STEPS, is_last=ENDED)
    crossing = ExactAhead(core, squared_error, 3, STEPS).look(span, make_state(core))
    assert crossing.boundaries == [0, 3, 6, 8]
    total, states = run_by_hand(core, squared_error, span, make_state(core))
    exact = torch.autograd.grad(total, floating_leaves(states[3]))
    assert_close(crossing.injected[:ROWS], torch.cat([part[0] for part in exact], dim=1))
    assert not crossing.injected[2 * ROWS :].any()


def test_a_missing_future_and_dropout_are_refused() -> None:
    core = make_core("LSTM-1")
    with pytest.raises(ValueError, match="exact gradients reach 5 steps ahead, so a span needs its future"):
        ExactAhead(core, squared_error, 2, 5).backward(make_span(STEPS), make_state(core))
    dropping = LSTM(SIZE, SIZE, 2, dropout=0.5).double()
    with pytest.raises(ValueError, match=r"must be without dropout, got 0\.5 in dropout"):
        ExactAhead(dropping, squared_error, 2, 5).backward(make_span(STEPS, is_last=ENDED), make_state(dropping))
    with pytest.raises(ValueError, match=r"must be without dropout, got 0\.5 in dropout"):
        ExactAhead(dropping, squared_error, 2, 5).look(make_span(STEPS, is_last=ENDED), make_state(dropping))


class Imputing(nn.Module):
    """A core that puts what it learns in the place of values that are missing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.core, self.fill = nn.GRU(SIZE, SIZE), nn.Parameter(torch.randn(SIZE))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.fill.new_zeros(1, batch_size, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.core(torch.where(inputs.isfinite(), inputs, self.fill), state)


def test_missing_values_that_the_model_makes_up_for_are_no_end_of_the_gradient() -> None:
    model, span = Imputing().double(), make_span(STEPS)
    inputs = span.inputs.masked_fill(torch.rand(span.inputs.shape) < 0.3, torch.nan)
    span = Span(inputs, span.targets, is_last=ENDED)
    found = []
    for estimator in (ExactAhead(model, squared_error, 2, STEPS), BPTT(model, squared_error)):
        model.zero_grad()
        estimator.backward(span, model.initial_state(ROWS))
        found.append(gradients(model))
    assert_close(*found)
