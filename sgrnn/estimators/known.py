"""Inputs of a synthesizer, gathered at the boundaries of a span's windows."""

from math import isfinite, nan
from typing import Any, final

import torch
from torch import Tensor

from sgrnn.all_reduce import AllReduce
from sgrnn.estimators.ahead import first_steps, forward_and_back, require_future
from sgrnn.estimators.features import read_features
from sgrnn.estimators.finite import finite_lookahead, finite_states, is_finite
from sgrnn.estimators.objective import Loss, output_gradients
from sgrnn.estimators.unroll import Windows
from sgrnn.span import Span
from sgrnn.state import leaves
from sgrnn.synthesizers import Boundaries, GradientPredictor, Lookahead, Synthesizer
from sgrnn.synthesizers.lookahead import steps_after
from sgrnn.synthesizers.running_means import RunningMeans


@final
class BoundaryReader(RunningMeans):
    """Gather the inputs of a synthesizer at boundaries, output gradients in units of their running root mean square.

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
        synthesizer, boundaries = predictor.synthesizer, windows.boundaries
        assert isinstance(synthesizer, Synthesizer), "only a Synthesizer predicts at boundaries"
        continuing = span.continuing(boundaries)
        states, continuing = finite_states(predictor.readable(windows.boundary_states), continuing)
        lookahead = None
        if synthesizer.lookahead:
            lookahead, finite = self._look_ahead(predictor, synthesizer, loss, span, windows, outputs)
            if not finite:
                lookahead, continuing = finite_lookahead(lookahead, continuing)
        unbroken = None if synthesizer.window is None else span.unbroken(boundaries)
        return Boundaries(states, continuing, lookahead, span.batch_size, unbroken)

    def _look_ahead(
        self, predictor: GradientPredictor, synthesizer: Synthesizer, loss: Loss, span: Span, windows: Windows,
        outputs: Any,
    ) -> tuple[Lookahead, bool]:  # fmt: skip
        """Gather the lookahead at the boundaries, and True where all of its values are finite.

        The mean square of the output gradients takes in those of this span.
        """
        require_future(span, self.lookahead, "the synthesizer looks")
        if (future := first_steps(span.future, self.lookahead)) is not span.future:
            span = span.with_future(future)
        ahead = steps_after(span, windows.boundaries, synthesizer.lookahead, within=synthesizer.window is not None)
        spans = [span] if span.future is None else [span, span.future]
        known = [steps for each in spans for steps in leaves(each.inputs)]
        if synthesizer.sees_targets:
            known += [steps for each in spans for steps in leaves(each.targets)]
        seen = None
        if synthesizer.sees_output_gradients:
            own = output_gradients(outputs) * span.size
            parts = [own]
            if span.future is not None:
                parts.append(output_gradients(forward_and_back(windows.model, loss, span.future, windows.final_state)))
            real = own if span.mask is None else own[span.mask]  # (real steps, output_size)
            square = _mean_square(real, predictor.all_reduce)
            self.take_in("output_square", square, predictor.weight(float(predictor.updates) + 1))
            gradients = predictor.readable(torch.cat(parts) / self.output_square.sqrt().clamp(min=1e-30))
            known.append(gradients)
            seen = ahead.take(gradients)
        return Lookahead(read_features(windows.model, synthesizer, span, ahead), ahead.valid, seen), is_finite(*known)


def _mean_square(gradients: Tensor, all_reduce: AllReduce | None) -> float:
    """Return the mean square over the entries of vectors (..., features) that are finite, of all processes."""
    total = float(torch.linalg.vector_norm(gradients)) ** 2
    if not isfinite(total):
        gradients = gradients[gradients.isfinite().all(dim=-1)]
        total = float(torch.linalg.vector_norm(gradients)) ** 2
    count: float = gradients.numel()
    if all_reduce is not None:
        total, count = all_reduce(gradients.new_tensor([total, count])).tolist()
    return total / count if count else nan
