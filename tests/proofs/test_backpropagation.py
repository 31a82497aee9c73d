"""`BPTT` is back-propagation through the whole span, `TruncatedBPTT` is the same with the graph cut at boundaries."""

import pytest
import torch
from models import CORES, ROWS, divide, gradients_by_hand, make_core, make_span, make_state, squared_error, train_on
from tolerances import assert_close, assert_identical

from sgrnn.estimators import BPTT, GradientEstimator, TruncatedBPTT
from sgrnn.span import Span

STEPS = 7
STARTS = {"no starts": None, "is_first": [(0, 0), (3, 1), (4, 0), (4, 2), (6, 1)]}


def assert_same_as_by_hand(core: str, estimator: GradientEstimator, spans: list[Span], window: int | None) -> None:
    model = make_core(core)
    found, steps = train_on(estimator, model, squared_error, spans, make_state(model))
    expected, totals, state = gradients_by_hand(model, squared_error, spans, make_state(model), window)
    assert_close(found, expected)
    losses = [total / (span.steps * span.batch_size) for total, span in zip(totals, spans, strict=True)]
    assert_close([step.loss for step in steps], losses)
    assert_close(steps[-1].state, state)


@pytest.mark.parametrize("is_first", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("core", CORES)
def test_full_is_plain_autograd_through_the_span(core: str, is_first: list[tuple[int, int]] | None) -> None:
    assert_same_as_by_hand(core, BPTT(), [make_span(STEPS, is_first=is_first)], None)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("is_first", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("window", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("core", ["LSTM-2", "nn.GRU-1", "own"])
def test_truncated_is_plain_autograd_with_the_graph_cut_at_every_boundary(
    core: str, window: int, is_first: list[tuple[int, int]] | None, parallel: bool
) -> None:
    spans = divide(make_span(STEPS + 4, is_first=is_first), [STEPS, 4])
    assert_same_as_by_hand(core, TruncatedBPTT(window, parallel=parallel), spans, window)


@pytest.mark.parametrize("window", [STEPS, STEPS + 1, 10 * STEPS])
@pytest.mark.parametrize("core", CORES)
def test_a_window_as_long_as_the_span_or_longer_is_full(core: str, window: int) -> None:
    model = make_core(core)
    spans = [make_span(STEPS, is_first=STARTS["is_first"])]
    expected, _ = train_on(BPTT(), model, squared_error, spans, make_state(model))
    found, _ = train_on(TruncatedBPTT(window), model, squared_error, spans, make_state(model))
    assert_identical(found, expected)


@pytest.mark.parametrize("core", ["LSTM-1", "GRU-2", "own"])
def test_a_shorter_window_is_not_full(core: str) -> None:
    model = make_core(core)
    spans = [make_span(STEPS)]
    expected, _ = train_on(BPTT(), model, squared_error, spans, make_state(model))
    found, _ = train_on(TruncatedBPTT(STEPS - 1), model, squared_error, spans, make_state(model))
    assert any(not torch.allclose(found[name], expected[name], rtol=1e-3) for name in expected)


def test_a_graph_behind_the_state_is_ignored() -> None:
    model = make_core("LSTM-1")
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    hidden, cell = make_state(model)
    step = BPTT().backward(model, squared_error, make_span(STEPS), (hidden * weight, cell * weight))
    assert weight.grad is None
    assert not any(tensor.requires_grad for tensor in step.state)


def test_gradients_are_added_to_those_that_are_there() -> None:
    model = make_core("GRU-1")
    span, state = make_span(STEPS), make_state(model)
    once, _ = train_on(TruncatedBPTT(2), model, squared_error, [span], state)
    estimator = TruncatedBPTT(2)
    estimator.backward(model, squared_error, span, state)  # train_on left one
    twice = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert_close(twice, {name: 2 * gradient / (STEPS * ROWS) for name, gradient in once.items()})
