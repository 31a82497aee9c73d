"""Truncated back-propagation with exact gradients ahead, the best that a synthesizer of that lookahead can predict."""

from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.modules import forked_random
from sgrnn.errors import at_least
from sgrnn.estimators.ahead import first_steps, forward_and_back, held_constant, require_future
from sgrnn.estimators.backward import backpropagate
from sgrnn.estimators.estimator import BoundaryGradients, GradientEstimator, Step, at_boundaries, looking, within_span
from sgrnn.estimators.features import require_size
from sgrnn.estimators.finite import finite_rows, finite_states
from sgrnn.estimators.objective import Loss, norms, objective_of, output_gradients
from sgrnn.estimators.same_again import drawing_nothing, require_same_again
from sgrnn.estimators.unroll import Windows, run, unroll
from sgrnn.span import Span, Steps
from sgrnn.state import State, cut, floating_leaves, rows, to_matrix
from sgrnn.synthesizers.lookahead import steps_after

_AGAIN = "exact gradients ahead run the model again, all boundaries as one batch"


@final
class ExactAhead(GradientEstimator):
    """Truncated back-propagation with the exact gradient of the next n steps at the end of every window.

    The contender of synthetic gradients that has the same information: from every boundary the model is run n steps on
    with a graph, and the gradient of their losses crosses it. Every use of a parameter is so credited with the losses
    of the rest of its window and of n steps beyond. With a window as long as the span this is TBPTT(S, S + n): an
    update every S steps, gradients through S + n.

    It takes n more steps of the core, forwards and backwards, for every window: with short ones many times what
    truncation takes, with T = S about (S + n) / S of it. Random generators are put back afterwards. Dropout that
    would draw other masks when the model is run again is refused; masks of a span (`sgrnn.LockedDropout`) hold for the
    steps beyond it, too.

    Args:
        model, loss: as `GradientEstimator`.
        window: T, steps back-propagated together.
        lookahead: n, steps beyond each window.
        parallel: run a span's windows as one batch (`sgrnn.estimators.unroll.unroll`); None for where that is faster.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, window: int, lookahead: int, *, parallel: bool | None = False
    ) -> None:
        super().__init__(model, loss)
        self.window, self.lookahead = at_least("window", window, 1, "step"), at_least("lookahead", lookahead, 1, "step")
        self.parallel = parallel

    @within_span
    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span, and add to the gradients of the model; see `GradientEstimator.backward`.

        Raises:
            ValueError: besides, the span has no future, or the model has dropout.
        """
        require_same_again(self.model, _AGAIN, of_a_call=True)
        span, state = self.begin(span, state)
        require_size(None, state)
        with drawing_nothing(self.model, span, state, _AGAIN):
            windows = unroll(self.model, span, state, self.window, self.parallel)
        outputs = cut(windows.outputs)
        objective = objective_of(self.model, self.loss, outputs, span)
        objective.trained.backward()
        exact = self._gradients(span, windows, outputs, first=1)
        backpropagate(windows, outputs, exact / span.size)
        return Step(objective.loss, windows.final_state, norms(windows.final_state))

    @looking
    def look(self, span: Span, state: State = None) -> BoundaryGradients:
        """Return the gradients that would cross the boundaries of a span; see `GradientEstimator.look`."""
        require_same_again(self.model, _AGAIN, of_a_call=True)
        span, state = self.begin(span, state)
        with torch.no_grad(), drawing_nothing(self.model, span, state, _AGAIN):
            windows = unroll(self.model, span, state, self.window)
        outputs = cut(windows.outputs)
        objective = objective_of(self.model, self.loss, outputs, span)
        torch.autograd.backward(objective.trained, inputs=floating_leaves(outputs))
        exact = self._gradients(span, windows, outputs, first=0)
        return at_boundaries(windows, span, exact, exact[span.batch_size :])

    def _gradients(self, span: Span, windows: Windows, outputs: Any, first: int) -> Tensor:
        """Return exact gradients of rows' summed losses, (rows, features), at the boundaries from the first-th on."""
        require_future(span, self.lookahead, "exact gradients reach")
        span, tokens = span.with_future(first_steps(span.future, self.lookahead)), span.size
        parts = [output_gradients(outputs) * tokens]
        if span.future is not None:
            beyond = forward_and_back(self.model, self.loss, span, span.future, windows.final_state)
            parts.append(output_gradients(beyond))
        ahead = steps_after(span, windows.boundaries[first:], self.lookahead)
        arriving = ahead.take(torch.cat(parts))
        if ahead.valid is not None:
            arriving = arriving.where(ahead.valid.unsqueeze(-1), 0)
        states, continuing = finite_states(rows(windows.boundary_states, first * span.batch_size, None), None)
        # In the units of the mean loss, in which an interface between levels adds its own.
        exact = _carried_back(self.model, ahead.inputs(span), arriving / tokens, states, _ended(ahead.valid)) * tokens
        # By what comes of it: a model may make up for inputs that are not finite.
        exact, continuing = finite_rows(exact, continuing)
        return exact if continuing is None else exact * continuing.unsqueeze(1)

    def extra_repr(self) -> str:
        return f"window={self.window}, lookahead={self.lookahead}"


def _ended(valid: Tensor | None) -> Tensor | None:
    """True (n, R) at the first step ahead that is beyond the end of a row's sequence, or of what is known."""
    if valid is None:
        return None
    return ~valid & torch.cat([torch.ones_like(valid[:1]), valid[:-1]])


def _carried_back(model: nn.Module, inputs: Steps, arriving: Tensor, state: State, is_first: Tensor | None) -> Tensor:
    """Carry what arrives at the outputs of some steps, (steps, R, output_size), back to the state before them.

    Rows begin anew where `is_first` is True (steps, R): a model may count no further than a sequence is long.
    """
    first = cut(state)
    with forked_random(arriving.device), kept_buffers(model), torch.enable_grad(), held_constant(model):
        outputs, _ = run(model, inputs, first, is_first)
        reached = floating_leaves(outputs)
        parts = arriving.split([leaf[0, 0].numel() for leaf in reached], dim=2)
        arrived = [part.reshape_as(leaf).to(leaf) for part, leaf in zip(parts, reached, strict=True)]
        pairs = [pair for pair in zip(reached, arrived, strict=True) if pair[0].requires_grad]
        if not pairs:
            return torch.zeros_like(to_matrix(first))
        # In here, too: what is checkpointed runs again on the way back, and must find the model as it was.
        attached, gradients = zip(*pairs, strict=True)
        carried = torch.autograd.grad(
            attached, floating_leaves(first), gradients, allow_unused=True, materialize_grads=True
        )  # fmt: skip
    return to_matrix(list(carried))
