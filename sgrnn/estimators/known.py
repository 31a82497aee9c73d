"""Inputs of a synthesizer, gathered at the boundaries of a span's windows."""

from collections.abc import Sequence
from math import isfinite, nan, sqrt
from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce
from sgrnn.estimators.ahead import constant_part, first_steps, gradients_ahead, require_future
from sgrnn.estimators.features import read_features
from sgrnn.estimators.finite import finite_lookahead, finite_states, is_finite
from sgrnn.estimators.objective import Loss, output_gradients
from sgrnn.estimators.unroll import Windows
from sgrnn.span import Span
from sgrnn.state import State, leaves
from sgrnn.synthesizers import Boundaries, GradientPredictor, Lookahead, Synthesizer
from sgrnn.synthesizers.lookahead import steps_after
from sgrnn.synthesizers.running_means import RunningMeans


@final
class BoundaryReader(RunningMeans):
    """Gather the inputs of a synthesizer at boundaries, output gradients in units of their running root mean square.

    The mean is that over the spans before, so that the unit is known before a span is; in the first span of all it is
    that of this span.

    Args:
        lookahead: steps of a span's future that are looked at.
        run: the first of them, over which the model is run where the synthesizer sees output gradients; those of the
            others are known from their targets alone.
    """

    output_square: Tensor

    def __init__(self, lookahead: int, run: int) -> None:
        super().__init__()
        self.lookahead, self.run = lookahead, run
        self.begin_mean("output_square")

    def read(
        self, predictor: GradientPredictor, loss: Loss, span: Span, windows: Windows, outputs: Any, learns: bool = True
    ) -> Boundaries:
        """Gather states and lookahead at the boundaries; rows in which they are not finite count as ended.

        Args:
            predictor: whose synthesizer is to read them.
            loss: as in `GradientEstimator`.
            span: the data.
            windows: the span's forward pass.
            outputs: the leaves that the loss was computed from, with its gradient.
            learns: False for a span that nothing is learned from, the unit neither, once there is one.

        Raises:
            ValueError: the span has no future.
        """
        continuing, span = span.continuing(windows.boundaries), self.in_sight(span)
        gradients = None
        if predictor.synthesizer.sees_output_gradients:
            own = output_gradients(outputs) * span.size
            square = nan
            if learns or not float(self.output_square):
                square = self.mean_square(*squares(own, span.mask), predictor.all_reduce)
            rest = constant_part(windows.model, span.targets, own, span.mask) if self.run < self.lookahead else None
            beyond = self.beyond(loss, span, windows, rest, predictor.all_reduce)
            gradients = torch.cat([own, *beyond]) / self.unit(square)
            self.take_in_square(square, predictor)
        at, states = windows.boundaries, windows.boundary_states
        return self.gather(predictor, windows.model, span, at, states, continuing, gradients)

    def in_sight(self, span: Span) -> Span:
        """Return a span with as much of its future as is looked at.

        Raises:
            ValueError: it has none.
        """
        require_future(span, self.lookahead, "the synthesizer looks")
        future = first_steps(span.future, self.lookahead)
        return span if future is span.future else span.with_future(future)

    def beyond(
        self, loss: Loss, span: Span, windows: Windows, rest: Tensor | None, all_reduce: AllReduce | None
    ) -> list[Tensor]:
        """Return the output gradients of the steps after a span, in consecutive parts (steps, B, output_size).

        Args:
            loss, span: as in `read`, the future as far as it is looked at.
            windows: those before the future.
            rest: the `constant_part` of the span's output gradients; None where the model is run over the whole future.
            all_reduce: sums over the processes, where several share a batch.
        """
        if span.future is None:
            return []
        return gradients_ahead(windows, loss, span, span.future, self.run, rest, all_reduce)

    def mean_square(self, total: float, count: float, all_reduce: AllReduce | None) -> float:
        """Return the mean square of a span's output gradients over all processes, from this one's `squares`."""
        if all_reduce is not None:
            total, count = all_reduce(self.output_square.new_tensor([total, count])).tolist()
        return total / count if count else nan

    def unit(self, square: float) -> float:
        """Return the unit of output gradients in a span in which their mean square is this; 1 where none is known."""
        known = float(self.output_square) or (square if isfinite(square) else 0.0)
        return max(sqrt(known), 1e-30) if known else 1.0

    def take_in_square(self, square: float, predictor: GradientPredictor, spans: float | None = None) -> None:
        """Update the running mean by the mean square of a span's output gradients, unless there are none.

        Args:
            square: the mean square.
            predictor: as in `read`.
            spans: how many there have been, with this one; None for one with every update of the predictor.
        """
        if square:  # a span without an answer says nothing of their unit
            spans = float(predictor.updates) + 1 if spans is None else spans
            begun = bool(self.output_square)  # updates may have come before, by what is seen beyond the span
            self.take_in("output_square", square, predictor.weight(spans) if begun else 1.0)

    def gather(
        self, predictor: GradientPredictor, model: nn.Module, span: Span, boundaries: Sequence[int], states: State,
        continuing: Tensor | None, gradients: Tensor | None,
    ) -> Boundaries:  # fmt: skip
        """Gather states and lookahead at the boundaries, as `read` does.

        Args:
            predictor: whose synthesizer is to read them.
            model: the model that is trained.
            span: with its future, as far as it is looked at.
            boundaries: as steps into the span.
            states: at these, one below the other, detached.
            continuing: rows whose sequence goes on, at each boundary.
            gradients: the output gradients of span and future, in their unit; None for a synthesizer that sees none.
        """
        synthesizer = predictor.synthesizer
        assert isinstance(synthesizer, Synthesizer), "only a Synthesizer predicts at boundaries"
        states, continuing = finite_states(predictor.readable(states), continuing)
        lookahead = None
        if synthesizer.lookahead:
            ahead = steps_after(span, boundaries, synthesizer.lookahead, within=synthesizer.window is not None)
            spans = [span] if span.future is None else [span, span.future]
            known = [steps for each in spans for steps in leaves(each.inputs)]
            if synthesizer.sees_targets:
                known += [steps for each in spans for steps in leaves(each.targets)]
            seen = None
            if gradients is not None:
                in_units: Tensor = predictor.readable(gradients)
                known.append(in_units)
                seen = ahead.take(in_units)
            lookahead = Lookahead(read_features(model, synthesizer, span, ahead), ahead.valid, seen)
            if not is_finite(*known):
                lookahead, continuing = finite_lookahead(lookahead, continuing)
        unbroken = None if synthesizer.window is None else span.unbroken(boundaries)
        return Boundaries(states, continuing, lookahead, span.batch_size, unbroken)


def squares(gradients: Tensor, mask: Tensor | None) -> tuple[float, int]:
    """Return the sum of the squares of output gradients (steps, B, output_size), and how many they are.

    Padding takes no part, nor does a step of a row that is not finite.
    """
    if mask is not None:
        gradients = gradients[mask]  # (real steps, output_size)
    norm = float(torch.linalg.vector_norm(gradients))
    if not isfinite(norm):
        gradients = gradients[gradients.isfinite().all(dim=-1)]
        norm = float(torch.linalg.vector_norm(gradients))
    return norm**2, gradients.numel()
