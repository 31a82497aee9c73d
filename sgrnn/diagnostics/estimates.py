"""Metrics with their standard errors, from sums over groups of consecutive spans."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Estimate(NamedTuple):
    """A metric, or a tensor of metrics, and its standard error.

    Args:
        value: from all spans.
        error: of the jackknife over groups; not a number where there is one group alone.
    """

    value: Tensor
    error: Tensor


def jackknife(groups: Tensor, statistic: Callable[[Tensor], Tensor]) -> Estimate:
    """Compute a statistic of the groups' mean, and its standard error by leaving out one group after another.

    Neighboring spans resemble each other, so that a span is no independent draw; a group of many nearly is.

    Args:
        groups: (G, ...) means over the spans of each group, all of equal weight.
        statistic: from the mean (...) to the metrics.

    >>> jackknife(torch.tensor([1.0, 2.0, 3.0, 6.0]), lambda mean: mean)
    Estimate(value=tensor(3.), error=tensor(1.0801))
    """
    number = len(groups)
    value = statistic(groups.mean(dim=0))
    if number < 2:
        return Estimate(value, torch.full_like(value, torch.nan))
    total = groups.sum(dim=0)
    without = torch.stack([statistic((total - group) / (number - 1)) for group in groups])
    return Estimate(value, spread(without))


def spread(without: Tensor) -> Tensor:
    """Return the jackknife's standard error, from metrics (G, ...) that leave out one of G groups each."""
    number = len(without)
    return ((number - 1) * (without - without.mean(dim=0)).square().mean(dim=0)).sqrt()


def is_unknown(value: float, error: float) -> bool:
    """Return True where a positive metric is lost in noise: two standard errors are as much as the metric itself.

    >>> is_unknown(8.1, 0.1), is_unknown(8.1, 21.6)
    (False, True)
    """
    return 2 * error >= value


def group_of(place: int, number: int, groups: int) -> int:
    """Return the index of the group that a span belongs to, of so many groups of consecutive spans."""
    return place * groups // number
