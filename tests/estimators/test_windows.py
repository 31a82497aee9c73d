"""Running a span as windows: where it is cut, which states its boundaries have, how sequences begin."""

from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    OwnCore,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    run_by_hand,
    squared_error,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores.dropout import Dropout
from sgrnn.estimators import TruncatedBPTT
from sgrnn.estimators.unroll import run, unroll
from sgrnn.span import Span
from sgrnn.state import batch_size, concatenate, leaves, to_matrix

STEPS = 7


class Sum(nn.Module):
    """Without a method initial_state; its outputs are a nest."""

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[dict[str, Any], Tensor]:
        totals = state + inputs.cumsum(dim=0)
        return {"total": totals, "parts": (inputs, totals[..., :1])}, totals[-1]


def test_a_span_is_cut_every_window_steps_and_at_its_end() -> None:
    model = make_core("LSTM-1")
    for window, boundaries in [(1, [*range(8)]), (3, [0, 3, 6, 7]), (7, [0, 7]), (100, [0, 7]), (None, [0, 7])]:
        for parallel in (False, True):
            windows = unroll(model, make_span(STEPS), make_state(model), window, parallel)
            assert windows.boundaries == boundaries


INSIDE, AT_BOUNDARY = [(0, 0), (2, 1), (6, 2)], [(0, 0), (3, 1)]


@pytest.mark.parametrize(
    ("core", "window", "is_first", "parallel"),
    [
        ("LSTM-2", 3, AT_BOUNDARY, True),
        ("LSTM-2", None, INSIDE, False),
        ("nn.GRU-2", 1, INSIDE, True),
        ("nn.GRU-2", 5, None, False),
        ("own", 3, None, True),
        ("own", 3, INSIDE, True),
    ],
)
def test_outputs_and_boundaries_are_those_of_a_run_step_by_step(
    core: str, window: int | None, is_first: list[tuple[int, int]] | None, parallel: bool
) -> None:
    model, span = make_core(core), make_span(STEPS, is_first=is_first)
    state = make_state(model)
    windows = unroll(model, span, state, window, parallel)
    total, states = run_by_hand(model, squared_error, span, state)
    wanted = [states[boundary] for boundary in windows.boundaries]
    assert_close(to_matrix(windows.boundary_states), to_matrix(concatenate(wanted)))
    assert_close(leaves(windows.final_state), leaves(states[-1]))
    assert not any(tensor.requires_grad for tensor in leaves((windows.final_state, windows.boundary_states)))
    assert_close(squared_error(windows.outputs, span.targets).sum(), total)
    assert windows.outputs.shape[:2] == (STEPS, ROWS)


@pytest.mark.parametrize("parallel", [False, True])
def test_first_states_are_leaves_and_last_states_hang_on_them(parallel: bool) -> None:
    model = make_core("own")
    windows = unroll(model, make_span(STEPS), make_state(model), 3, parallel)
    assert [batch_size(state) for state in windows.initial_states] == ([2 * ROWS, ROWS] if parallel else [ROWS] * 3)
    for first, last in zip(windows.initial_states, windows.final_states, strict=True):
        assert all(tensor.is_leaf for tensor in leaves(first))
        assert first["fast"].requires_grad
        assert not first["count"].requires_grad
        assert batch_size(last) == batch_size(first)
        gradient = torch.autograd.grad(last["fast"].sum(), first["fast"], retain_graph=True)[0]
        assert gradient.any(dim=1).all()


def test_left_to_choose_small_windows_run_as_one_batch() -> None:
    model = make_core("own")
    inputs = torch.zeros(20, 32, SIZE, dtype=torch.float64)
    span, state = Span(inputs, inputs), make_state(model, 32)
    assert [len(unroll(model, span, state, window, parallel=None).blocks) for window in (2, 4, 5)] == [1, 1, 4]


