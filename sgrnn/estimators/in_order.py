"""Windows of a span that run one after another, each with its loss, so that a graph can be freed before the next."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sgrnn.contract.modules import require_no_ddp
from sgrnn.estimators.ahead import first_steps
from sgrnn.estimators.backward import backpropagate, differentiate_data
from sgrnn.estimators.estimator import GradientEstimator, Step
from sgrnn.estimators.objective import norms, objective_of, penalizes_changes, require_apart
from sgrnn.estimators.unroll import Windows, unroll, with_leaves
from sgrnn.span import Span
from sgrnn.state import State, cut


@dataclass(frozen=True)
class WindowRun:
    """A window that has run, its loss differentiated at its outputs.

    Args:
        span: the window, the steps in sight after it as its future.
        windows: its forward pass.
        outputs: the leaves that the loss was computed from, with its gradient.
        objective: its part of the span's mean loss, a detached scalar.
    """

    span: Span
    windows: Windows
    outputs: Any
    objective: Tensor


def truncated_in_order(estimator: GradientEstimator, span: Span, state: State, window: int) -> Step:
    """Truncate back-propagation as `TruncatedBPTT` does, one window's graph at a time."""
    whole = with_leaves(span)
    objective = torch.zeros((), device=span.device)
    for run in run_windows(estimator, whole, state, window, 0):
        backpropagate(run.windows, run.outputs)
        objective, state = objective + run.objective, run.windows.final_state
    differentiate_data(span, whole)
    return Step(objective, state, norms(state))


def require_in_order(*, parallel: bool | None, **of_all_boundaries: bool) -> None:
    """Refuse what needs all windows of a span, or all of its boundaries, at once.

    Raises:
        ValueError: something of that kind is True.
    """
    if parallel:
        raise ValueError("low_memory must be False where parallel is True, which runs all windows at once")
    for name, is_set in of_all_boundaries.items():
        if is_set:
            raise ValueError(f"low_memory must be False with {name}, which needs all boundaries of a span at once")


def run_windows(
    estimator: GradientEstimator, span: Span, state: State, window: int, lookahead: int
) -> Iterator[WindowRun]:
    """Run a span window by window, in order: each is yielded with its graph, its loss differentiated at its outputs.

    A penalty on changes of the outputs keeps one graph more: a window then waits for the first step of the next.

    Args:
        estimator: with the model and its loss.
        span: the data.
        state: before it.
        window: T.
        lookahead: steps in sight after each window.

    Raises:
        ValueError: windows wait for others, and the model is a ``DistributedDataParallel``, which does not; or the loss
            of a step depends on other steps.
    """
    waits = penalizes_changes(estimator.model)
    if waits or lookahead:
        reason = "with low_memory windows go backwards later than they ran, and some gradients would not be averaged"
        require_no_ddp(estimator.model, reason)
    before = waiting = None
    for part in divided(span, window, lookahead):
        windows = unroll(estimator.model, part, state, None)
        outputs = cut(windows.outputs)
        if 1 < part.steps < span.steps:
            require_apart(estimator, estimator.loss, outputs, part)
        objective = objective_of(estimator.model, estimator.loss, outputs, part, steps=span.steps, before=before)
        objective = objective.times(part.size / span.size)
        objective.trained.backward()
        run = WindowRun(part, windows, outputs, objective.loss)
        if not waits:
            yield run
        else:
            if waiting is not None:
                yield waiting
            waiting, before = run, outputs[-1:]
        state = windows.final_state
    if waiting is not None:
        yield waiting


def divided(span: Span, window: int, lookahead: int) -> Iterator[Span]:
    """Yield the windows of a span, each with the steps in sight after it, those beyond the span too, as its future."""
    for start in range(0, span.steps, window):
        stop = min(start + window, span.steps)
        part = span.slice(start, stop, lookahead)
        missing = stop + lookahead - span.steps
        if stop < span.steps and missing > 0 and (beyond := first_steps(span.future, missing)) is not None:
            assert part.future is not None, "there are steps after the window"
            part = part.with_future(Span.join([part.future, beyond]))
        yield part
