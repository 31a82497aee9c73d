"""The estimator that alternates or blends real and synthetic gradients by a schedule."""

from typing import Any, final

import torch

from sgrnn.errors import at_least
from sgrnn.estimators.estimator import BoundaryGradients, GradientEstimator, Step
from sgrnn.estimators.mixture import Mixture
from sgrnn.estimators.schedules import Constant, Schedule
from sgrnn.estimators.synthetic import SyntheticGradients
from sgrnn.estimators.truncated import BPTT, TruncatedBPTT
from sgrnn.span import Span
from sgrnn.state import State


@final
class Mixed(GradientEstimator):
    """Mix real and synthetic gradients at the boundaries, by the share that a schedule gives for each span.

    A share of 1 is `SyntheticGradients` and a share of 0 is `TruncatedBPTT` with the real window, to the bit and at its
    cost. In between, what crosses a boundary inside a real window is share x synthetic + (1 - share) x the gradient
    that arrives from the next window; at its end, where no gradient arrives, it is share x synthetic.

    **Grounding**: in every `ground_every`-th of the spans with a share above 0, the synthetic gradients are those
    of a longer window, with true gradients over more steps for the synthesizer to learn from, and for the model.

    Metrics: those of the estimator that ran, and ``share``.

    Args:
        synthetic: with its model and loss, its window T and its synthesizer.
        schedule: function from time to share (`sgrnn.estimators.schedules`).
        real_window: steps that real gradients are carried over, a multiple of T; None for the whole span, T for none
            across boundaries.
        ground_every: number of spans with a share above 0 of which the last is grounded; None to ground none.
        ground_window: window of a grounded span, in steps, to a multiple of which a real window is there rounded up.
        updates_per_unit: updates in a unit of the schedule's time: 1, or those of an epoch.
    """

    predicts = True

    def __init__(
        self,
        synthetic: SyntheticGradients,
        schedule: Schedule,
        *,
        real_window: int | None = None,
        ground_every: int | None = None,
        ground_window: int | None = None,
        updates_per_unit: int = 1,
    ) -> None:
        if not isinstance(synthetic, SyntheticGradients):
            raise TypeError(f"synthetic must be SyntheticGradients, got a {type(synthetic).__name__}")
        if not callable(schedule):
            raise TypeError(
                f"schedule must be a function of time, such as sgrnn.schedules.Constant(0.5), got {schedule!r}"
            )
        super().__init__(synthetic.model, synthetic.loss)
        window = synthetic.window
        assert window is not None, "SyntheticGradients always has a window"
        if real_window is not None and (real_window < 1 or real_window % window):
            raise ValueError(f"real_window must be a multiple of the window, {window} steps, got {real_window}")
        if (ground_every is None) != (ground_window is None):
            raise ValueError("ground_every and ground_window go together: give both or neither")
        if ground_every is not None:
            at_least("ground_every", ground_every, 1, "span")
        if ground_window is not None and ground_window < window:
            raise ValueError(f"ground_window must be at least the window, {window} steps, got {ground_window}")
        if ground_window is not None and synthetic.synthesizer.window is not None:
            raise ValueError("ground_every and ground_window need a synthesizer of any window: this one has its own")
        if synthetic.low_memory and real_window != window and schedule != Constant():
            raise ValueError(
                "low_memory must be False where real gradients cross boundaries: set real_window to the window, "
                f"{window} steps, got {real_window}"
            )
        at_least("updates_per_unit", updates_per_unit, 1)
        self.synthetic, self.schedule, self.window = synthetic, schedule, window
        model, loss = self.model, self.loss
        self.real = (
            BPTT(model, loss)
            if real_window is None
            else TruncatedBPTT(model, loss, real_window, parallel=synthetic.parallel, low_memory=synthetic.low_memory)
        )
        self.real_window = real_window
        self.ground_every, self.ground_window = ground_every, ground_window
        self.updates_per_unit = updates_per_unit
        self.lookahead = synthetic.lookahead
        self.update = 0  # number of the next update, the schedule's time
        self.synthetic_spans = 0

    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span with the share of synthetic gradients that the schedule gives; see `GradientEstimator.backward`.

        Raises:
            ValueError: besides, the schedule gives no share.
        """
        share = self.schedule(self.update / self.updates_per_unit)
        if not 0 <= share <= 1:
            raise ValueError(f"a schedule must give shares in [0, 1], got {share} at update {self.update}")
        synthetic_spans = self.synthetic_spans + (share > 0)
        if share == 0:
            step = self.real.backward(span, state)
        else:
            mixture = Mixture(share, None, self.real_window)
            if self.ground_every is not None and synthetic_spans % self.ground_every == 0:
                mixture = self._grounded(share)
            step = self.synthetic.backward_mixed(span, state, mixture)
        self.update, self.synthetic_spans = self.update + 1, synthetic_spans  # a span that is refused is none
        return Step(step.loss, step.state, {**step.metrics, "share": torch.full_like(step.loss, share)})

    def look(self, span: Span, state: State = None) -> BoundaryGradients:
        """Return the gradients that `synthetic` alone would let cross the boundaries, whatever the schedule's share."""
        return self.synthetic.look(span, state)

    def _grounded(self, share: float) -> Mixture:
        """Return the mixture of a grounded span, its real window rounded up to a multiple of the longer window."""
        window, real = self.ground_window, self.real_window
        if window is not None and real is not None:
            real = -(-real // window) * window
        return Mixture(share, window, real)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the counts of updates and of synthetic spans, which are saved besides parameters and buffers."""
        return {"update": self.update, "synthetic_spans": self.synthetic_spans}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the counts that `get_extra_state` returned."""
        self.update, self.synthetic_spans = state["update"], state["synthetic_spans"]

    def extra_repr(self) -> str:
        return f"schedule={self.schedule}, real_window={self.real_window}"
