"""The estimator that corrects synthetic gradients by the true ones of a few rows, so that their mean is true."""

import random
from typing import Any, final

from sgrnn.cores.hierarchy import require_no_interfaces
from sgrnn.estimators.estimator import BoundaryGradients, GradientEstimator, Step
from sgrnn.estimators.mixture import Mixture
from sgrnn.estimators.synthetic import SyntheticGradients
from sgrnn.span import Span
from sgrnn.state import State


@final
class ControlVariate(GradientEstimator):
    """Correct synthetic gradients by the true ones of a few rows, so that in the mean over draws they are unbiased.

    With ĝ_r the gradient that `SyntheticGradients` makes of row r, and g_r that of full back-propagation through the
    span, with the same synthetic gradient at the span's end,

        g = Σ_r ĝ_r + B/m Σ_{r drawn} (g_r - ĝ_r)        over m = max(1, round(true_share x B)) of B rows

    The mean of g over all draws is Σ_r g_r, whatever the synthesizer predicts: it is unbiased for
    `SyntheticGradients(trace_decay=1)`, and for `BPTT` where nothing is injected at the span's end. How well the
    synthesizer predicts decides the variance alone. Synthetic gradients are here the control variate of the true ones,
    as gradients predicted in the place of a backward pass are in Ciosek, Felicioni & Litwin 2025 (arXiv 2511.05187).

    Gradients are linear in what is injected, so that the correction takes no pass of its own through the parameters: in
    drawn rows i + B/m (a - i) is injected in the place of i, with a what truly arrives at the boundary. To find a, the
    drawn rows are run once more over the span, and gone back through with the parameters held constant. What arrives
    there is their target, too, so that in drawn rows the synthesizer learns from no prediction inside the span.

    Metrics: those of `SyntheticGradients`, and ``drawn_r2``, the R² of what would be injected without the correction
    with what truly arrives, at the boundaries inside the span and in drawn rows.

    Args:
        synthetic: with its model and loss, its window T and its synthesizer.
        true_share: of the rows that are drawn for each span, without replacement, in (0, 1]; with 1 there is no chance.
        seed: of the draws, which depend on it and on the number of the update alone.

    Raises:
        TypeError: `synthetic` is something else.
        ValueError: `true_share` is out of range, `synthetic` has low_memory, or the model interfaces between its
            levels. On the first span: the model drops out, or takes batch statistics.
    """

    predicts = True

    def __init__(self, synthetic: SyntheticGradients, true_share: float = 0.25, *, seed: int = 0) -> None:
        if not isinstance(synthetic, SyntheticGradients):
            raise TypeError(f"synthetic must be SyntheticGradients, got a {type(synthetic).__name__}")
        if not 0 < true_share <= 1:
            raise ValueError(f"true_share must be in (0, 1], got {true_share}")
        if synthetic.low_memory:
            raise ValueError(
                "low_memory must be False with a true_share, whose rows need all windows of a span at once"
            )
        super().__init__(synthetic.model, synthetic.loss)
        require_no_interfaces(self.model, "rows that are drawn run again, and send each message between levels again")
        self.synthetic, self.true_share, self.seed = synthetic, true_share, seed
        self.window, self.lookahead = synthetic.window, synthetic.lookahead
        self.update = 0  # number of the next update

    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span, and add to the gradients of model and synthesizer; see `GradientEstimator.backward`."""
        step = self.synthetic.backward_mixed(span, state, Mixture(drawn=self._draw(span.batch_size)))
        self.update += 1
        return step

    def look(self, span: Span, state: State = None) -> BoundaryGradients:
        """Return the gradients that `synthetic` alone would let cross the boundaries, uncorrected."""
        return self.synthetic.look(span, state)

    def _draw(self, batch_size: int) -> tuple[int, ...]:
        number = max(1, round(self.true_share * batch_size))
        return tuple(sorted(random.Random(f"{self.seed} {self.update}").sample(range(batch_size), number)))

    def get_extra_state(self) -> dict[str, Any]:
        """Return the count of updates, which is saved besides parameters and buffers."""
        return {"update": self.update}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the count that `get_extra_state` returned."""
        self.update = state["update"]

    def extra_repr(self) -> str:
        return f"true_share={self.true_share}"
