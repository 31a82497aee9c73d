"""Synthetic gradients with no more graphs at a time than what is looked at of the future asks for.

A window goes backwards as soon as the output gradients of the n steps after its end are known, and its graph is freed:
⌈n/T⌉ + 1 windows have a graph at a time, however long the span.
"""

from collections import deque
from typing import Any, final

import torch
from torch import Tensor

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.modules import forked_random
from sgrnn.estimators.ahead import constant_part, held_constant
from sgrnn.estimators.backward import (
    backpropagate,
    differentiate_data,
    entering,
    initial_gradients,
    injected_share,
)
from sgrnn.estimators.estimator import GradientEstimator, Step
from sgrnn.estimators.in_order import WindowRun, divided, run_windows
from sgrnn.estimators.known import BoundaryReader, squares
from sgrnn.estimators.objective import norms, objective_of, output_gradients, penalizes_changes
from sgrnn.estimators.reach import injectable
from sgrnn.estimators.targets import training_pairs
from sgrnn.estimators.unroll import unroll, with_leaves
from sgrnn.span import Span
from sgrnn.state import State, cut, floating_leaves, without_autocast
from sgrnn.synthesizers import GradientPredictor, Inject, Regression, Synthesizer


def synthetic_in_order(
    estimator: GradientEstimator, predictor: GradientPredictor, reader: BoundaryReader, inject: Inject, span: Span,
    state: State, window: int,
) -> Step:  # fmt: skip
    """Inject and learn as `SyntheticGradients` does, with the graphs of ⌈n/T⌉ + 1 windows at a time.

    Args:
        estimator: with its model and loss.
        predictor, reader, inject: what predicts at boundaries, what it reads there, and what becomes of predictions.
        span, state: as `GradientEstimator.backward`.
        window: T.

    Raises:
        ValueError: the span has no future.
    """
    whole = with_leaves(reader.in_sight(span))
    square = 0.0
    if predictor.synthesizer.sees_output_gradients and not float(reader.output_square):
        square = _first_square(estimator, predictor, reader, whole, state, window)
    backward = _Backward(predictor, reader, inject, span, window, reader.unit(square))
    objective = torch.zeros((), device=span.device)
    windows = None
    for run in run_windows(estimator, whole, state, window, backward.lookahead):
        objective, windows = objective + run.objective, run.windows
        backward.add(run)
    assert windows is not None, "a span has a window"
    beyond = reader.beyond(estimator.loss, whole, windows, backward.rest, predictor.all_reduce) if backward.sees else []
    metrics = backward.finish(beyond)
    differentiate_data(span, whole)
    return Step(objective, windows.final_state, {**metrics, **norms(windows.final_state)})


