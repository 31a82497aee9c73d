"""The forward pass of a span with its graph cut before every step, so that no gradient goes back more than one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.contract.caller import Caller
from sgrnn.contract.layout import require_layout
from sgrnn.contract.modules import require_no_ddp
from sgrnn.cores import AdaptedCore, beginnings
from sgrnn.estimators.objective import differentiate, gradients, output_gradients, roots
from sgrnn.estimators.reach import require_attached
from sgrnn.estimators.same_again import drawing_nothing, require_same_again
from sgrnn.span import Span
from sgrnn.state import State, cut, detach, map_state, to_matrix, where_rows

_AGAIN = "the model is run again, step by step, row by row"


@dataclass(frozen=True)
class UnrolledSteps:
    """The forward pass of S steps of B rows, every step with a graph of its own.

    Unlike the windows of `sgrnn.estimators.unroll` the graph is cut after rows that begin a sequence were put back to
    the initial state, not before: what arrives at a step's initial state arrives at the state that the step saw.

    Args:
        initial_states: the S states before the steps, leaves of the graph.
        attached: (S, B, ...) the model's outputs, attached to the graph.
        outputs: these cut off: the leaves that a loss is computed from.
        final_states: the S states after the steps, attached to the graph.
        is_first: for every step the rows that begin a sequence there, (B,) bool, or None for none.
        beginnings: by step the states in which they begin, attached to the graph of what is learned in them.
        final_state: the state after the span, detached.
    """

    initial_states: list[State]
    attached: Any
    outputs: Any
    final_states: list[State]
    is_first: list[Tensor | None]
    beginnings: Mapping[int, State]
    final_state: State

    @property
    def all_begin(self) -> bool:
        """True where every row begins a sequence with the span."""
        return self.is_first[0] is not None and bool(self.is_first[0].all())

    def differentiate(self, injected: list[Tensor] | None = None) -> None:
        """Back-propagate through all steps, each on its own.

        The gradients of the outputs are read from `outputs`; what arrives at the states before the steps is left in
        their ``.grad`` (`arrived`), and does not reach what is learned of the initial state.

        Args:
            injected: for every step the gradient (B, features) at the state after it; None for nothing.

        Raises:
            ValueError: the loss has gone through the model's graph.
        """
        both = zip(map(to_matrix, self.final_states), injected or [], strict=False)
        at_states = [(matrix, gradient) for matrix, gradient in both if matrix.requires_grad]
        differentiate([*roots(self.attached, self.outputs), *at_states])

    def arrived(self) -> list[Tensor]:
        """Return for every step the gradient (B, features) that `differentiate` left at the state before it."""
        return [to_matrix(gradients(before)) for before in self.initial_states]

    def output_gradients(self) -> Tensor:
        """Return the output gradients that the loss left, (S, B, output_size)."""
        return output_gradients(self.outputs)


def unroll_steps(model: nn.Module, span: Span, state: State) -> UnrolledSteps:
    """Run a span step by step, the graph cut before each step.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``. Without a method ``initial_state(batch_size)`` its
            sequences begin with a state of zeros.
        span: the data.
        state: the state before the span; a graph behind it is ignored.

    Raises:
        ValueError: the model drops activations out, takes batch statistics, holds a recurrent module that is
            bidirectional or reads the batch first, or cuts its own state off, or the inputs need a gradient.
    """
    _refuse_unfit(model)
    require_layout(model, span, state)
    if not isinstance(span.inputs, Tensor):
        raise ValueError(
            f"inputs must be one tensor for an online estimator, got a {type(span.inputs).__name__}: put several of a "
            "step side by side"
        )
    if span.inputs.requires_grad:
        raise ValueError(
            "inputs need a gradient, which of an online estimator would be that of one step alone: put what computes "
            "them into the model, or detach them"
        )
    caller = Caller(model)
    is_first: list[Tensor | None] = [None] * span.steps
    if span.is_first is not None:
        is_first = [rows if rows.any() else None for rows in span.is_first]
    places = [place for place, rows in enumerate(is_first) if rows is not None]
    begun = beginnings(model, state, span.inputs, places)
    initial_states: list[State] = []
    final_states: list[State] = []
    outputs: list[Any] = []
    with drawing_nothing(model, span, state, _AGAIN):
        for place, (inputs, rows) in enumerate(zip(span.inputs.split(1), is_first, strict=True)):
            initial_states.append(cut(state if rows is None else where_rows(rows, begun[place], state)))
            out, state = caller(inputs, initial_states[-1])
            outputs.append(out)
            final_states.append(state)
    require_attached(model, final_states)
    attached = map_state(lambda *parts: torch.cat(parts), *outputs)
    last = map_state(Tensor.contiguous, detach(state))  # as cuDNN wants it
    return UnrolledSteps(initial_states, attached, cut(attached), final_states, is_first, begun, last)


def _refuse_unfit(model: nn.Module) -> None:
    """Refuse a model that cannot be run step by step, or whose steps are not the same when they are run again.

    Raises:
        ValueError: it drops activations out or takes batch statistics, it is distributed over processes, or a recurrent
            module is bidirectional or, not being adapted, reads the batch first.
    """
    adapted = {part for core in model.modules() if isinstance(core, AdaptedCore) for part in core.modules()}
    for name, module in model.named_modules():
        for option in ("bidirectional", "batch_first"):
            if isinstance(module, nn.RNNBase) and getattr(module, option) and module not in adapted:
                raise ValueError(
                    f"{option} must be False where a model is run step by step, got True in {name or 'the model'}"
                )
    require_same_again(model, _AGAIN)
    require_no_ddp(model, "the model is run again, row by row, in no process but this")
