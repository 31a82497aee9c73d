"""A step as a pure function is the model's step, whatever kernels the model has."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    make_core,
    make_hierarchy,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from wrapped import WithReadout

from sgrnn.estimators import GradientEstimator
from sgrnn.estimators.online import RTRL, UORO, BPLambda, SnAp1
from sgrnn.estimators.online.at_state import gradient_at_state, outputs_from_state
from sgrnn.estimators.online.plain_operations import plain_operations
from sgrnn.estimators.online.row_step import RowStep, counters, state_step
from sgrnn.estimators.online.unrolled_steps import unroll_steps
from sgrnn.span import Span
from sgrnn.state import cut, floating_leaves, map_state, to_matrix

STEPS = 4
MODELS: dict[str, Callable[[], tuple[nn.Module, Span]]] = {
    **{name: lambda name=name: (make_core(name), make_span(1)) for name in ("GRU-2", "hierarchy 1, 2, 3", "own")},
    "readout": lambda: (WithReadout(make_core("nn.LSTM-2")), make_span(1)),
    "language model": lambda: (make_language_model(), make_text(1)),
}


def test_no_fused_kernel_is_met_and_everything_is_left_as_it_was() -> None:
    """In this precision torch's LSTM has a fused kernel on a CPU, of which ``torch.func`` would warn."""
    dtype = torch.float32
    model = nn.ModuleList([nn.LSTM(SIZE, SIZE, 2), make_hierarchy(1, 4, kind=nn.LSTM)]).to(dtype)
    before = [dict(vars(module)) for module in model.modules()]
    for core in model:
        state = map_state(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, make_state(core))
        inputs = make_span(1).inputs.to(dtype)
        step = state_step(core, inputs, state)
        through, _ = step.jacobians(to_matrix(state), counters(state), inputs[0])
        assert through.isfinite().all()
    with plain_operations(model):
        assert not torch.backends.cudnn.enabled
    with pytest.raises(KeyError), plain_operations(model):
        raise KeyError
    assert torch.backends.mkldnn.enabled
    assert torch.backends.cudnn.enabled
    names = [name for module in before for name in module]
    assert [name for module in model.modules() for name in vars(module)] == names


def test_a_module_with_a_forward_of_its_own_keeps_it() -> None:
    class Doubled(nn.GRU):
        def forward(self, inputs: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]  (torch overloads it)
            outputs, state = super().forward(inputs, hx)
            return 2 * outputs, state

    inputs, replaced = make_span(1).inputs, nn.GRU(SIZE, SIZE).double()
    whole = replaced.forward
    vars(replaced)["forward"] = lambda inputs: (2 * whole(inputs)[0], whole(inputs)[1])
    for module in (Doubled(SIZE, SIZE).double(), replaced):
        expected = module(inputs)
        with outputs_from_state(module):
            assert_identical(module(inputs), expected)
        assert_identical(module(inputs), expected)


def test_the_gradient_at_the_state_is_that_of_the_tensors_the_outputs_read() -> None:
    """A cell that the hidden state was computed from gets none of its own; outputs of the state before have none."""
    before = torch.ones(2, 1, requires_grad=True)
    cell = 2 * before
    hidden = cell.tanh()
    gradients = [torch.ones(2, 1)]
    arrived = gradient_at_state(3 * hidden, {"hidden": hidden, "cell": cell}, before, gradients)
    assert_close(arrived, torch.tensor([[3.0, 0.0]] * 2))
    assert gradient_at_state(hidden + before, {"hidden": hidden, "cell": cell}, before, gradients) is None


def make_step(kind: str) -> tuple[nn.Module, RowStep, Any, Tensor]:
    """A model, its step, a state of ROWS rows and their inputs."""
    model, span = MODELS[kind]()
    state = make_state(model)
    return model, state_step(model, span.inputs, state), state, span.inputs[0]


@pytest.mark.parametrize("kind", MODELS)
def test_a_step_and_its_derivatives_are_the_models(kind: str) -> None:
    model, step, state, inputs = make_step(kind)
    parameters = [model.get_parameter(name) for name in step.shapes]
    features = to_matrix(state).shape[1]
    outputs, after = model(inputs[None], state)
    with torch.no_grad():
        states, counted = to_matrix(state), counters(state)
        for row in range(ROWS):
            one, one_outputs = step.function(
                step.theta, states[row], tuple(tensor[row] for tensor in counted), inputs[row]
            )
            assert_close(one, to_matrix(after)[row].detach())
            assert_close(one_outputs, outputs[0, row].detach())
        through, direct = step.jacobians(states, counted, inputs)
        output_gradients = torch.randn_like(outputs[0])
        also_through, arrived = step.jacobian_and_gradient(states, counted, inputs, output_gradients)
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
        loss = (outputs[0, row] * output_gradients[row]).sum()
        found = torch.autograd.grad(loss, known, retain_graph=True, materialize_grads=True)
        assert_close(arrived[row], to_matrix(list(found))[row])


def test_theta_is_what_learns_and_the_state_depends_on_its_beginning_included() -> None:
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
    core = make_core("nn.LSTM-1")
    core.get_parameter("bias_hh_l0").requires_grad_(False)
    model = WithReadout(core)
    span = make_span(1)
    assert list(state_step(model, span.inputs, make_state(model)).shapes) == [
        f"core.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih")
    ]


def test_a_span_run_step_by_step_is_the_span() -> None:
    model = make_core("LSTM-2")
    span, state = make_span(STEPS), make_state(model)
    run = unroll_steps(model, span, state)
    outputs, after = model(span.inputs, state)
    assert_close(run.outputs, outputs.detach())
    assert_close(run.final_state, tuple(tensor.detach() for tensor in after))
    squared_error(run.outputs, span.targets).sum().backward()
    assert_close(run.output_gradients(), 2 * (outputs.detach() - span.targets))


class Hooked(nn.RNN):
    """A core that does what cannot be transformed."""

    def __init__(self, does: str) -> None:
        super().__init__(SIZE, SIZE)
        self.does = does
        if does == "hook":
            self.register_full_backward_hook(lambda *_: None)

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.does == "checkpoint":
            return checkpoint(super().forward, input, hx, use_reentrant=False)
        if self.does == "decision" and hx.sum() > 0:
            return super().forward(input.relu(), hx)
        return super().forward(input, hx)


@pytest.mark.parametrize("does", ["hook", "checkpoint", "decision"])
@pytest.mark.parametrize("make", [RTRL, SnAp1, UORO, partial(BPLambda, learning_rate=0.1)])
def test_what_cannot_be_transformed_is_refused(make: Callable[..., GradientEstimator], does: str) -> None:
    with pytest.raises(ValueError, match=r"^an online estimator runs a step by torch.func, .* must do without check"):
        make(Hooked(does).double(), squared_error).backward(make_span(3))


@pytest.mark.parametrize("make", [RTRL, SnAp1, UORO, partial(BPLambda, learning_rate=0.1)])
def test_a_model_without_a_state_is_refused(make: Callable[..., GradientEstimator]) -> None:
    class FeedForward(nn.Linear):
        def forward(self, input: Any, state: Any = None) -> Any:
            return super().forward(input), state

    model = FeedForward(SIZE, SIZE).double()
    for learned in (True, False):
        model.requires_grad_(learned)
        with pytest.raises(ValueError, match=r"^the model must carry a floating-point state"):
            make(model, squared_error).backward(make_span(3), ())
