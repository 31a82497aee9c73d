"""Health of states and predictions at boundaries: their norms, and the part that is common to all rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sgrnn.diagnostics.estimates import Estimate, group_of, jackknife
from sgrnn.diagnostics.isolation import undisturbed
from sgrnn.diagnostics.parts import state_parts
from sgrnn.estimators import GradientEstimator
from sgrnn.span import Span
from sgrnn.state import State, to_matrix


@dataclass(frozen=True)
class Health:
    """Sizes of states and of predictions at boundaries.

    Args:
        parts: names of the parts of the state; the first is the whole.
        norm: (parts,) mean over rows of the norm of the state at the boundaries.
        size: (parts,) root mean square over rows of the norm of the prediction.
        common: (parts,) the norm of the mean prediction over `size`: the part common to all rows, estimated without
            the noise of a mean of few. Near 0 unless predictions drift.
        radial: (parts,) the share of the prediction's squared norm along the state itself, which would grow or shrink
            it; 1 / features where the direction is chance.
    """

    parts: list[str]
    norm: Estimate
    size: Estimate
    common: Estimate
    radial: Estimate


def measure_health(estimator: GradientEstimator, spans: Sequence[Span], state: State, *, groups: int = 10) -> Health:
    """Measure the states at boundaries and the predictions there.

    Predictions are taken before shrinkage and drift control, which are there to remove what is looked for.

    Args:
        estimator, state: as `sgrnn.diagnostics.measure_alignment` takes them.
        spans: consecutive, with as much future as the estimator wants.
        groups: of spans, for standard errors.

    Raises:
        ValueError: there are no spans.
    """
    if not spans:
        raise ValueError("spans must be at least one, got none")
    groups = min(groups, len(spans))
    parts = state_parts(state)
    sums = torch.zeros(groups, 5, len(parts), dtype=torch.float64)
    with undisturbed(estimator.model):
        for place, span in enumerate(spans):
            crossing = estimator.look(span, state)
            states, predicted = to_matrix(crossing.states).double(), crossing.predicted.double()
            if crossing.continuing is not None:
                states, predicted = states[crossing.continuing], predicted[crossing.continuing]
            sums[group_of(place, len(spans), groups)] += torch.stack(
                [_sums(states[:, part], predicted[:, part]) for part in parts.values()], dim=1
            ).cpu()
            state = crossing.final_state

    def per_row(index: int) -> Estimate:
        return jackknife(sums, lambda mean: mean[index] / mean[0].clamp(min=1))

    return Health(
        list(parts),
        per_row(1),
        jackknife(sums, lambda mean: (mean[2] / mean[0].clamp(min=1)).sqrt()),
        jackknife(sums, lambda mean: _share(mean[3], mean[2]).clamp(min=0).sqrt()),
        jackknife(sums, lambda mean: _share(mean[4], mean[2])),
    )


def _sums(states: Tensor, predicted: Tensor) -> Tensor:
    """Return (5,): the rows, and sums over them: |s|, |g|², g times the mean g of other rows, |g along s|²."""
    rows = len(states)
    square = predicted.square().sum()
    others = (predicted.sum(dim=0).square().sum() - square) / max(rows - 1, 1)
    along = (predicted * states).sum(dim=1).square() / states.square().sum(dim=1).clamp(min=1e-30)
    return torch.stack([square.new_tensor(rows), states.norm(dim=1).sum(), square, others, along.sum()])


def _share(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / below.clamp(min=torch.finfo(below.dtype).tiny), 0)
