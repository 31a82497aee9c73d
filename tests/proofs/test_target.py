"""A synthesizer is trained towards dL_k/ds_k + (ds_{k+1}/ds_k)^T g_{k+1}, as autograd finds it by hand."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    Table,
    gradients,
    gradients_by_hand,
    make_core,
    make_span,
    make_state,
    run_by_hand,
    squared_error,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.estimators import SyntheticGradients
from sgrnn.span import Span
from sgrnn.state import State, detach, floating_leaves, state_size, to_matrix

STEPS, WINDOW = 7, 3
BOUNDARIES = [0, 3, 6, 7]
STARTS = [(0, 0), (3, 1), (4, 2), (6, 0), (6, 1)]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "remove_mean": {"remove_mean": True},
    "remove_radial": {"remove_radial": True},
    "discount": {"discount": 0.9},
    "shrinkage": {"shrinkage": True},
    "all": {"remove_mean": True, "remove_radial": True, "discount": 0.7, "shrinkage": True},
}
OFF: dict[str, Any] = {"remove_mean": False, "remove_radial": False, "shrinkage": False}


def make_bounded_span(bounded: bool) -> Span:
    """Rows that all go on, or some that begin and end."""
    if not bounded:
        return make_span(STEPS)
    return make_span(STEPS, is_first=STARTS, is_last=torch.tensor([False, False, True]))


def continuing_rows(span: Span) -> Tensor:
    """((K + 1) x B,) rows whose sequence goes on across a boundary."""
    return torch.tensor(
        [
            not (span.is_first is not None and step < STEPS and span.is_first[step, row])
            and not (span.is_last is not None and step == STEPS and span.is_last[row])
            for step in BOUNDARIES
            for row in range(span.batch_size)
        ]
    )


def injected_by_hand(predicted: Tensor, states: Tensor, continuing: Tensor, options: dict, shrinkage: float) -> Tensor:
    """What crosses the boundaries: predictions in the unit of gradients, through drift control."""
    gradient = predicted.clone()
    if options.get("remove_mean"):
        gradient = gradient - gradient[continuing].mean(dim=0)
    if options.get("remove_radial"):  # every vector of every state has SIZE entries here
        vectors, parts = states.unflatten(1, (-1, SIZE)), gradient.unflatten(1, (-1, SIZE))
        units = vectors / vectors.norm(dim=-1, keepdim=True)
        gradient = (parts - units * (parts * units).sum(dim=-1, keepdim=True)).flatten(1)
    gradient = gradient * options.get("discount", 1.0) * (shrinkage if options.get("shrinkage") else 1.0)
    gradient[~continuing] = 0
    return gradient


def windows_by_hand(model: nn.Module, span: Span, state: State) -> list[tuple[Tensor, list[Tensor], State]]:
    """Each window's summed loss, its first state and its last state."""
    windows = []
    for start, stop in pairwise(BOUNDARIES):
        part = slice(start, stop)
        is_first = None if span.is_first is None else span.is_first[part]
        total, states = run_by_hand(model, squared_error, Span(span.inputs[part], span.targets[part], is_first), state)
        windows.append((total, floating_leaves(states[0]), states[-1]))
        state = detach(states[-1])
    return windows


def targets_by_hand(windows: list[tuple[Tensor, list[Tensor], State]], injected: Tensor) -> Tensor:
    targets = []
    for (total, first, last), gradient in zip(windows, injected.split(ROWS), strict=True):
        objective = total + (to_matrix(last) * gradient).sum()
        targets.append(to_matrix(torch.autograd.grad(objective, first, retain_graph=True, materialize_grads=True)))
    return torch.cat(targets)


