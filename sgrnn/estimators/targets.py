"""Predictions of a synthesizer, beside the gradients that arrived where they were made."""

from torch import Tensor

from sgrnn.estimators.finite import finite_rows
from sgrnn.state import at_least_float32
from sgrnn.synthesizers import Boundaries, GradientPredictor, Synthesizer
from sgrnn.synthesizers.synthesizer import Predictions


def training_pairs(
    predictor: GradientPredictor, predictions: Predictions, known: Boundaries, scale: Tensor, target: Tensor,
    ends: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:  # fmt: skip
    """Return the arguments of `GradientPredictor.learn` and `Regression.add` for a span's first boundaries.

    Args:
        predictor: of the synthesizer.
        predictions: that it made.
        known: what it made them of.
        scale: of the targets, as it was then.
        target: (R, features) the gradients that arrived at the first R boundaries' rows, in true units.
        ends: (K x B, features) the gradients that crossed the ends of the windows, in true units; None for a
            synthesizer without a window of its own.
    """
    assert isinstance(predictor.synthesizer, Synthesizer), "only a Synthesizer predicts at boundaries"
    count = len(target)
    arrived = None if ends is None else predictor.readable(finite_rows(ends, None)[0])
    predicted = at_least_float32(predictor.synthesizer.trainable(predictions, known, scale, arrived)[:count])
    target, rows = finite_rows(target.to(predicted), known.continuing)
    return predicted, target, None if rows is None else rows[:count], predictions.after[:count]
