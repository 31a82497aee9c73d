"""A synthesizer is handed the output gradients ahead, as autograd finds them step by step."""

from typing import Any

import pytest
import torch
from models import ROWS, SIZE, make_core, make_state, make_text
from output_gradients import (
    BOUNDS,
    STEPS,
    Layout,
    Recorder,
    Single,
    assert_handed_over,
    gradients_step_by_step,
    make,
    make_data,
)
from tolerances import assert_close, assert_identical
from torch import Tensor

from sgrnn.estimators import SyntheticGradients

LAYOUTS = {
    "future as long as the lookahead": Layout(3, 4, 4),
    "future shorter": Layout(2, 5, 2),
    "future longer": Layout(3, 2, 6),
    "window of one step": Layout(1, 3, 3),
    "window longer than the span": Layout(20, 3, 3),
    "lookahead longer than the span": Layout(2, 11, 9),
    "one step": Layout(3, 1, 1),
}


def assert_seen(kind: str, layout: Layout, parallel: bool, **bounds: Any) -> int:
    """A recorder is handed what autograd finds; returns the output size."""
    model, loss = make(kind)
    span, state = (
        make_data(kind, layout.future, **bounds),
        make_state(model.core if isinstance(model, Single) else model),
    )
    recorder = Recorder(layout.lookahead)
    estimator = SyntheticGradients(model, loss, layout.window, synthesizer=recorder, ahead="model", parallel=parallel)
    estimator.double().backward(span, state)
    expected, _ = gradients_step_by_step(model, loss, [span, span.future], state)
    (seen,) = recorder.seen
    assert_handed_over(seen, span, layout, expected, expected[:STEPS].square().mean().sqrt())
    return expected.shape[2]


@pytest.mark.parametrize(
    ("kind", "layout", "rows", "parallel"),
    [
        ("language model", "future as long as the lookahead", "all go on", True),
        ("LSTM-2", "future shorter", "begin, also ahead", False),
        ("nn.GRU-1", "future longer", "begin and end", True),
        ("language model", "window of one step", "begin", True),
        ("LSTM-2", "window longer than the span", "all end", False),
        ("language model", "lookahead longer than the span", "begin, also ahead", False),
        ("nn.GRU-1", "one step", "begin", True),
    ],
)
def test_each_is_its_steps_gradient_at_the_outputs(kind: str, layout: str, rows: str, parallel: bool) -> None:
    assert_seen(kind, LAYOUTS[layout], parallel, **BOUNDS[rows])


@pytest.mark.parametrize("kind", ["own", "language model of an own core", "two outputs", "single output"])
def test_so_they_are_whatever_the_core_its_states_and_its_outputs(kind: str) -> None:
    size = assert_seen(kind, LAYOUTS["future shorter"], False, **BOUNDS["begin, also ahead"])
    assert size == {"two outputs": 3 * SIZE, "single output": 1}.get(kind, SIZE)


def test_without_a_future_they_are_those_within_the_span() -> None:
    model, loss = make("language model")
    layout, state = Layout(3, 4, 0), make_state(model)
    span = make_text(STEPS, is_last=torch.ones(ROWS, dtype=torch.bool))
    assert span.future is None
    recorder = Recorder(layout.lookahead)
    SyntheticGradients(model, loss, layout.window, synthesizer=recorder, ahead="model").double().backward(span, state)
    expected, _ = gradients_step_by_step(model, loss, [span], state)
    assert_handed_over(recorder.seen[0], span, layout, expected, expected.square().mean().sqrt())


def test_their_unit_is_a_running_root_mean_square_of_those_within_the_spans_before() -> None:
    model, loss = make("language model")
    layout, state = Layout(3, 2, 2), make_state(model)
    recorder, factor = Recorder(layout.lookahead), 1.0

    def scaled(outputs: Tensor, targets: Tensor) -> Tensor:
        return factor * loss(outputs, targets)

    estimator = SyntheticGradients(model, scaled, layout.window, synthesizer=recorder, ema_decay=0.6).double()
    mean_square = torch.zeros((), dtype=torch.float64)
    for update in range(1, 5):
        span = make_text(STEPS, seed=10 + update)
        factor = 10.0**update
        expected, after = gradients_step_by_step(model, scaled, [span, span.future], state)
        step = estimator.backward(span, state)
        own = expected[:STEPS].square().mean()
        assert_handed_over(recorder.seen[-1], span, layout, expected, (mean_square if update > 1 else own).sqrt())
        mean_square = mean_square.lerp(own, max(1 / update, 0.4))
        assert_close(step.state, after)
        state = step.state


def test_those_of_zero_are_handed_over_as_zero() -> None:
    def nothing(outputs: Tensor, targets: Tensor) -> Tensor:
        return 0 * outputs.sum(dim=-1)

    model, recorder = make_core("LSTM-1"), Recorder(3)
    estimator = SyntheticGradients(model, nothing, 2, synthesizer=recorder).double()
    span = make_data("LSTM-1", 3)
    step = estimator.backward(span, make_state(model))
    ahead = recorder.seen[0].output_gradients
    assert ahead is not None
    assert_identical(ahead, torch.zeros_like(ahead))
    assert all(metric.isfinite() for metric in step.metrics.values())
