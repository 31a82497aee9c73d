"""Back-propagation through a span, whole or in windows."""

from typing import final

from torch import nn

from sgrnn.errors import at_least
from sgrnn.estimators.backward import backpropagate
from sgrnn.estimators.estimator import GradientEstimator, Step
from sgrnn.estimators.in_order import require_in_order, truncated_in_order
from sgrnn.estimators.objective import Loss, mean_loss, norms
from sgrnn.estimators.unroll import unroll
from sgrnn.span import Span
from sgrnn.state import State, cut


@final
class TruncatedBPTT(GradientEstimator):
    """Truncated back-propagation through time (Williams & Peng 1990): nothing crosses a boundary.

    Args:
        model, loss: as `GradientEstimator`.
        window: T, steps back-propagated together.
        parallel: run a span's windows as one batch (`sgrnn.estimators.unroll.unroll`); None for where that is faster.
        low_memory: keep the graph of one window at a time, and none of the output layer's of the whole span: the same
            numbers. The loss is called window by window, which takes longer where its output layer is large.

    Raises:
        ValueError: `low_memory` together with `parallel`.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, window: int, *, parallel: bool | None = False, low_memory: bool = False
    ) -> None:
        super().__init__(model, loss)
        self.window = at_least("window", window, 1, "step")
        if low_memory:
            require_in_order(parallel=parallel)
        self.parallel, self.low_memory = parallel, low_memory

    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span, and add to the gradients of the model; see `GradientEstimator.backward`."""
        if self.low_memory:
            assert self.window is not None, "checked when the estimator was made"
            return truncated_in_order(self, *self.begin(span, state), self.window)
        return _truncated(self, span, state, self.window, self.parallel)

    def extra_repr(self) -> str:
        return f"window={self.window}"


@final
class BPTT(GradientEstimator):
    """Back-propagation through the whole span: the window is as long as the span."""

    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span, and add to the gradients of the model; see `GradientEstimator.backward`."""
        return _truncated(self, span, state, None, False)


def _truncated(
    estimator: GradientEstimator, span: Span, state: State, window: int | None, parallel: bool | None
) -> Step:
    span, state = estimator.begin(span, state)
    windows = unroll(estimator.model, span, state, window, parallel)
    outputs = cut(
        windows.outputs
    )  # in two parts as `SyntheticGradients`, to equal it bit for bit where nothing is injected
    objective = mean_loss(estimator.loss, outputs, span)
    objective.backward()
    backpropagate(windows, outputs)
    return Step(objective.detach(), windows.final_state, norms(windows.final_state))
