"""`BPTT` is back-propagation through the whole span, `TruncatedBPTT` that with the graph cut at boundaries."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from models import CORES, ROWS, divide, gradients_by_hand, make_core, make_span, make_state, squared_error, train_on
from tolerances import assert_close, assert_identical
from torch import nn

from sgrnn.estimators import BPTT, GradientEstimator, Loss, TruncatedBPTT
from sgrnn.span import Span

STEPS = 7
STARTS = [(0, 0), (3, 1), (4, 0), (4, 2), (6, 1)]


MakeEstimator = Callable[[nn.Module, Loss], GradientEstimator]


def assert_same_as_by_hand(core: str, make: MakeEstimator, spans: list[Span], window: int | None) -> None:
    model = make_core(core)
    totals, steps = train_on(make(model, squared_error), spans, make_state(model))
    expected, losses, state = gradients_by_hand(model, squared_error, spans, make_state(model), window)
    assert_close(totals, expected)
    means = [loss / (span.steps * span.batch_size) for loss, span in zip(losses, spans, strict=True)]
    assert_close([step.loss for step in steps], means)
    assert_close(steps[-1].state, state)


@pytest.mark.parametrize("core", CORES)
def test_full_is_plain_autograd_through_the_span(core: str) -> None:
    assert_same_as_by_hand(core, BPTT, [make_span(STEPS, is_first=STARTS)], None)


@pytest.mark.parametrize(
    ("core", "window", "is_first", "parallel"),
    [
        ("LSTM-2", 1, None, True),
        ("LSTM-2", 3, STARTS, False),
        ("nn.GRU-1", 2, None, False),
        ("nn.GRU-1", 1, STARTS, True),
        ("own", 3, None, True),
        ("own", 10, STARTS, False),
    ],
)
def test_truncated_is_plain_autograd_with_the_graph_cut_at_every_boundary(
    core: str, window: int, is_first: list[tuple[int, int]] | None, parallel: bool
) -> None:
    spans = divide(make_span(STEPS + 4, is_first=is_first), [STEPS, 4])
    assert_same_as_by_hand(core, partial(TruncatedBPTT, window=window, parallel=parallel), spans, window)


@pytest.mark.parametrize("window", [STEPS, 10 * STEPS])
def test_a_window_as_long_as_the_span_or_longer_is_full_and_a_shorter_one_is_not(window: int) -> None:
    model, spans = make_core("own"), [make_span(STEPS, is_first=[(0, 0), (3, 1)])]

    def train(make: MakeEstimator) -> dict[str, torch.Tensor]:
        return train_on(make(model, squared_error), spans, make_state(model))[0]

    expected, shorter = train(BPTT), train(partial(TruncatedBPTT, window=STEPS - 1))
    assert_identical(train(partial(TruncatedBPTT, window=window)), expected)
    assert any(not torch.allclose(shorter[name], expected[name], rtol=1e-3) for name in expected)


def test_a_graph_behind_the_state_is_not_gone_through_and_warned_of() -> None:
    model = make_core("LSTM-1")
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    hidden, cell = make_state(model)
    attached, every_row = (hidden * weight, cell * weight), [(0, row) for row in range(ROWS)]
    with pytest.warns(
        UserWarning, match="the state has a graph, which no gradient goes back through: detach it, or"
    ) as warned:
        step = BPTT(model, squared_error).backward(make_span(STEPS), attached)
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match="the state has a graph"):
        exec("run()", {"run": partial(BPTT(model, squared_error).backward, make_span(STEPS), attached)})
    BPTT(model, squared_error).backward(make_span(STEPS, is_first=every_row), attached)  # of which nothing is left
    assert weight.grad is None
    assert not any(tensor.requires_grad for tensor in step.state)


def test_gradients_are_added_to_those_that_are_there() -> None:
    model = make_core("GRU-1")
    span, state = make_span(STEPS), make_state(model)
    once, _ = train_on(TruncatedBPTT(model, squared_error, 2), [span], state)
    TruncatedBPTT(model, squared_error, 2).backward(span, state)  # train_on left one
    twice = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert_close(twice, {name: 2 * gradient / (STEPS * ROWS) for name, gradient in once.items()})
