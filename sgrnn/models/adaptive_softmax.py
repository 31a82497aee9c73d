"""Output layer of a large vocabulary whose rare tokens cost less (Grave et al. 2017)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn


@final
class AdaptiveSoftmax(nn.Module):
    """Output layer that gives frequent tokens chances of their own, and rare ones a share of their cluster's.

    Tokens are to be ordered by frequency, the frequent ones first: then most losses need the first `cutoffs[0]` rows
    and one for each cluster alone. Chances are exact and add up to 1 in any order. The layers are those of
    `torch.nn.AdaptiveLogSoftmaxWithLoss` (Grave et al. 2017).

    >>> layer = AdaptiveSoftmax(16, 50, cutoffs=[10, 25])
    >>> layer(torch.randn(7, 4, 16)).shape, layer.losses(torch.randn(7, 4, 16), torch.full((7, 4), 49)).shape
    (torch.Size([7, 4, 50]), torch.Size([7, 4]))

    Args:
        in_features: features of the core's outputs.
        out_features: number of tokens.
        cutoffs: tokens at which clusters begin, in increasing order.
        div_value: factor by which each cluster reads fewer features than the one before it.

    Raises:
        ValueError: cutoffs that do not increase or are no tokens, or a cluster that would read no feature.
    """

    def __init__(self, in_features: int, out_features: int, cutoffs: Sequence[int], *, div_value: float = 4.0) -> None:
        super().__init__()
        places = [0, *cutoffs, out_features]
        if not cutoffs or any(before >= after for before, after in pairwise(places)):
            raise ValueError(
                f"cutoffs must be one or more, increase from 1 and stay below the vocabulary's size, {out_features:,}, "
                f"got {list(cutoffs)}"
            )
        if div_value < 1:
            raise ValueError(f"div_value must be at least 1, got {div_value}")
        if in_features < div_value ** len(cutoffs):
            raise ValueError(
                f"div_value leaves cluster {len(cutoffs)} none of {in_features} features, got {div_value}: make it or "
                "the number of cutoffs smaller"
            )
        self.in_features, self.out_features = in_features, out_features
        self.cutoffs, self.div_value = list(cutoffs), div_value
        self.clusters = nn.AdaptiveLogSoftmaxWithLoss(in_features, out_features, self.cutoffs, div_value)

    def forward(self, features: Tensor) -> Tensor:
        """Return the log-probabilities (..., out_features) of all tokens, from features (..., in_features)."""
        return self.clusters.log_prob(features.flatten(0, -2)).view(*features.shape[:-1], self.out_features)

    def losses(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy (...) of each target from features (..., in_features), clusters without any aside.

        Every cluster has a gradient, one of zeros where none of its tokens is a target: else an optimizer would step
        over it, and processes that share a batch would have sums of different parameters.
        """
        flat = features.flatten(0, -2)
        losses = -self.clusters(flat, targets.flatten()).output
        unread = torch.stack([tail(flat[:0]).sum() for tail in self.clusters.tail]).sum()
        return (losses + unread).view_as(targets)
