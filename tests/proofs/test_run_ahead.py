"""The model is run beyond a span as far as is wanted, and nothing that trains is changed by it."""

from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    PlacedCore,
    gradients,
    make_language_model,
    make_span,
    make_state,
    make_text,
    mark,
    squared_error,
)
from output_gradients import (
    BOUNDS,
    STEPS,
    Layout,
    Recorder,
    assert_handed_over,
    gradients_step_by_step,
    make,
    make_data,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.cores.dropout import Dropout
from sgrnn.estimators import Loss, SyntheticGradients, TruncatedBPTT
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.synthesizers import Lookahead


class Run(NamedTuple):
    """Steps ahead that a synthesizer was asked about, and the number of steps in each run of the core."""

    asked: Lookahead
    ran: list[int]


def run_estimator(layout: Layout, ahead: int | None, **rest: Any) -> Run:
    model = make_language_model()
    recorder, ran = Recorder(layout.lookahead), list[int]()
    handle = model.core.register_forward_pre_hook(lambda core, arguments: ran.append(len(arguments[0])))
    estimator = SyntheticGradients(
        model, model.loss, layout.window, synthesizer=recorder, run_ahead=ahead, ahead="model"
    ).double()
    estimator.backward(make_data("language model", layout.future, **rest), make_state(model))
    handle.remove()
    return Run(recorder.seen[0], ran)


@pytest.mark.parametrize(("ahead", "rows"), [(1, "all go on"), (2, "begin, also ahead")])
def test_run_so_many_steps_ahead_it_is_as_if_no_more_of_the_future_were_known(ahead: int, rows: str) -> None:
    longer = run_estimator(Layout(3, 4, 5), ahead, **BOUNDS[rows])
    expected = run_estimator(Layout(3, 4, ahead), None, **BOUNDS[rows])
    assert_identical(vars(longer.asked), vars(expected.asked))
    assert longer.ran == expected.ran


@pytest.mark.parametrize(("ahead", "expected"), [(1, 1), (9, 4)])
def test_the_model_is_run_no_further_than_run_ahead_and_than_is_seen(ahead: int, expected: int) -> None:
    assert sum(run_estimator(Layout(3, 4, 6), ahead).ran) == STEPS + expected


def test_run_no_step_ahead_it_needs_no_future_and_knows_those_within_the_span() -> None:
    model, loss = make("language model")
    layout, state = Layout(3, 4, 0), make_state(model)
    whole = make_text(STEPS)
    expected, _ = gradients_step_by_step(model, loss, [whole], state)
    unit = expected.square().mean().sqrt()
    for span in (whole, Span(whole.inputs, whole.targets)):
        recorder = Recorder(layout.lookahead)
        SyntheticGradients(model, loss, layout.window, synthesizer=recorder, run_ahead=0).double().backward(span, state)
        (seen,) = recorder.seen
        assert_handed_over(seen, Span(whole.inputs, whole.targets), layout, expected, unit)
        assert seen.valid is not None
        assert not seen.valid[:, -ROWS:].any(), "nothing at the span's end"
        assert seen.valid[0, :-ROWS].all()


@pytest.mark.parametrize("fails", [False, True])
def test_parameters_are_as_free_or_frozen_afterwards_as_they_were(fails: bool) -> None:
    model = make_language_model()
    model.embedding.requires_grad_(False)
    model.output.bias.requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if fails and targets.shape[0] != STEPS:
            raise RuntimeError("interrupted")
        return model.loss(outputs, targets)

    estimator = SyntheticGradients(model, loss, 3, synthesizer=model.synthesizer(3)).double()
    for _ in range(2):
        if fails:
            with pytest.raises(RuntimeError, match="interrupted"):
                estimator.backward(make_text(STEPS), make_state(model))
        else:
            estimator.backward(make_text(STEPS), make_state(model))
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before
    assert {name for name, one in model.named_parameters() if one.grad is not None} <= {
        name for name in before if before[name]
    }


def noisy(model: LanguageModel, noise: Dropout) -> Loss:
    return lambda outputs, targets: model.loss(noise(outputs), targets)


@pytest.mark.parametrize("parallel", [False, True])
def test_running_ahead_leaves_no_trace_where_the_loss_draws_at_random_too(parallel: bool) -> None:
    """A fresh synthesizer injects nothing, so that two spans train as truncation does, bit for bit."""
    noise = Dropout(0.4)
    outcomes = []
    for kind in ("synthetic", "truncated"):
        model = make_language_model(LSTM(SIZE, SIZE, 2, dropout=0.3), dropout=0.3)
        loss, synthesizer = noisy(model, noise), model.synthesizer(4, rank=3, hidden_size=5)
        synthetic = SyntheticGradients(model, loss, 3, synthesizer=synthesizer, parallel=parallel).double()
        estimator = synthetic if kind == "synthetic" else TruncatedBPTT(model, loss, 3, parallel=parallel)
        state, steps = make_state(model), []
        torch.manual_seed(9)
        for seed in (2, 3):
            span = make_text(STEPS, seed=seed)
            step = estimator.backward(span, state)
            state = step.state
            steps.append((step.loss, step.state))
        outcomes.append((gradients(model), steps, torch.rand(3)))
    assert_identical(outcomes[0], outcomes[1])


def test_running_ahead_needs_no_gradient_and_leaves_none() -> None:
    """Where nothing is learned in the span, what runs ahead teaches nothing either."""
    model = make_language_model(tied=True)
    span = make_text(STEPS)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return model.loss(outputs, targets) * (0.0 if targets.shape[0] == STEPS else 1.0)

    recorder = Recorder(4)
    SyntheticGradients(model, loss, 3, synthesizer=recorder).double().backward(span, make_state(model))
    ahead = recorder.seen[0].output_gradients
    assert ahead is not None
    assert ahead.any()
    assert not any(gradient.any() for gradient in gradients(model).values())


def test_statistics_of_a_head_in_the_loss_are_of_the_span_alone() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(SIZE)

        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return (self.norm(outputs.flatten(0, 1)).view_as(outputs) - targets).square().sum(-1)

        loss = forward

    for is_module in (True, False):
        core, head = LSTM(SIZE, SIZE), Head()
        steps, later = torch.randn(4, ROWS, SIZE), torch.randn(8, ROWS, SIZE)
        span = Span(steps, steps, future=Span(later, later))
        SyntheticGradients(core, head if is_module else head.loss, 2).backward(span, make_state(core))
        assert dict(head.named_buffers())["norm.num_batches_tracked"] == 1


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("marked", ["by the first step", "by the last step"])
def test_rows_begin_anew_ahead_where_a_model_counts_no_further_than_a_sequence_is_long(
    marked: str, low_memory: bool
) -> None:
    """A row's sequence has five steps and ends with the span, or after the first step ahead."""
    torch.manual_seed(0)
    model, recorder = PlacedCore(5).double(), Recorder(4)
    ending = torch.tensor([True, *[False] * (ROWS - 1)])
    first = [(0, 0), *((1, row) for row in range(1, ROWS))]
    by_last, known = marked == "by the last step", make_span(8)
    span = Span(known.inputs[:4], known.targets[:4], is_last=ending if by_last else None)
    future = Span(known.inputs[4:], known.targets[4:], mark(4, ROWS, first[by_last:]))
    state = model.initial_state(ROWS)
    state["place"][0] = 1
    estimator = SyntheticGradients(model, squared_error, 2, synthesizer=recorder, low_memory=low_memory).double()
    estimator.backward(span.with_future(future), state)
    begun = replace(future, is_first=mark(4, ROWS, first))
    expected, _ = gradients_step_by_step(model, squared_error, [span, begun], state)
    unit = expected[:4].square().mean().sqrt()
    last = recorder.seen[-1].rows(-ROWS, None)
    assert last.valid is not None
    assert last.valid[:, 0].sum() == 0
    assert (last.valid[:, 1:].sum(dim=0) == 1).all()
    assert last.output_gradients is not None
    assert_close(last.output_gradients[0, 1:] * unit, expected[4, 1:])
