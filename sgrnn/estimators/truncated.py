"""Back-propagation through a span: whole, in windows, or in windows that reach back before it."""

from typing import final

from torch import nn

from sgrnn.cores.hierarchy import require_no_interfaces
from sgrnn.errors import at_least
from sgrnn.estimators.backward import backpropagate
from sgrnn.estimators.estimator import GradientEstimator, Step, within_span
from sgrnn.estimators.in_order import require_in_order, truncated_in_order
from sgrnn.estimators.objective import Loss, norms, objective_of
from sgrnn.estimators.overlapping import go_back, overlap
from sgrnn.estimators.past import Past
from sgrnn.estimators.unroll import unroll
from sgrnn.span import Span
from sgrnn.state import State, cut


@final
class TruncatedBPTT(GradientEstimator):
    """Truncated back-propagation through time (Williams & Peng 1990): nothing crosses a boundary.

    With `every` it is TBPTT(k1, k2), their BPTT(h; h'): an update every k1 steps, whose losses go back through k2. The
    inputs of the k2 - k1 steps before a span are kept, and the state before them. These steps run again before the
    span, with the present weights and a graph, and the losses of the span alone count. So a gradient goes back
    k2 - k1 steps at least, as far as there are so many, and an update costs about k2 / k1 of one without overlap.

    Hand in the state that was returned: it is the one to which the steps lead that ran again. With any other, or None,
    something new begins, and what was kept is forgotten. Rows begin in between by `Span.is_first`, and where windows
    overlap those that have ended, by `Span.is_last`, with the next span.

    What is kept is saved with the estimator, for the rows that it sees. Steps that run again meet other masks of
    dropout, since they are part of another update; buffers of the model take in every step once. Inputs with a graph
    are kept without it, so that what made them learns from their own span alone.

    Args:
        model, loss: as `GradientEstimator`.
        window: T, steps back-propagated together; k2 with `every`.
        every: k1, the most steps that a span has; None for windows that divide a span and do not overlap.
        parallel: run a span's windows as one batch (`sgrnn.estimators.unroll.unroll`); None for where that is faster.
            With `every` there is one window, which True does not fit.
        low_memory: keep the graph of one window at a time, and none of the output layer's of the whole span: the same
            numbers. The loss is called window by window, which takes longer where its output layer is large.

    Raises:
        ValueError: `low_memory` together with `parallel` or `every`, or windows that overlap and a model with
            interfaces between its levels.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        window: int,
        *,
        every: int | None = None,
        parallel: bool | None = False,
        low_memory: bool = False,
    ) -> None:
        super().__init__(model, loss)
        self.window = at_least("window", window, 1, "step")
        if low_memory:
            require_in_order(parallel=parallel)
            if every is not None:
                raise ValueError(f"low_memory must be False with every, whose span is one window, got every={every}")
        self.every, self.parallel, self.low_memory = every, parallel, low_memory
        steps = 0 if every is None else overlap(window, every, parallel)
        if steps:
            require_no_interfaces(model, "windows that overlap send each message between levels again")
        self.past = Past(steps) if steps else None

    @within_span
    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span, and add to the gradients of the model; see `GradientEstimator.backward`.

        Raises:
            ValueError: besides, with `every`, the span has more steps, or the model cuts its state off.
        """
        if self.every is not None and span.steps > self.every:
            raise ValueError(
                f"a span must have at most every steps, {self.every}, got {span.steps}: divide it "
                f"(span.divide({self.every}))"
            )
        if self.low_memory:
            assert self.window is not None, "checked when the estimator was made"
            return truncated_in_order(self, *self.begin(span, state), self.window)
        if self.past is None:
            return _truncated(self, span, state, self.window, self.parallel)
        return go_back(self.model, self.loss, self.past, *self.begin(span, state))

    def extra_repr(self) -> str:
        return f"window={self.window}" + ("" if self.every is None else f", every={self.every}")


@final
class BPTT(GradientEstimator):
    """Back-propagation through the whole span: the window is as long as the span."""

    @within_span
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
    objective = objective_of(estimator.model, estimator.loss, outputs, span)
    objective.trained.backward()
    backpropagate(windows, outputs)
    return Step(objective.loss, windows.final_state, norms(windows.final_state))
