"""A step as a pure function is the model's step; plain operations compute what torch's fused kernels compute."""

from collections.abc import Callable
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
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn
from wrapped import WithReadout

from sgrnn.estimators.online.row_step import RowStep, counters, plain_operations, state_step
from sgrnn.estimators.online.unrolled_steps import unroll_steps
from sgrnn.span import Span
from sgrnn.state import cut, floating_leaves, leaves, to_matrix

STEPS = 4
MODULES: dict[str, Callable[[], nn.RNNBase]] = {
    "LSTM": lambda: nn.LSTM(SIZE, 4, 2),
    "LSTM, projected": lambda: nn.LSTM(SIZE, 4, 2, proj_size=2),
    "LSTM, no bias": lambda: nn.LSTM(SIZE, 4, 1, bias=False),
    "GRU": lambda: nn.GRU(SIZE, 4, 3),
    "GRU, no bias": lambda: nn.GRU(SIZE, 4, 2, bias=False),
    "RNN": lambda: nn.RNN(SIZE, 4, 2),
    "RNN, relu": lambda: nn.RNN(SIZE, 4, 1, nonlinearity="relu"),
}
CELLS: dict[str, Callable[[], nn.RNNCellBase]] = {
    "LSTM": lambda: nn.LSTMCell(SIZE, 4),
    "GRU": lambda: nn.GRUCell(SIZE, 4, bias=False),
    "RNN": lambda: nn.RNNCell(SIZE, 4),
    "RNN, relu": lambda: nn.RNNCell(SIZE, 4, nonlinearity="relu"),
}
MODELS: dict[str, Callable[[], tuple[nn.Module, Span]]] = {
    **{name: lambda name=name: (make_core(name), make_span(1)) for name in CORES},
    "readout": lambda: (WithReadout(make_core("nn.LSTM-2")), make_span(1)),
    "language model": lambda: (make_language_model(), make_text(1)),
}


def run_and_differentiate(module: nn.Module, inputs: Tensor, state: Any) -> list[Any]:
    """Outputs and state, and the gradients of a weighted sum of them with respect to all there is."""
    module.zero_grad()
    reading, first = inputs.clone().requires_grad_(), None if state is None else cut(state)
    found = module(reading, first)
    weights = torch.Generator().manual_seed(0)
    total = torch.zeros((), dtype=torch.float64)
    for tensor in leaves(found):
        total = total + (tensor * torch.randn(tensor.shape, dtype=tensor.dtype, generator=weights)).sum()
    total.backward()
    arrived = [] if first is None else [leaf.grad for leaf in leaves(first)]
    return [leaves(found), reading.grad, arrived, gradients(module)]


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("kind", MODULES)
def test_plain_operations_are_the_fused_kernel(kind: str, given: bool) -> None:
    torch.manual_seed(0)
    module = MODULES[kind]().double()
    inputs = torch.randn(STEPS, ROWS, SIZE, dtype=torch.float64)
    state = [torch.randn_like(leaf) for leaf in leaves(module(inputs)[1])]
    hx = None if not given else tuple(state) if len(state) == 2 else state[0]
    expected = run_and_differentiate(module, inputs, hx)
    with plain_operations(module):
        found = run_and_differentiate(module, inputs, hx)
    assert_close(found, expected)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_plain_operations_are_the_fused_cell(kind: str, given: bool) -> None:
    torch.manual_seed(0)
    cell = CELLS[kind]().double()
    inputs = torch.randn(ROWS, SIZE, dtype=torch.float64)
    state = [torch.randn_like(leaf) for leaf in leaves(cell(inputs))]
    hx = None if not given else tuple(state) if len(state) == 2 else state[0]
    expected = run_and_differentiate(cell, inputs, hx)
    with plain_operations(cell):
        found = run_and_differentiate(cell, inputs, hx)
    assert_close(found, expected)


def test_outside_the_context_a_model_is_as_it_was() -> None:
    model = WithReadout(make_core("LSTM-2"))
    before = [dict(vars(module)) for module in model.modules()]
    with pytest.raises(KeyError), plain_operations(model):
        raise KeyError
    assert [dict(vars(module)) for module in model.modules()] == before


def test_a_subclass_with_a_forward_of_its_own_keeps_it() -> None:
    class Doubled(nn.GRU):
        def forward(self, inputs: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]  (torch overloads it)
            outputs, state = super().forward(inputs, hx)
            return 2 * outputs, state

    module, inputs = Doubled(SIZE, SIZE).double(), make_span(STEPS).inputs
    expected = module(inputs)
    with plain_operations(module):
        assert_identical(module(inputs), expected)