@final
class _Backward:
    """The backward pass of a span whose windows come one after another."""

    def __init__(
        self,
        predictor: GradientPredictor,
        reader: BoundaryReader,
        inject: Inject,
        span: Span,
        window: int,
        unit: float,
    ) -> None:
        assert isinstance(predictor.synthesizer, Synthesizer), "only a Synthesizer predicts at boundaries"
        self.synthesizer = predictor.synthesizer
        self.lookahead, self.sees = self.synthesizer.lookahead, self.synthesizer.sees_output_gradients
        self._predictor, self._reader, self._inject, self._unit = predictor, reader, inject, unit
        self._size, self._rows, self._device = span.size, span.batch_size, span.device
        self._continuing = span.continuing([*range(0, span.steps, window), span.steps])
        self._scale = predictor.scale
        self._waiting: deque[tuple[WindowRun, Tensor]] = deque()  # for what follows them, with their output gradients
        self._gone = 0  # windows that have gone backwards
        self._regression = Regression(predictor) if predictor.begin() else None
        self._measures = self._regression is not None or not float(reader.output_square)
        self._squares: list[tuple[float, int]] = []
        self._entered: list[Tensor] = []
        self.rest: Tensor | None = None  # what targets do not tell of output gradients so far

    def add(self, run: WindowRun) -> None:
        """Take in the next window, and go backwards through those of which enough is known now."""
        own = output_gradients(run.outputs) * self._size
        if self._measures:
            self._squares.append(squares(own, run.span.mask))
        if self.sees and self._reader.run < self._reader.lookahead:
            rest = constant_part(run.windows.model, run.span.targets, own, run.span.mask)
            self.rest = rest if self.rest is None else self.rest + rest
        self._waiting.append((run, own))
        while sum(each.span.steps for each, _ in self._waiting) - self._waiting[0][0].span.steps >= self.lookahead:
            self._go_back([])
            if not self._waiting:
                break

    def finish(self, beyond: list[Tensor]) -> dict[str, Tensor]:
        """Go backwards through all windows that are left, learn, and return metrics.

        Args:
            beyond: the output gradients of the steps after the span.
        """
        while self._waiting:
            self._go_back(beyond)
        if self.sees and self._measures:
            square = self._reader.mean_square(*_sums(self._squares), self._predictor.all_reduce)
            self._reader.take_in_square(square, self._predictor)
        if self._regression is None:
            return {}
        metrics, entered = self._regression.finish(), torch.stack(self._entered).sum(dim=0)
        return {**metrics, "injected_share": injected_share(entered, self._predictor.all_reduce)}

    def _go_back(self, beyond: list[Tensor]) -> None:
        """Go backwards through the first window that waits, and learn of what arrives at its first state."""
        run, rows = self._waiting[0][0], self._rows
        gradients = continuing = None
        if self.sees:
            steps = run.span.steps + (0 if run.span.future is None else run.span.future.steps)
            gradients = torch.cat([*(own for _, own in self._waiting), *beyond])[:steps] / self._unit
        if self._continuing is not None:
            continuing = self._continuing[self._gone * rows : (self._gone + 2) * rows]
        at, states = run.windows.boundaries, run.windows.boundary_states
        known = self._reader.gather(self._predictor, run.windows.model, run.span, at, states, continuing, gradients)
        with without_autocast(self._device):
            with torch.set_grad_enabled(self._regression is not None):
                predictions = self._predictor.predict(known, self._inject)
            injected = predictions.injected / self._size
            if (mask := injectable(run.windows)) is not None:
                injected = injected * mask
            backpropagate(run.windows, run.outputs, injected)
            if self._regression is not None:
                target = initial_gradients(run.windows) * self._size
                self._regression.add(*training_pairs(self._predictor, predictions, known, self._scale, target))
                self._entered.append(entering(injected, run.outputs))
        self._waiting.popleft()
        self._gone += 1


def _first_square(
    estimator: GradientEstimator, predictor: GradientPredictor, reader: BoundaryReader, span: Span, state: State,
    window: int,
) -> float:  # fmt: skip
    """Return the mean square of a span's output gradients, found by running it once without a graph.

    It is the unit of the first span alone, later ones have it of those before. What the span draws at random, and what
    the model makes of statistics, is put back.
    """
    found: list[tuple[float, int]] = []
    waits = penalizes_changes(estimator.model)
    waiting: deque[tuple[Any, Tensor | None]] = deque()  # for the change to the step after the window
    with forked_random(span.device), kept_buffers(estimator.model), held_constant(estimator.model):
        for part in divided(span, window, 0):
            with torch.no_grad():
                windows = unroll(estimator.model, part, state, None)
            outputs, state = cut(windows.outputs), windows.final_state
            before = waiting[0][0][-1:] if waiting else None
            objective = objective_of(estimator.model, estimator.loss, outputs, part, steps=span.steps, before=before)
            waiting.append((outputs, part.mask))
            reached = [leaf for each, _ in waiting for leaf in floating_leaves(each)]
            torch.autograd.backward(objective.trained * part.size, inputs=reached)
            if len(waiting) > waits:
                found.append(_squares(*waiting.popleft()))
    found += [_squares(*each) for each in waiting]
    return reader.mean_square(*_sums(found), predictor.all_reduce)


def _squares(outputs: Any, mask: Tensor | None) -> tuple[float, int]:
    return squares(output_gradients(outputs), mask)


def _sums(parts: list[tuple[float, int]]) -> tuple[float, int]:
    return sum(total for total, _ in parts), sum(count for _, count in parts)
