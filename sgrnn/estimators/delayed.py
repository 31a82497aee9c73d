"""Synthetic gradients that come some steps late, of output gradients that have been seen by then."""

from typing import Any, final

import torch
from torch import Tensor

from sgrnn.cores.hierarchy import require_no_interfaces
from sgrnn.errors import at_least
from sgrnn.estimators.backward import backpropagate, entering, initial_gradients, injected_share
from sgrnn.estimators.estimator import BoundaryGradients, GradientEstimator, Step
from sgrnn.estimators.features import require_synthesizer
from sgrnn.estimators.known import squares
from sgrnn.estimators.objective import norms, objective_of, output_gradients
from sgrnn.estimators.reach import injectable
from sgrnn.estimators.same_again import drawing_nothing, require_same_again
from sgrnn.estimators.synthetic import SyntheticGradients
from sgrnn.estimators.targets import training_pairs
from sgrnn.estimators.unroll import Windows, unroll
from sgrnn.estimators.waiting import Waiting, Window
from sgrnn.span import Span
from sgrnn.state import (
    State,
    at_least_float32,
    concatenate,
    cut,
    filled,
    leaves,
    map_state,
    refilled,
    rows,
    without_autocast,
)

_AGAIN = "a window runs again after its delay, beside another"


@final
class Delayed(GradientEstimator):
    """Truncated back-propagation at once and, n steps later, the synthetic gradient: for streams, without a future.

    A span is one window. Its own loss goes backwards when it comes. What its last state did to the losses after it is
    predicted when n more steps have been lived through, from the output gradients that were seen there; nothing is run
    ahead. For this the window runs again from the state that it began with, as further rows of the call that runs the
    newest one: an update costs one call of the model, of twice the rows. With weights that stand still the gradients
    of a stream add up to those of `SyntheticGradients` with one window a span, run ahead by n steps. While the weights
    move, the output gradients are those of up to n updates before.

    What waits is saved with the estimator: for n steps the data, the output gradients and a state for every window.
    All that is seen has been lived through: what `synthetic` has for `run_ahead` and `ahead` concerns `look` alone.

    A span of another length than T, such as the last of an epoch, is truncated. After it, or with another state than
    the one that was returned, something new begins, and what waits is given up.

    Metrics: ``cell_norm``, and as soon as n steps have been seen those of `SyntheticGradients`.

    Args:
        synthetic: with its model and loss, its window T and its synthesizer.
        delay: n, steps after a window that are waited for, rounded up to windows; None for as many as the synthesizer
            sees. One that has a window of its own, `AdjointSynthesizer`, carries output gradients back from all n.

    Raises:
        ValueError: the delay is no step at all, `synthetic` has a trace decay, or the model interfaces between its
            levels.
    """

    predicts = True
    observed: Tensor  # spans with output gradients

    def __init__(self, synthetic: SyntheticGradients, delay: int | None = None) -> None:
        if not isinstance(synthetic, SyntheticGradients):
            raise TypeError(f"synthetic must be SyntheticGradients, got a {type(synthetic).__name__}")
        super().__init__(synthetic.model, synthetic.loss)
        require_no_interfaces(self.model, "a window runs again after its delay, and sends each message again")
        if synthetic.trace_decay:
            raise ValueError(f"trace_decay must be 0 where a span is one window, got {synthetic.trace_decay}")
        assert synthetic.window is not None, "SyntheticGradients always has a window"
        delay = synthetic.synthesizer.lookahead if delay is None else delay
        self.window = self.steps = synthetic.window
        self.windows = -(-at_least("delay", delay, 1, "step") // self.steps)
        self.synthetic, self.waiting = synthetic, Waiting()
        self.register_buffer("observed", at_least_float32(torch.zeros(())))

    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span, and add to the gradients of model and synthesizer; see `GradientEstimator.backward`.

        Raises:
            ValueError: besides, the inputs carry a graph, or the model would run otherwise when it runs again.
        """
        span, state = self.begin(span, state)
        span = span.with_future(None)
        self._require_same_when_run_again(span)
        require_synthesizer(self.synthetic.synthesizer, self.model, state)
        waiting, count = self.waiting, span.batch_size
        if waiting.windows and not waiting.leads_to(span, state):
            waiting.forget()
        oldest = waiting.windows[0] if len(waiting) == self.windows else None
        together = (span, state) if oldest is None else _side_by_side(span, state, oldest)

        with drawing_nothing(self.model, *together, _AGAIN):
            windows = unroll(self.model, *together, None)
        outputs = cut(windows.outputs)
        objective = objective_of(self.model, self.loss, map_state(lambda steps: steps[:, :count], outputs), span)
        objective.trained.backward()
        arrived = output_gradients(outputs)[:, :count] * span.size
        unit = self._measure(arrived, span)
        newest = Window.of(span, state, arrived)
        metrics: dict[str, Tensor] = {}
        if oldest is None:
            backpropagate(windows, outputs)
            newest.own = initial_gradients(windows) * span.size
        else:
            metrics = self._come_back(waiting.joined(newest, span), oldest, newest, windows, outputs, state, unit)
        after = map_state(Tensor.contiguous, rows(windows.final_state, 0, count))
        waiting.keep(newest, after, self.windows)
        if span.steps != self.steps or not bool(objective.loss.isfinite()):
            waiting.forget()  # what is not finite would be so again in the spans that it waits for
        return Step(objective.loss, after, {**metrics, **norms(after)})

    def look(self, span: Span, state: State = None) -> BoundaryGradients:
        """Return the gradients that `synthetic` lets cross the boundaries of a span that has its future."""
        return self.synthetic.look(span, state)

    def _measure(self, arrived: Tensor, span: Span) -> float | None:
        """Return the unit of output gradients before this span, and take in its own; None where none are seen."""
        reader, predictor = self.synthetic.reader, self.synthetic.predictor
        if not self.synthetic.synthesizer.sees_output_gradients:
            return None
        square = reader.mean_square(*squares(arrived, span.mask), predictor.all_reduce)
        unit = reader.unit(square)
        if square:  # a step without an answer says nothing of their unit
            self.observed += 1
            reader.take_in_square(square, predictor, float(self.observed))
        return unit

    def _come_back(
        self, steps: Span, oldest: Window, newest: Window, windows: Windows, outputs: Any, state: State,
        unit: float | None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Go back through the newest window from its loss and through the oldest from what came after it, and learn.

        Args:
            steps: all windows from the oldest to the newest.
            oldest, newest: of these.
            windows: the forward pass of the newest, with the oldest as further rows.
            outputs: the leaves that the loss of the newest was computed from, with its gradient.
            state: before the newest.
            unit: of output gradients; None where none are seen.
        """
        synthetic, predictor, count = self.synthetic, self.synthetic.predictor, steps.batch_size
        at = self.windows if synthetic.synthesizer.window else 1  # a chain of windows is gone through from its end
        span = steps.slice(0, at * self.steps)
        boundaries = range(0, (at + 1) * self.steps, self.steps)
        states, seen = self.waiting.states(newest, at + 1, state), None
        if unit is not None:
            seen = torch.cat([each.output_gradients for each in [*self.waiting.windows, newest]]) / unit
        continuing = span.continuing(boundaries)
        known = synthetic.reader.gather(predictor, self.model, span, boundaries, states, continuing, seen)
        tokens, learns = oldest.size, predictor.begin()
        with without_autocast(steps.device):
            scale = predictor.scale
            with torch.set_grad_enabled(learns):
                predictions = predictor.predict(known, synthetic._inject)
            injected = predictions.injected[:count]
            both = torch.cat([torch.zeros_like(injected), injected / tokens])
            if (mask := injectable(windows)) is not None:
                both = both * mask
            backpropagate(windows, outputs, both)
            own, carried = initial_gradients(windows).split(count)
            newest.own = own * newest.size
            if not learns:
                return {}
            ends, target = None, oldest.own + carried * tokens
            if synthetic.synthesizer.window is not None:
                ends = predictions.injected
            metrics = predictor.learn(*training_pairs(predictor, predictions, known, scale, target, ends))
            return {**metrics, "injected_share": injected_share(entering(both, outputs), predictor.all_reduce)}

    def _require_same_when_run_again(self, span: Span) -> None:
        require_same_again(self.model, _AGAIN)
        if any(steps.requires_grad for steps in leaves(span.inputs)):
            raise ValueError("inputs must have no graph, since their window runs again after its delay: detach them")

    def extra_repr(self) -> str:
        return f"window={self.window}, delay={self.windows * self.steps}"


def undelayed(estimator: GradientEstimator) -> GradientEstimator:
    """Return what runs ahead in the place of an estimator that comes late, for spans with a future; others as they are.

    The two have their synthesizer in common.
    """
    return estimator.synthetic if isinstance(estimator, Delayed) else estimator


def _side_by_side(span: Span, state: State, oldest: Window) -> tuple[Span, State]:
    """Return a span and the state before it, with a window and the state before that as further rows."""
    theirs = filled(span.inputs, iter(oldest.inputs))
    inputs = map_state(lambda *both: torch.cat(both, dim=1), span.inputs, theirs)
    marks = None
    if span.is_first is not None or oldest.is_first is not None:
        first = torch.zeros_like(span.marked_first()) if oldest.is_first is None else oldest.is_first
        marks = torch.cat([span.marked_first(), first], dim=1)
    both = concatenate([state, refilled(state, oldest.state)])
    return Span(inputs, inputs, marks), both  # targets are of no concern to a forward pass
