"""Agreement of the gradient injected at a boundary with the true gradient of the steps that follow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sgrnn.diagnostics.estimates import Estimate, group_of, jackknife
from sgrnn.diagnostics.isolation import undisturbed
from sgrnn.diagnostics.parts import state_parts
from sgrnn.diagnostics.truth import future_gradients, steps_after
from sgrnn.estimators import GradientEstimator
from sgrnn.span import Span
from sgrnn.state import State, rows

INJECTED = 0
"""Row of the Gram matrix of what is injected."""

PREDICTED = 1
"""Row of the Gram matrix of what is predicted."""


@dataclass(frozen=True)
class Alignment:
    """Inner products from which all metrics of boundaries follow.

    Per boundary and row, let i be what is injected, p what is predicted, and G_1, ..., G_n the true gradients of the
    losses in blocks of the steps after the boundary. Then ``products[g, part]`` is the mean, over the spans of group g,
    of the Gram matrix of (i, p, G_1, ..., G_n), summed over boundaries, rows and the features of the part.

    Args:
        lags: the last step of each block.
        parts: names of the parts of the state; the first is the whole.
        products: (groups, parts, 2 + n, 2 + n).
        counts: (groups,) boundaries x rows per span.
    """

    lags: list[int]
    parts: list[str]
    products: Tensor
    counts: Tensor

    def cosine(self, of: int = INJECTED) -> Estimate:
        """Cosine (parts, n) between ĝ and the true gradient of the next h steps, h = each of the lags.

        Here and below over all rows as one vector, and 0 where either is zero; `of` is INJECTED or PREDICTED.
        """
        return self._of_horizon(of, lambda dot, square, power: (dot / (square * power).sqrt()).clamp(-1, 1))

    def r2(self, of: int = INJECTED) -> Estimate:
        """Share (parts, n) of the true gradient of the next h steps that ĝ explains, 1 - |ĝ - g|² / |g|²."""
        return self._of_horizon(of, lambda dot, square, power: (2 * dot - square) / power)

    def norm_ratio(self, of: int = INJECTED) -> Estimate:
        """Ratio (parts, n) of norms, |ĝ| / |g|."""
        return self._of_horizon(of, lambda dot, square, power: (square / power).sqrt())

    def norms(self) -> Estimate:
        """Norm (parts, n) of the true gradient from each lag alone: root mean square over rows, per step of a block."""
        sizes = torch.tensor([stop - start for start, stop in zip([0, *self.lags[:-1]], self.lags, strict=True)])
        scale = sizes * self.counts.mean()
        return jackknife(self.products, lambda mean: (_true(mean).diagonal(dim1=-2, dim2=-1) / scale).sqrt())

    def share_by_lag(self, of: int = INJECTED) -> Estimate:
        """Share (parts, n) of the true gradient from each lag that ĝ contains: its regression on all G_i.

        1 if ĝ has that term as it is, 0 if it does not reach so far, or the term is zero.
        """
        return jackknife(self.products, lambda mean: regression(mean, of))

    def _of_horizon(self, of: int, metric: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Estimate:
        def statistic(mean: Tensor) -> Tensor:
            dot = mean[:, of, 2:].cumsum(dim=-1)
            power = _true(mean).cumsum(dim=-1).cumsum(dim=-2).diagonal(dim1=-2, dim2=-1)
            square = mean[:, of, of].unsqueeze(1).expand_as(dot)
            return _finite(metric(dot, square, power))

        return jackknife(self.products, statistic)


def measure_alignment(
    estimator: GradientEstimator,
    spans: Sequence[Span],
    state: State,
    *,
    lags: Sequence[int],
    groups: int = 10,
) -> Alignment:
    """Compare what an estimator injects with the true gradient, at all boundaries but the first of consecutive spans.

    Nothing is trained, nothing dropped out, and the estimator left as it is.

    Args:
        estimator: any; of `Mixed` its synthetic part is measured, and where nothing crosses a boundary, as in
            truncation, zeros are.
        spans: each with as many steps of future as the last lag, unless its rows end before.
        state: the state before the first.
        lags: steps, increasing; metrics are for horizons up to each of them (`block_ends`).
        groups: of spans, for standard errors.

    Raises:
        ValueError: there are no spans, lags do not increase, or a future is too short.
    """
    if not spans:
        raise ValueError("spans must be at least one, got none")
    if list(lags) != sorted(set(lags)) or not lags or lags[0] < 1:
        raise ValueError(f"lags must be at least 1 step and increase, got {list(lags)}")
    groups = min(groups, len(spans))
    parts = state_parts(state)
    size = 2 + len(lags)
    products = torch.zeros(groups, len(parts), size, size, dtype=torch.float64)
    counts, spans_seen = torch.zeros(groups, dtype=torch.float64), torch.zeros(groups, dtype=torch.float64)
    with undisturbed(estimator.model):
        for place, span in enumerate(spans):
            group = group_of(place, len(spans), groups)
            crossing = estimator.look(span, state)
            after = slice(span.batch_size, None)
            future, there = steps_after(span, crossing.boundaries[1:], lags[-1])
            after_states = rows(crossing.states, span.batch_size, None)
            true = future_gradients(estimator.model, estimator.loss, future, there, after_states, lags)
            vectors = torch.cat([crossing.injected[None], crossing.predicted[None, after], true]).double()
            if crossing.continuing is not None:
                vectors = vectors * crossing.continuing[after].unsqueeze(1)
                counts[group] += float(crossing.continuing[after].sum())
            else:
                counts[group] += vectors.shape[1]
            for number, part in enumerate(parts.values()):
                flat = vectors[:, :, part].flatten(1)
                products[group, number] += (flat @ flat.T).cpu()
            spans_seen[group] += 1
            state = crossing.final_state
    return Alignment(list(lags), list(parts), products / spans_seen.view(-1, 1, 1, 1), counts / spans_seen)


def regression(products: Tensor, of: int) -> Tensor:
    """Return the coefficients (..., n) of the row `of` of products (..., 2 + n, 2 + n) on G_1, ..., G_n."""
    true = _true(products)
    size = true.diagonal(dim1=-2, dim2=-1).sqrt()
    weight = torch.where(size > 0, 1 / size, 0)
    scaled = weight.unsqueeze(-1) * true * weight.unsqueeze(-2)
    along = (products[..., of, 2:] * weight).unsqueeze(-1)
    return (torch.linalg.pinv(scaled, hermitian=True) @ along).squeeze(-1) * weight


def _true(products: Tensor) -> Tensor:
    return products[..., 2:, 2:]


def _finite(metrics: Tensor) -> Tensor:
    return torch.where(metrics.isfinite(), metrics, 0)
