"""Back-propagation from a span into the steps before it, which run again with the present weights."""

from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import buffers_of, kept_buffers
from sgrnn.contract.caller import Caller
from sgrnn.contract.layout import require_layout
from sgrnn.errors import at_least
from sgrnn.estimators.backward import differentiate_data
from sgrnn.estimators.estimator import Step
from sgrnn.estimators.objective import Loss, differentiate, norms, objective_of, roots
from sgrnn.estimators.past import Joined, Past
from sgrnn.estimators.reach import require_attached
from sgrnn.estimators.unroll import run, with_leaves
from sgrnn.span import Span, between
from sgrnn.state import State, cut, detach, map_state


def overlap(window: int, every: int, parallel: bool | None) -> int:
    """Return how many steps windows have in common, an update of so many steps each.

    Raises:
        ValueError: an update has more steps than a window, or windows are to run as one batch.
    """
    if at_least("every", every, 1, "step") > window:
        raise ValueError(f"every must be at most window, {window} steps, or some had no gradient, got {every}")
    if parallel:
        raise ValueError("parallel must not be True with every: there is one window")
    return window - every


def go_back(model: nn.Module, loss: Loss, past: Past, span: Span, state: State) -> Step:
    """Run the kept steps and a span, go back through both from the span's losses, and keep the last steps of both.

    Raises:
        ValueError: the model cuts its state off.
    """
    given, span = span, with_leaves(span)
    joined = past.join(span, state)
    start = max(joined.kept + span.steps - past.steps, 0)
    attached, before, after = _run(model, span, joined, start)
    outputs = cut(attached)
    objective = objective_of(model, loss, outputs, span)
    objective.trained.backward()
    differentiate(roots(attached, outputs))
    differentiate_data(given, span)
    final_state = map_state(Tensor.contiguous, detach(after))  # as cuDNN wants it
    if bool(objective.loss.isfinite()):
        past.keep(joined, start, before, final_state, span.is_last)
    else:  # steps that run again with nothing to learn from would have 0 times infinity as their gradient
        past.forget()
    return Step(objective.loss, final_state, norms(final_state))


def _run(model: nn.Module, span: Span, joined: Joined, start: int) -> tuple[Any, State, State]:
    """Return the outputs of a span after kept steps, and the states before the step `start` and after the last."""
    caller, kept, steps = Caller(model), joined.kept, joined.kept + span.steps
    has_buffers = bool(kept and buffers_of(model))  # which the steps that run again must not change again
    cuts = sorted({0, start, kept if has_buffers else 0, steps})
    state = before = detach(joined.state)
    require_layout(model, span, state, windows={later - earlier for earlier, later in pairwise(cuts)})
    outputs: list[Any] = []
    for first, stop in pairwise(cuts):
        marks = None if joined.is_first is None else joined.is_first[first:stop]
        with kept_buffers(model) if has_buffers and stop <= kept else nullcontext():
            out, state = run(caller, between(joined.inputs, first, stop), state, marks)
        if stop < steps:
            require_attached(model, [state])
        if stop == start:
            before = state
        if stop > kept:
            outputs.append(between(out, max(kept - first, 0), stop - first))
    joined_outputs = outputs[0] if len(outputs) == 1 else map_state(lambda *parts: torch.cat(parts), *outputs)
    return joined_outputs, before, state
