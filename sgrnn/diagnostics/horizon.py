"""Steps ahead from which gradients come, and steps ahead that an estimator sees."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sgrnn.diagnostics.alignment import INJECTED, Alignment, regression
from sgrnn.diagnostics.estimates import Estimate, jackknife


def true_horizon(alignment: Alignment, share: float = 0.9) -> Estimate:
    """Return the steps ahead that hold this share of the true gradient, of the sum of the squares of its terms by lag.

    Of what lies within the last lag that was measured; a horizon near that says to measure further. Between the ends of
    two blocks it is interpolated.
    """
    return jackknife(
        alignment.products[:, 0],
        lambda mean: _reached(alignment.lags, mean[2:, 2:].diagonal().clamp(min=0), share),
    )


def estimator_horizon(alignment: Alignment, share: float = 0.9, of: int = INJECTED) -> Estimate:
    """Return the steps ahead that hold this share of what ĝ has in common with the true gradient; 0 if nothing.

    By the part of its square that its regression on the terms of the true gradient (`Alignment.share_by_lag`) explains.
    """

    def statistic(mean: Tensor) -> Tensor:
        return _reached(alignment.lags, (regression(mean, of) * mean[of, 2:]).clamp(min=0), share)

    return jackknife(alignment.products[:, 0], statistic)


def _reached(lags: Sequence[int], terms: Tensor, share: float) -> Tensor:
    """Return the lag at which the running sum of terms first comes to a share of the whole."""
    total = terms.sum()
    if total <= 0:
        return torch.zeros((), dtype=terms.dtype)
    return crossing_point(
        torch.tensor([0.0, *map(float, lags)], dtype=terms.dtype),
        torch.cat([terms.new_zeros(1), terms.cumsum(dim=0) / total]),
        share,
    )


def crossing_point(places: Tensor, rising: Tensor, level: float | Tensor) -> Tensor:
    """Return where a rising broken line (places, rising) first comes to a level; the last place if it never does.

    >>> crossing_point(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 0.5, 1.0]), 0.75)
    tensor(3.)
    """
    above = (rising >= level).nonzero()
    if not len(above):
        return places[-1]
    index = int(above[0])
    if index == 0:
        return places[0]
    low, high = rising[index - 1], rising[index]
    return places[index - 1] + (level - low) / (high - low) * (places[index] - places[index - 1])
