"""The loss that a synthetic gradient implies (after Czarnecki et al. 2017), against the loss itself."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sgrnn.diagnostics.estimates import Estimate, group_of, jackknife
from sgrnn.diagnostics.isolation import undisturbed
from sgrnn.diagnostics.truth import steps_after
from sgrnn.estimators import GradientEstimator
from sgrnn.estimators.objective import Loss
from sgrnn.estimators.unroll import run
from sgrnn.span import Span
from sgrnn.state import State, map_state, to_matrix


def recovered_loss(
    estimator: GradientEstimator,
    spans: Sequence[Span],
    state: State,
    *,
    horizon: int,
    points: int = 5,
    groups: int = 10,
) -> Estimate:
    """Return the R² between the loss that predicted gradients imply and the true loss; 1 for a true gradient.

    What would the next steps cost a row if it were in its neighbor's state? The difference is the integral of the
    gradient along any path between the two states; here of the predictions along a straight line, by Gauss-Legendre
    quadrature, compared with the difference that running the model from both states gives. A prediction can point the
    right way at every state that occurs and still be no gradient of anything.

    Args:
        estimator, spans, state: as `sgrnn.diagnostics.measure_alignment` takes them, two or more rows.
        horizon: steps whose loss is compared.
        points: of the quadrature.
        groups: of spans, for the standard error.

    Returns:
        R², over the rows whose sequence goes on into a span; not a number where none does, as in whole episodes.

    Raises:
        ValueError: there are no spans, one row alone, or a future is too short.
    """
    if not spans or spans[0].batch_size < 2:
        raise ValueError("spans must be at least one, of two or more rows")
    groups, model, loss = min(groups, len(spans)), estimator.model, estimator.loss
    nodes, weights = np.polynomial.legendre.leggauss(points)
    sums, spans_seen = torch.zeros(groups, 2, dtype=torch.float64), torch.zeros(groups, dtype=torch.float64)
    with undisturbed(model), torch.no_grad():
        for place, span in enumerate(spans):
            # A counter stays the row's own: the costs are of one path, along which it does not change.
            neighbor = map_state(lambda each: each.roll(1, dims=-2) if each.is_floating_point() else each, state)
            way = to_matrix(state) - to_matrix(neighbor)
            future, there = steps_after(span, [0], horizon)
            true = _cost(model, loss, future, there, state) - _cost(model, loss, future, there, neighbor)
            implied, continuing = torch.zeros_like(true), None
            for node, weight in zip(nodes, weights, strict=True):
                between = _between(neighbor, state, (float(node) + 1) / 2)
                with torch.enable_grad():
                    crossing = estimator.look(span, between)
                predicted, continuing = crossing.predicted[: span.batch_size], crossing.continuing
                implied += float(weight) / 2 * (predicted * way).sum(dim=1)
            if continuing is not None:  # where a sequence begins, neither state matters
                implied *= continuing[: span.batch_size]
            group = group_of(place, len(spans), groups)
            sums[group] += torch.stack([(true - implied).square().sum(), true.square().sum()]).double().cpu()
            spans_seen[group] += 1
            with torch.enable_grad():
                state = estimator.look(span, state).final_state
    return jackknife(
        sums / spans_seen.unsqueeze(1), lambda mean: torch.where(mean[1] > 0, 1 - mean[0] / mean[1], torch.nan)
    )


def _between(start: State, stop: State, share: float) -> State:
    def mixed(one: Tensor, other: Tensor) -> Tensor:
        return one.lerp(other, share) if one.is_floating_point() else other

    return map_state(mixed, start, stop)


def _cost(model: nn.Module, loss: Loss, future: Span, there: Tensor, state: State) -> Tensor:
    """Return the loss (rows,) of the steps there are."""
    return (loss(run(model, future.inputs, state)[0], future.targets) * there).sum(dim=0)