@pytest.mark.parametrize("parallel", [False, True])
def test_no_gradient_crosses_a_boundary_nor_changes_the_given_state(parallel: bool) -> None:
    model = make_core("GRU-1")
    span, state = make_span(6), make_state(model)
    before = state.clone()
    span.inputs.requires_grad_()
    windows = unroll(model, span, state, 2, parallel)
    assert_identical(state, before)
    assert not state.requires_grad
    (gradient,) = torch.autograd.grad(windows.outputs[3].sum(), span.inputs)
    assert gradient.any(dim=-1).any(dim=-1).tolist() == [False, False, True, True, False, False]


def test_rows_of_a_batch_of_windows_are_windows_first() -> None:
    model = Sum()
    span = make_span(6)
    windows = unroll(model, span, torch.zeros(ROWS, SIZE, dtype=torch.float64), 2, parallel=True)
    sums = span.inputs.cumsum(dim=0)
    assert_close(windows.outputs, {"total": sums, "parts": (span.inputs, sums[..., :1])})
    zero = torch.zeros(ROWS, SIZE, dtype=torch.float64)
    assert_close(windows.boundary_states, torch.cat([zero, sums[1], sums[3], sums[5]]))
    assert_close(windows.final_states[0], torch.cat([sums[1], sums[3], sums[5]]))


def test_a_model_without_initial_state_begins_at_zeros() -> None:
    span = make_span(5, is_first=[(0, 0), (2, 1), (4, 1)])
    begin = torch.full((ROWS, SIZE), 10.0, dtype=torch.float64)
    outputs, last = run(Sum(), span.inputs, begin, span.is_first)
    expected = span.inputs.cumsum(dim=0) + 10
    expected[:, 0] -= 10
    expected[2:, 1] = span.inputs[2:, 1].cumsum(dim=0)
    expected[4:, 1] = span.inputs[4, 1]
    assert_close(outputs["total"], expected)
    assert_close(outputs["parts"], (span.inputs, expected[..., :1]))
    assert_close(last, expected[-1])


def test_a_beginning_that_is_learned_gets_its_gradient_from_the_rows_that_start() -> None:
    model = OwnCore().double()
    span = make_span(4, is_first=[(2, 1)])
    outputs, _ = run(model, span.inputs, make_state(model), span.is_first)
    per_row = [torch.autograd.grad(outputs[:, row].sum(), model.beginning, retain_graph=True, allow_unused=True)[0]
               for row in range(ROWS)]  # fmt: skip
    assert [gradient is not None and bool(gradient.any()) for gradient in per_row] == [False, True, False]


def test_where_no_sequence_begins_the_model_runs_once_over_all_steps() -> None:
    calls = []
    model = Sum()
    model.register_forward_pre_hook(lambda module, arguments: calls.append(arguments[0].shape[0]))
    for is_first in (None, torch.zeros(STEPS, ROWS, dtype=torch.bool)):
        run(model, make_span(STEPS).inputs, torch.zeros(ROWS, SIZE), is_first)
    assert calls == [STEPS, STEPS]


@pytest.mark.parametrize("module", [nn.Dropout(0.5), nn.LSTM(SIZE, SIZE, 2, dropout=0.5)])
def test_masks_that_cannot_be_repeated_are_refused_where_windows_run_as_one_batch(module: nn.Module) -> None:
    model = make_language_model()
    model.add_module("other", module)
    span, state = make_text(6), make_state(model)
    message = "^running windows as one batch needs sgrnn.Dropout, but other draws its own masks$"
    with pytest.raises(ValueError, match=message):
        unroll(model, span, state, 2, parallel=True)
    unroll(model, span, state, 2)
    unroll(model, span, state, None, parallel=True)
    unroll(model.eval(), span, state, 2, parallel=True)


def test_after_a_span_dropout_draws_anew() -> None:
    model = make_language_model(dropout=0.5)
    estimator, span = TruncatedBPTT(model, model.loss, 2, parallel=True), make_text(6)
    first = estimator.backward(span, make_state(model))
    second = estimator.backward(span, make_state(model))
    assert not torch.equal(first.loss, second.loss)
    for module in model.modules():
        assert not isinstance(module, Dropout) or (module.recording, module.replaying) == (None, None)
