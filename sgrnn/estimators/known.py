"""Inputs of a synthesizer, gathered at the boundaries of a span's windows."""

from collections.abc import Sequence
from math import isfinite, nan
from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce
from sgrnn.estimators.ahead import first_steps, forward_and_back, require_future
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
        gradients, synthesizer = None, predictor.synthesizer
        assert isinstance(synthesizer, Synthesizer), "only a Synthesizer predicts at boundaries"
        if synthesizer.lookahead:
            require_future(span, self.lookahead, "the synthesizer looks")
            span = span.with_future(first_steps(span.future, self.lookahead))
            if synthesizer.sees_output_gradients:
                gradients = output_gradients(outputs) * span.size
                self.observe(predictor, gradients, span, float(predictor.updates) + 1)
                if span.future is not None:
                    ahead = forward_and_back(windows.model, loss, span.future, windows.final_state)
                    gradients = torch.cat([gradients, output_gradients(ahead)])
        return self.gather(predictor, windows.model, span, windows.boundaries, windows.boundary_states, gradients)

    def observe(self, predictor: GradientPredictor, gradients: Tensor, span: Span, updates: float) -> None:
        """Take the output gradients (S, B, output_size) of a span into their running mean square.

        Args:
            predictor: as in `read`.
            gradients: of the rows' summed loss.
            span: of these steps.
            updates: how many spans there have been, with this one.
        """
        real = gradients if span.mask is None else gradients[span.mask]  # (real steps, output_size)
        self.take_in("output_square", _mean_square(real, predictor.all_reduce), predictor.weight(updates))

    def gather(
        self, predictor: GradientPredictor, model: nn.Module, span: Span, boundaries: Sequence[int], states: State,
        gradients: Tensor | None,
    ) -> Boundaries:  # fmt: skip
        """Gather states and lookahead at some boundaries of a span, where all that is to be seen is known.

        Args:
            predictor: as in `read`.
            model: the model that is trained.
            span: with its future.
            boundaries: steps into the span.
            states: at these, detached.
            gradients: (steps, B, output_size) output gradients of the span and its future, of the rows' summed loss;
                None for a synthesizer that sees none.
        """
        synthesizer = predictor.synthesizer
        assert isinstance(synthesizer, Synthesizer), "only a Synthesizer predicts at boundaries"
        continuing = span.continuing(boundaries)
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
                in_units = predictor.readable(gradients / self.output_square.sqrt().clamp(min=1e-30))
                known.append(in_units)
                seen = ahead.take(in_units)
            lookahead = Lookahead(read_features(model, synthesizer, span, ahead), ahead.valid, seen)
            if not is_finite(*known):
                lookahead, continuing = finite_lookahead(lookahead, continuing)
        unbroken = None if synthesizer.window is None else span.unbroken(boundaries)
        return Boundaries(states, continuing, lookahead, span.batch_size, unbroken)


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