@pytest.mark.parametrize(
    ("core", "options", "bounded", "parallel"),
    [
        ("hierarchy 1, 2, 3", "plain", True, False),
        ("hierarchy 1, 4", "remove_mean", True, True),
        ("GRU-2", "remove_radial", True, False),
        ("nn.RNN-1", "discount", False, True),
        ("own", "shrinkage", True, True),
        ("nn.LSTM-2", "all", False, False),
        ("nn.GRU-1", "remove_mean", False, False),
        ("LSTM-2", "all", True, True),
    ],
)
def test_the_target_is_the_loss_gradient_and_what_came_through_the_window(
    core: str, options: str, bounded: bool, parallel: bool
) -> None:
    model, span = make_core(core), make_bounded_span(bounded)
    state = make_state(model)
    table = Table(len(BOUNDARIES) * ROWS, state_size(state))
    estimator = SyntheticGradients(
        model, squared_error, WINDOW, synthesizer=table, parallel=parallel, **OFF | OPTIONS[options]
    ).double()
    estimator.predictor.mean_square.fill_(1.7)
    estimator.predictor.shrinkage.dot.fill_(0.3)
    estimator.predictor.shrinkage.square.fill_(0.5)
    estimator.predictor.updates.fill_(1000)

    windows = windows_by_hand(model, span, state)
    states = torch.cat([to_matrix(windows[0][1]), *(to_matrix(last) for _, _, last in windows)]).detach()
    continuing = continuing_rows(span)
    predicted = 1.7**0.5 * table.values.detach()[:, 0]
    injected = injected_by_hand(predicted[ROWS:], states[ROWS:], continuing[ROWS:], OPTIONS[options], 0.6)
    target = targets_by_hand(windows, injected)

    model.zero_grad()
    step = estimator.backward(span, state)

    trained = continuing[:-ROWS]
    mean_square = 0.99 * 1.7 + 0.01 * target[trained].square().mean()
    residuals = (predicted[:-ROWS] - target) / mean_square.sqrt()
    expected = torch.zeros_like(table.values)
    expected[:-ROWS, 0][trained] = 2 * residuals[trained] / (trained.sum() * residuals.shape[1])
    assert table.values.grad is not None
    assert_close(table.values.grad, expected)
    assert_close(step.metrics["target_rms"], mean_square.sqrt())

    total = torch.stack([total for total, _, _ in windows]).sum()
    for (_, _, last), gradient in zip(windows, injected.split(ROWS), strict=True):
        total = total + (to_matrix(last) * gradient).sum()
    found = gradients(model)
    model.zero_grad()
    total.backward()
    assert_close({name: found[name] * (STEPS * ROWS) for name in found}, gradients(model))


def test_with_nothing_predicted_the_target_is_the_gradient_of_the_window_alone() -> None:
    model, span = make_core("hierarchy 1, 4"), make_span(STEPS)
    state = make_state(model)
    table = Table(len(BOUNDARIES) * ROWS, state_size(state))
    with torch.no_grad():
        table.values.zero_()
    estimator = SyntheticGradients(model, squared_error, WINDOW, synthesizer=table, **OFF).double()
    estimator.backward(span, state)
    target = targets_by_hand(windows_by_hand(model, span, state), torch.zeros(3 * ROWS, state_size(state)).double())
    assert table.values.grad is not None
    wanted = -table.values.grad[:-ROWS, 0] * (target.numel() / 2)
    assert_close(wanted * target.square().mean().sqrt(), target)  # the first update takes its own scale


@pytest.mark.parametrize("bounded", [False, True])
def test_an_auxiliary_head_is_trained_on_what_was_predicted_for_the_next_boundary(bounded: bool) -> None:
    model, span = make_core("LSTM-1"), make_bounded_span(bounded)
    state = make_state(model)
    table = Table(len(BOUNDARIES) * ROWS, state_size(state), heads=2)
    estimator = SyntheticGradients(model, squared_error, WINDOW, synthesizer=table, remove_mean=True).double()
    estimator.backward(span, state)
    continuing = continuing_rows(span)
    values = table.values.detach()
    following = values[ROWS:, 0] * continuing[ROWS:].unsqueeze(1)  # 0 where the sequence ends
    trained = continuing[:-ROWS]
    expected = torch.zeros_like(values[:, 1])
    residuals = (values[:-ROWS, 1] - following)[trained] / estimator.predictor.scale  # the predictions' own was 1
    expected[:-ROWS][trained] = 2 * residuals / residuals.numel()
    assert table.values.grad is not None
    assert_close(table.values.grad[:, 1], expected)


def test_an_auxiliary_head_changes_neither_what_is_injected_nor_what_the_first_head_learns() -> None:
    span = make_span(STEPS)
    found, learned = [], []
    for heads in (1, 2):
        model = make_core("LSTM-1")
        state = make_state(model)
        table = Table(len(BOUNDARIES) * ROWS, state_size(state), heads)
        with torch.no_grad():
            table.values[:, 0] = torch.linspace(-1, 1, state_size(state))
        SyntheticGradients(model, squared_error, WINDOW, synthesizer=table, **OFF).double().backward(span, state)
        found.append(gradients(model))
        assert table.values.grad is not None
        learned.append(table.values.grad[:, 0])
    assert_identical(found[0], found[1])
    assert_close(learned[0], learned[1])
    truncated, _, _ = gradients_by_hand(make_core("LSTM-1"), squared_error, [span], state, WINDOW)
    some = found[0]["layers.0.weight_ih_l0"] * (STEPS * ROWS)
    assert not torch.allclose(some, truncated["layers.0.weight_ih_l0"], rtol=1e-3)
