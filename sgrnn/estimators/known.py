"""Inputs of a synthesizer, gathered at the boundaries of a span's windows."""

from typing import Any, final

import torch
from torch import Tensor

from sgrnn.all_reduce import mean
from sgrnn.estimators.ahead import first_steps, forward_and_back, require_future
from sgrnn.estimators.features import read_features
from sgrnn.estimators.finite import finite_lookahead, finite_states, is_finite
from sgrnn.estimators.objective import Loss, output_gradients
from sgrnn.estimators.unroll import Windows
from sgrnn.span import Span
from sgrnn.state import leaves, map_state
from sgrnn.synthesizers import Boundaries, GradientPredictor, Lookahead, Synthesizer
from sgrnn.synthesizers.lookahead import steps_after
from sgrnn.synthesizers.running_means import RunningMeans


@final
class BoundaryReader(RunningMeans):
    """Gather the inputs of a synthesizer at boundaries, output gradients in units of their running root mean square.

    The mean is that over the spans before, so that the unit is known before a span is; in the first span of all it is
    that of this span.

    Args:
        lookahead: steps of a span's future that are looked at; where the synthesizer sees output gradients, the model
            is run over these steps.
    """

    output_square: Tensor

    def __init__(self, lookahead: int) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.register_buffer("output_square", torch.zeros(()))

    def read(self, predictor: GradientPredictor, loss: Loss, span: Span, windows: Windows, outputs: Any) -> Boundaries:
        """Gather states and lookahead at the boundaries; rows in which they are not finite count as ended.

        Args:
            predictor: whose synthesizer is to read them.
            loss: as in `GradientEstimator`.
            span: the data.
            windows: the span's forward pass.
            outputs: the leaves that the loss was computed from, with its gradient.

        Raises:
            ValueError: the span has no future.
        """
        continuing, span = span.continuing(windows.boundaries), self.in_sight(span)
        gradients = None
        if predictor.synthesizer.sees_output_gradients:
            own = output_gradients(outputs) * span.size
            square = mean(squares(own, span.mask), predictor.all_reduce)
            gradients = torch.cat([own, *self.beyond(loss, span, windows)]) / self.unit(square)
            self.take_in_square(square, predictor)
        return self.gather(predictor, span, windows, continuing, gradients)

    def in_sight(self, span: Span) -> Span:
        """Return a span with as much of its future as is looked at.

        Raises:
            ValueError: it has none.
        """
        require_future(span, self.lookahead, "the synthesizer looks")
        return span.with_future(first_steps(span.future, self.lookahead))

    def beyond(self, loss: Loss, span: Span, windows: Windows) -> list[Tensor]:
        """Return the output gradients of the steps after a span, in consecutive parts (steps, B, output_size)."""
        if span.future is None:
            return []
        return [output_gradients(forward_and_back(windows.model, loss, span.future, windows.final_state))]

    def unit(self, square: Tensor) -> Tensor:
        """Return the unit of output gradients in a span in which their mean square is this."""
        square = square.nan_to_num(0, 0, 0).to(self.output_square)
        return torch.where(self.output_square > 0, self.output_square, square).sqrt().clamp(min=1e-30)

    def take_in_square(self, square: Tensor, predictor: GradientPredictor) -> None:
        """Update the running mean by the mean square of a span's output gradients."""
        self.take_in("output_square", square, predictor.weight(predictor.updates + 1))

    def gather(
        self, predictor: GradientPredictor, span: Span, windows: Windows, continuing: Tensor | None,
        gradients: Tensor | None,
    ) -> Boundaries:  # fmt: skip
        """Gather states and lookahead at the boundaries, as `read` does.

        Args:
            predictor: whose synthesizer is to read them.
            span: with its future, as far as it is looked at.
            windows: its forward pass.
            continuing: rows whose sequence goes on, at each boundary.
            gradients: the output gradients of span and future, in their unit; None for a synthesizer that sees none.
        """
        synthesizer, boundaries = predictor.synthesizer, windows.boundaries
        assert isinstance(synthesizer, Synthesizer), "only a Synthesizer predicts at boundaries"
        states, continuing = finite_states(map_state(predictor.readable, windows.boundary_states), continuing)
        lookahead = None
        if synthesizer.lookahead:
            ahead = steps_after(span, boundaries, synthesizer.lookahead, within=synthesizer.window is not None)
            spans = [span] if span.future is None else [span, span.future]
            known = [steps for each in spans for steps in leaves(each.inputs)]
            if synthesizer.sees_targets:
                known += [steps for each in spans for steps in leaves(each.targets)]
            seen = None
            if gradients is not None:
                gradients = predictor.readable(gradients)
                known.append(gradients)
                seen = ahead.take(gradients)
            lookahead = Lookahead(read_features(windows.model, synthesizer, span, ahead), ahead.valid, seen)
            if not is_finite(*known):
                lookahead, continuing = finite_lookahead(lookahead, continuing)
        unbroken = None if synthesizer.window is None else span.unbroken(boundaries)
        return Boundaries(states, continuing, lookahead, span.batch_size, unbroken)


def squares(gradients: Tensor, mask: Tensor | None) -> Tensor:
    """Return the sum of the squares of output gradients (steps, B, output_size), and how many they are, (2,).

    Padding takes no part, nor does a step of a row that is not finite.
    """
    if mask is not None:
        gradients = gradients[mask]  # (real steps, output_size)
    if not is_finite(gradients):
        gradients = gradients[gradients.isfinite().all(dim=-1)]
    return torch.stack([gradients.square().sum(), gradients.new_full((), gradients.numel())])