@pytest.mark.parametrize(
    ("name", "core"),
    [
        ("bidirectional", lambda: nn.LSTM(SIZE, SIZE, bidirectional=True)),
        ("batch_first", lambda: nn.GRU(SIZE, SIZE, batch_first=True)),
    ],
)
def test_what_cannot_run_step_by_step_is_refused(name: str, core: Callable[[], nn.RNNBase]) -> None:
    model = WithReadout(core())
    with pytest.raises(ValueError, match=f"^{name} must be False where .* got True in core$"):
        unroll_steps(model, make_span(STEPS), None)


def make_step(kind: str) -> tuple[nn.Module, RowStep, Any, Tensor]:
    """A model, its step, a state of ROWS rows and their inputs."""
    model, span = MODELS[kind]()
    state = make_state(model)
    return model, state_step(model, span.inputs, state), state, span.inputs[0]


@pytest.mark.parametrize("kind", MODELS)
def test_a_step_of_a_row_is_the_models(kind: str) -> None:
    model, step, state, inputs = make_step(kind)
    outputs, after = model(inputs[None], state)
    with plain_operations(model):
        for row in range(ROWS):
            counted = tuple(tensor[row] for tensor in counters(state))
            found, found_outputs = step.function(step.theta, to_matrix(state)[row], counted, inputs[row])
            assert_close(found, to_matrix(after)[row].detach())
            assert_close(found_outputs, outputs[0, row].detach())


@pytest.mark.parametrize("kind", MODELS)
def test_derivatives_of_a_step_are_those_of_autograd(kind: str) -> None:
    model, step, state, inputs = make_step(kind)
    parameters = [model.get_parameter(name) for name in step.shapes]
    features = to_matrix(state).shape[1]
    with torch.no_grad(), plain_operations(model):
        states, counted = to_matrix(state), counters(state)
        through, direct = step.jacobians(states, counted, inputs)
        errors = torch.randn_like(model(inputs[None], state)[0][0])
        also_through, arrived = step.jacobian_and_gradient(states, counted, inputs, errors)
        tangents, cotangents = torch.randn(2, ROWS, features, dtype=torch.float64)
        pushed, pulled = step.products(states, counted, inputs, tangents, cotangents)
    assert_close(also_through, through)
    assert_close(pushed, torch.einsum("bij,bj->bi", through, tangents))
    assert_close(pulled, torch.einsum("bip,bi->bp", direct, cotangents))
    first = cut(state)
    outputs, after = model(inputs[None], first)
    known = floating_leaves(first)
    for row in range(ROWS):
        for feature in range(features):
            found = torch.autograd.grad(
                to_matrix(after)[row, feature], [*known, *parameters], retain_graph=True, materialize_grads=True
            )
            assert_close(through[row, feature], to_matrix(list(found[: len(known)]))[row])
            assert_close(direct[row, feature], torch.cat([part.flatten() for part in found[len(known) :]]))
        loss = (outputs[0, row] * errors[row]).sum()
        found = torch.autograd.grad(loss, known, retain_graph=True, materialize_grads=True)
        assert_close(arrived[row], to_matrix(list(found))[row])


def test_what_only_the_outputs_depend_on_and_what_is_frozen_are_no_part_of_theta() -> None:
    core = make_core("nn.LSTM-1")
    core.get_parameter("bias_hh_l0").requires_grad_(False)
    model = WithReadout(core)
    span = make_span(1)
    assert list(state_step(model, span.inputs, make_state(model)).shapes) == [
        f"core.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih")
    ]


def test_what_is_learned_of_the_initial_state_is_part_of_theta() -> None:
    model = make_core("own")
    span = make_span(1)
    step = state_step(model, span.inputs, make_state(model))
    assert set(step.shapes) == {name for name, _ in model.named_parameters()}
    beginning = step.initial_jacobian()
    assert beginning is not None
    by_name = {name: torch.zeros(2 * SIZE, *shape, dtype=torch.float64) for name, shape in step.shapes.items()}
    by_name["beginning"][:SIZE] = torch.eye(SIZE)
    assert_close(beginning, torch.cat([part.flatten(1) for part in by_name.values()], dim=1))
    fixed = make_core("LSTM-1")
    assert state_step(fixed, span.inputs, make_state(fixed)).initial_jacobian() is None


def test_a_span_run_step_by_step_is_the_span() -> None:
    model = make_core("LSTM-2")
    span, state = make_span(STEPS), make_state(model)
    run = unroll_steps(model, span, state)
    outputs, after = model(span.inputs, state)
    assert_close(run.outputs, outputs.detach())
    assert_close(run.state, tuple(tensor.detach() for tensor in after))
    squared_error(run.outputs, span.targets).sum().backward()
    assert_close(run.output_gradients(), 2 * (outputs.detach() - span.targets))
