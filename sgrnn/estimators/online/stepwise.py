"""A span run forwards with its graph cut before every step, so that no gradient goes back more than one."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.contract.caller import Caller
from sgrnn.contract.layout import require_fit
from sgrnn.cores import beginning, has_beginning, initial_state
from sgrnn.estimators.objective import differentiate, gradients, output_gradients
from sgrnn.estimators.online.plain import plain_operations, refuse_unfit
from sgrnn.estimators.online.step import RowStep
from sgrnn.estimators.reach import require_attached
from sgrnn.span import Span
from sgrnn.state import State, cut, detach, floating_leaves, map_state, to_matrix, where_rows


@dataclass(frozen=True)
class Stepwise:
    """The forward pass of S steps of B rows, every step with a graph of its own.

    Unlike the windows of `sgrnn.estimators.unroll` the graph is cut after rows that begin a sequence were put back to
    the initial state, not before: what arrives at a step's first state arrives at the state the step saw.

    Args:
        befores: the S states before the steps, leaves of the graph.
        attached: (S, B, ...) the model's outputs, attached to the graph.
        outputs: the same, cut off: the leaves that a loss is computed from.
        afters: the S states after the steps, attached to the graph.
        begins: for every step the rows that begin a sequence there, (B,) bool, or None for none.
        initial: the state in which they begin, attached to the graph of what is learned in it; None if none begins.
        state: the state after the span, detached.
    """

    befores: list[State]
    attached: Any
    outputs: Any
    afters: list[State]
    begins: list[Tensor | None]
    initial: State | None
    state: State

    @property
    def all_begin(self) -> bool:
        """Whether every row begins a sequence with the span."""
        return self.begins[0] is not None and bool(self.begins[0].all())

    def differentiate(self, injected: list[Tensor] | None = None) -> None:
        """Backwards through all steps, each on its own.

        The gradients of the outputs are read from `outputs`; what arrives at the states before the steps is left in
        their ``.grad`` (`arrived`), and does not reach what is learned of the initial state.

        Args:
            injected: for every step the gradient (B, features) at the state after it; None for nothing.

        Raises:
            ValueError: the loss has gone through the model's graph.
        """
        roots = [
            (tensor, leaf.grad)
            for tensor, leaf in zip(floating_leaves(self.attached), floating_leaves(self.outputs), strict=True)
            if tensor.requires_grad and leaf.grad is not None
        ]
        for after, gradient in zip(self.afters, injected or [], strict=False):
            matrix = to_matrix(after)
            if matrix.requires_grad:
                roots.append((matrix, gradient))
        differentiate(roots)

    def arrived(self) -> list[Tensor]:
        """For every step the gradient (B, features) that `differentiate` left at the state before it."""
        return [to_matrix(gradients(before)) for before in self.befores]

    def errors(self) -> Tensor:
        """(S, B, error_size): the gradient that the loss left at the outputs."""
        return output_gradients(self.outputs)

    def row_step(self, model: nn.Module, span: Span) -> RowStep:
        """The model's step as a function of those learned parameters that the state depends on.

        An output layer's parameters, which no later state depends on, are not among them. Plain operations tell: what
        a step does not do at this phase of a hierarchy is among theirs.
        """
        with plain_operations(model):
            _, after = model(span.inputs[:1], self.befores[0])
        roots = floating_leaves(after)
        if has_beginning(model):
            roots = roots + floating_leaves(initial_state(model, 1))
        roots = [tensor for tensor in roots if tensor.requires_grad]
        named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        if not roots or not named:
            return RowStep(model, self.state, {})
        zeros = [torch.zeros_like(root) for root in roots]
        found = torch.autograd.grad(roots, list(named.values()), zeros, retain_graph=True, allow_unused=True)
        reached = [name for name, gradient in zip(named, found, strict=True) if gradient is not None]
        return RowStep(model, self.state, {name: named[name] for name in reached})


def run_steps(model: nn.Module, span: Span, state: State) -> Stepwise:
    """Run a span step by step.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``. Without a method ``initial_state(batch_size)`` its
            sequences begin with a state of zeros.
        span: the data.
        state: the state before the span; a graph behind it is ignored.

    Raises:
        ValueError: the model is unfit for it (`sgrnn.estimators.online.plain.refuse_unfit`) or cuts its own state off,
            or inputs carry a graph.
    """
    refuse_unfit(model)
    require_fit(model, span, state)
    if span.inputs.grad_fn is not None:
        raise ValueError(
            "inputs carry a graph, through which an online estimator would go back one step alone: put what computes "
            "them into the model, or detach them"
        )
    caller = Caller(model)
    begins: list[Tensor | None] = [None] * span.steps
    if span.is_first is not None:
        begins = [rows if rows.any() else None for rows in span.is_first]
    initial = None
    if any(rows is not None for rows in begins):
        initial = beginning(model, state, span.batch_size)
    befores: list[State] = []
    afters: list[State] = []
    outputs: list[Any] = []
    for inputs, rows in zip(span.inputs.split(1), begins, strict=True):
        befores.append(cut(state if rows is None else where_rows(rows, initial, state)))
        out, state = caller(inputs, befores[-1])
        outputs.append(out)
        afters.append(state)
    require_attached(model, afters)
    attached = map_state(lambda *parts: torch.cat(parts), *outputs)
    last = map_state(Tensor.contiguous, detach(state))  # as cuDNN wants it
    return Stepwise(befores, attached, cut(attached), afters, begins, initial, last)
